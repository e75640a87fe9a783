"""A real stack: up, down, killed, and up again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from millrace_core.base.errors import NotFoundError, RejectError, ReportError
from millrace_kube.connection import load
from millrace_local.stack import LocalStack, processes
from tests.api_client import client_by

BASE = ("store", "apiserver", "mesh")


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A folder whose stack, if one still runs, is ended."""
    folder = tmp_path / "stack"
    yield folder
    LocalStack(folder).down()
    assert processes.marked(folder) == []


def a_stack(root: Path, **more: Any) -> LocalStack:
    return LocalStack(root, **{"ports": "random", "components": BASE, "detach": False, **more})


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def request(stack: LocalStack, method: str, path: str, body: Any = None) -> Any:
    with client_by(load(stack.kubeconfig)) as http:
        return http.request(method, path, json=body).raise_for_status().json()


def config_map(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}}


@pytest.mark.slow
def test_a_stack_comes_up_is_used_comes_down_and_keeps_its_objects(root: Path) -> None:
    stack = a_stack(root)
    stack.up(60)
    assert stack.is_running
    assert stack.kubeconfig.exists()
    request(stack, "POST", "/api/v1/namespaces/default/configmaps", config_map("kept"))
    redis.Redis.from_url(stack.store_url).set("kept", "1")
    assert request(stack, "GET", "/apis/millrace.dev/v1alpha1")["resources"]
    assert request(stack, "GET", "/apis/networking.istio.io/v1")["resources"]
    assert request(stack, "GET", "/api/v1/namespaces/millrace-system/secrets/millrace-store")["data"]["url"]
    before = stack.status().ports
    assert stack.down() == []
    assert not stack.is_running
    assert {one.health for one in stack.status().components.values()} == {"stopped"}

    again = a_stack(root, ports="defaults")
    with again:
        assert again.status().ports == before
        assert request(again, "GET", "/api/v1/namespaces/default/configmaps/kept")["data"] == {"a": "1"}
        assert redis.Redis.from_url(again.store_url).get("kept") == b"1"
    again.down(purge=True)
    assert not root.exists()


def test_whatever_kills_the_supervisor_nothing_it_ran_stays_and_nothing_is_lost(root: Path) -> None:
    stack = a_stack(root)
    stack.up(60)
    request(stack, "POST", "/api/v1/namespaces/default/configmaps", config_map("kept"))
    redis.Redis.from_url(stack.store_url).set("kept", "1")
    was = stack.status()
    os.kill(was.supervisor.pid, signal.SIGKILL)
    until(lambda: not any(processes.is_alive(one.process) for one in was.components.values()))
    assert not stack.is_running
    assert stack.status().phase == "stopped"
    a_stack(root).up(60)
    assert request(stack, "GET", "/api/v1/namespaces/default/configmaps/kept")["data"] == {"a": "1"}
    assert redis.Redis.from_url(stack.store_url).get("kept") == b"1"


@pytest.mark.slow
def test_a_component_comes_back_from_a_kill_and_from_a_restart(root: Path) -> None:
    with a_stack(root) as stack:
        for name in BASE:
            stack.kill(name)
            stack.wait_ready(60)
        assert {one.restarts for one in stack.status().components.values()} == {1}
        stack.restart("store")
        assert stack.status().components["store"].restarts == 2
        with pytest.raises(NotFoundError, match=r"no process of 'redis' runs. These run: store, apiserver, mesh"):
            stack.kill("redis")


def test_ready_is_what_is_seen_now_and_not_what_the_supervisor_saw_last(root: Path) -> None:
    with a_stack(root) as stack:
        was = stack.status()
        os.kill(was.supervisor.pid, signal.SIGSTOP)
        try:
            processes.kill(was.components["store"].process, signal.SIGKILL)
            with pytest.raises(ReportError, match=r"not ready in time: store: .*refused"):
                stack.wait_ready(0.1)
        finally:
            os.kill(was.supervisor.pid, signal.SIGCONT)
        stack.wait_ready(60)
        assert redis.Redis.from_url(stack.store_url).ping()


def test_a_second_up_finds_the_first_and_other_settings_are_refused(root: Path) -> None:
    with a_stack(root) as stack:
        supervisor = stack.status().supervisor
        a_stack(root).up(10)
        assert stack.status().supervisor == supervisor
        with pytest.raises(RejectError, match="runs already, with other components, faults"):
            a_stack(root, faults=True, components=("store",)).up(10)
        assert stack.is_running


def test_a_taken_port_is_named_and_nothing_is_started(root: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            RejectError, match=f"--ingress-port: port {port} on 127.0.0.1 is taken by process {os.getpid()}"
        ):
            a_stack(root, ports={"ingress": port}, components=("mesh",)).up(10)
    assert processes.marked(root) == []
    assert not a_stack(root).is_running


def test_a_component_that_cannot_start_ends_all_others_and_says_why(root: Path) -> None:
    stack = a_stack(root)
    stack.up(60)
    stack.down()
    journal = root / "api"
    shutil.rmtree(journal)
    journal.write_text("not a folder")
    with pytest.raises(ReportError):
        a_stack(root).up(60)
    assert processes.marked(root) == []


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RejectError, match=f"--root: cannot write to {tmp_path}/file/x: Not a directory"):
        a_stack(tmp_path / "file" / "x").up(10)


def test_a_full_disk_is_said_before_anything_is_written(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 3 * 1024**2))
    with pytest.raises(RejectError, match="has 3 MiB of free disk, and the platform needs 64"):
        a_stack(root).up(10)
    assert not list(root.iterdir())


def test_crds_that_are_not_there_are_named(root: Path) -> None:
    with pytest.raises(RejectError, match=r"crds: /nowhere.yaml does not exist"):
        a_stack(root, crds=[Path("/nowhere.yaml")]).up(10)


def test_a_given_store_is_used_and_one_that_does_not_answer_is_refused(root: Path, tmp_path: Path) -> None:
    with a_stack(tmp_path / "other", components=("store",)) as other:
        stack = a_stack(root, store_url=other.store_url, components=("store", "apiserver"))
        stack.up(60)
        assert stack.store_url == other.store_url
        assert list(stack.status().components) == ["apiserver"]
        stack.down()
        url = other.store_url.replace("redis://", "redis://:secret@")
        with pytest.raises(RejectError) as refused:
            a_stack(root, store_url=url, components=("apiserver",)).up(10)
        assert "secret" not in str(refused.value)
    with pytest.raises(RejectError, match=r"--store-url: the store at .* does not answer: .*refused"):
        a_stack(root, store_url=other.store_url).up(10)
    with pytest.raises(RejectError, match="postgres://x is no store"):
        a_stack(root, store_url="postgres://x").up(10)


def test_a_stack_that_is_not_detached_ends_with_the_process_that_brought_it_up(root: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from millrace_local.stack import LocalStack\n"
        "LocalStack(Path(sys.argv[1]), ports='random', components=('store',), detach=False).up(60)\n"
        "print('up', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(root)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        assert LocalStack(root).is_running
        process.kill()
    until(lambda: processes.marked(root) == [])


def test_down_without_anything_up_is_success_and_purge_spares_foreign_folders(tmp_path: Path) -> None:
    assert LocalStack(tmp_path / "never").down(purge=True) == []
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("x")
    LocalStack(tmp_path / "precious").down(purge=True)
    assert (tmp_path / "precious" / "file").exists()
