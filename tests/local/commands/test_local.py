"""``millrace local`` as a person runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from millrace_local.stack import LocalStack, processes
from tests import warm_process

UP = ("up", "--random-ports", "--only", "store", "--only", "mesh")


def millrace(root: Path, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    words = ("-m", "millrace.cli.main", "local", command, "--root", str(root), *arguments)
    return warm_process.run(words, os.environ, root.parent)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "stack"
    LocalStack(tmp_path / "stack").down()


@pytest.mark.slow
def test_up_says_what_is_ready_and_how_to_go_on_and_down_ends_it(root: Path) -> None:
    ran = millrace(root, *UP)
    assert (ran.returncode, ran.stderr) == (0, "")
    stack = LocalStack(root)
    assert "ready    online store (Valkey), 127.0.0.1:" in ran.stdout
    assert f"export KUBECONFIG={stack.kubeconfig}" in ran.stdout
    assert f"curl -s -H 'Host: millrace-gateway.millrace-system.svc' {stack.ingress_url}/" in ran.stdout

    again = millrace(root, *UP)
    assert (again.returncode, "is running already" in again.stdout) == (0, True)

    shown = millrace(root, "status")
    assert shown.returncode == 0
    assert [line.split()[:2] for line in shown.stdout.splitlines()[2:]] == [
        ["COMPONENT", "HEALTH"],
        ["store", "ready"],
        ["mesh", "ready"],
    ]
    document = json.loads(millrace(root, "status", "--output", "json").stdout)
    assert document["phase"] == "ready"
    assert document["components"]["store"]["pid"] > 0
    assert "Ready to accept connections" in millrace(root, "logs", "store").stdout

    ended = millrace(root, "down", "--purge")
    assert ended.stdout.splitlines() == ["The platform is down", f"{root} is removed"]
    assert not root.exists()
    nothing = millrace(root, "status")
    assert (nothing.returncode, nothing.stdout) == (3, f"Nothing runs in {root}\n")
    assert millrace(root, "down").stdout == f"Nothing runs in {root}\n"


def test_status_says_degraded_and_ends_with_1_while_a_component_does_not_answer(root: Path) -> None:
    assert millrace(root, *UP).returncode == 0
    store = LocalStack(root).status().components["store"].process.pid
    os.kill(store, signal.SIGSTOP)
    shown = until(lambda: one if (one := millrace(root, "status")).returncode else None)
    assert shown.returncode == 1
    assert ", degraded, supervised by process" in shown.stdout
    assert ["store", "unhealthy"] in [line.split()[:2] for line in shown.stdout.splitlines()]
    os.kill(store, signal.SIGCONT)
    until(lambda: millrace(root, "status").returncode == 0)
    assert LocalStack(root).status().phase == "ready"


def until(holds: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 60
    while not (found := holds()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def test_up_goes_on_where_nobody_reads_what_it_says(root: Path) -> None:
    words = [sys.executable, "-m", "millrace.cli.main", "local", *UP, "--root", str(root)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert (process.wait(60), process.stderr.read()) == (0, b"")
    assert LocalStack(root).status().phase == "ready"


def test_a_purge_of_a_folder_in_which_no_platform_ran_says_that_it_stays(root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    ended = millrace(root, "down", "--purge")
    assert ended.stdout.splitlines() == [f"Nothing runs in {root}", f"{root} stays: no platform ran in it"]
    assert root.exists()


def test_a_mistake_is_one_line_with_the_option_and_exit_code_2(root: Path) -> None:
    ran = millrace(root, "up", "--only", "mesh", "--ingress-port", "70000")
    assert ran.returncode == 2
    assert ran.stderr == "millrace: --ingress-port: 70000 is no TCP port. Give one from 1 to 65535\n"
    ran = millrace(root, "logs", "sotre")
    assert (ran.returncode, ran.stderr) == (
        2,
        "millrace: there is no log of 'sotre'. There are no logs\n",
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stack_in_the_foreground_stays_until_interrupted_and_leaves_nothing(
    root: Path, number: signal.Signals
) -> None:
    words = [sys.executable, "-m", "millrace.cli.main", "local", *UP, "--root", str(root), "--foreground"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("  curl"):
                break
        assert LocalStack(root).is_running
        process.send_signal(number)
        assert process.wait(60) == 130
    assert not LocalStack(root).is_running
    assert processes.marked(root) == []


def test_an_up_that_is_interrupted_before_it_is_ready_leaves_nothing(root: Path) -> None:
    # The gateway never comes up here: nothing runs its pod.
    words = [sys.executable, "-m", "millrace.cli.main", "local", *UP, "--only", "apiserver", "--only", "operator"]
    with subprocess.Popen([*words, "--root", str(root)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("ready")
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(60) == 130
    deadline = time.monotonic() + 60
    while processes.marked(root):
        assert time.monotonic() < deadline
        time.sleep(0.02)
