"""The operator as a process: leads alone, stops cleanly, ends without its Lease, says which setting is wrong."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from millrace_core.base.errors import RejectError
from millrace_kube.resources import CRON_JOBS, FEATURE_VIEWS, JOBS, LEASES, NAMESPACES
from millrace_local.apiserver.process import RunningServer
from millrace_operators.operator.__main__ import main
from millrace_operators.operator.process import run
from millrace_operators.operator.settings import OperatorSettings
from tests import warm_process
from tests.builders import feature_view
from tests.operators.harness import Api
from tests.operators.restoring import Restorable


class Operator:
    """One process."""

    def __init__(self, kubeconfig: Path, log: Path, **more: str) -> None:
        self.port = _free_port()
        settings = {
            "PATH": os.environ["PATH"],
            "KUBECONFIG": str(kubeconfig),
            "MILLRACE_HOST": "127.0.0.1",
            "MILLRACE_HEALTH_PORT": str(self.port),
            "MILLRACE_STORE_URL": "redis://127.0.0.1:1",
            **more,
        }
        self.log = log
        self.process = warm_process.start(("-m", "millrace_operators.operator"), settings, log.parent, log)

    def asks(self, path: str) -> httpx.Response | None:
        """What the health endpoint answers, or None."""
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=2)
        except httpx.HTTPError:
            return None

    def leads(self) -> bool:
        """Whether it is ready."""
        answer = self.asks("/health/ready")
        return answer is not None and answer.status_code == 200

    def stands_by(self) -> bool:
        """Whether it is alive and not ready."""
        live, ready = self.asks("/health/live"), self.asks("/health/ready")
        return bool(live and ready is not None and live.status_code == 200 and ready.status_code == 503)


Start = Callable[[], Operator]


@pytest.fixture
def api(fresh: RunningServer) -> Iterator[Api]:
    """The operators act on all of a server, so this one is theirs alone."""
    seen = Api(fresh)
    seen.create(NAMESPACES, {"metadata": {"name": "millrace-system"}})
    yield seen
    seen.close()


@pytest.fixture
def start(fresh: RunningServer, tmp_path: Path) -> Iterator[Start]:
    started: list[Operator] = []

    def launch() -> Operator:
        started.append(Operator(fresh.kubeconfig, tmp_path / f"operator-{len(started)}.log"))
        return started[-1]

    yield launch
    for operator in started:
        operator.process.kill()
        operator.process.wait()


def until(holds: Callable[[], Any], seconds: float = 60.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, "not in time"
        time.sleep(0.05)
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def holder(api: Api) -> str:
    [held] = api.list(LEASES, "millrace-system")
    return str(held["spec"]["holderIdentity"])


def view(api: Api, name: str) -> None:
    api.create(FEATURE_VIEWS, feature_view(name).having("metadata.namespace", "default").build())


def written(operator: Operator, kind: str, verb: str) -> float:
    answer = operator.asks("/metrics")
    assert answer is not None
    series = f'millrace_operator_writes_total{{kind="{kind}",verb="{verb}"}} '
    return sum(float(line.removeprefix(series)) for line in answer.text.splitlines() if line.startswith(series))


@pytest.mark.slow
def test_of_two_processes_one_acts_until_it_stops_and_the_other_until_it_loses_the_lease(
    start: Start, api: Api
) -> None:
    view(api, "made-before")
    first, second = start(), start()
    until(lambda: first.leads() or second.leads())
    leader, other = (first, second) if first.leads() else (second, first)
    until(other.stands_by)
    view(api, "made-after")
    until(lambda: len(api.list(JOBS, "default")) == 2)
    assert f".{leader.process.pid}." in holder(api)
    assert (written(leader, "CronJob", "apply"), written(other, "CronJob", "apply")) == (2, 0)

    leader.process.send_signal(signal.SIGTERM)
    assert leader.process.wait(60) == 0
    until(other.leads)
    view(api, "made-late")
    until(lambda: api.get(CRON_JOBS, "default", "fv-made-late"))
    assert written(other, "CronJob", "apply") == 1, "what the first one made is left as it is"

    api.merge(LEASES, "millrace-system", "millrace-operator", {"spec": {"holderIdentity": "a thief"}})
    assert other.process.wait(60) == 1
    assert "the Lease is lost" in other.log.read_text()
    assert holder(api) == "a thief"


@pytest.mark.slow
def test_while_the_api_server_is_away_each_trouble_is_a_line_told_seldom(tmp_path: Path) -> None:
    restorable = Restorable(tmp_path)
    seen = Api(restorable.server)
    seen.create(NAMESPACES, {"metadata": {"name": "millrace-system"}})
    started = []
    try:
        for number in range(2):
            started.append(Operator(restorable.server.kubeconfig, tmp_path / f"operator-{number}.log"))
            until(started[0].leads if number == 0 else started[1].stands_by)
        view(seen, "clicks")
        restorable.server.kill()
        assert started[0].process.wait(60) == 1, "it ends where it could not renew its Lease"
        restorable.resume()
        until(started[1].leads)
        for operator in started:
            lines = operator.log.read_text().splitlines()
            told = [line for line in lines if " WARNING " in line or " ERROR " in line]
            assert all(re.match(r"[0-9-]{10} [0-9:,]+ [A-Z]+ millrace", line) for line in lines), "no stack trace"
            for trouble in ("Lease", "featureviews", "modeldeployments", "experiments"):
                assert len([line for line in told if trouble in line]) <= 10
            assert [line for line in told if "cannot write the Lease" in line]
    finally:
        for operator in started:
            operator.process.kill()
            operator.process.wait()
        restorable.server.stop()


async def test_without_a_way_to_the_api_server_it_says_what_to_set(tmp_path: Path) -> None:
    settings = OperatorSettings.load({"MILLRACE_HEALTH_PORT": "0"})
    with pytest.raises(RejectError, match="Set KUBECONFIG"):
        await run(settings, {"KUBECONFIG": str(tmp_path / "none")})


async def test_a_port_in_use_is_named(server: RunningServer) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        settings = OperatorSettings.load({"MILLRACE_HEALTH_PORT": port, "MILLRACE_HOST": "127.0.0.1"})
        with pytest.raises(RejectError, match="MILLRACE_HEALTH_PORT to a free port"):
            await run(settings, {"KUBECONFIG": str(server.kubeconfig)})


def test_wrong_settings_are_a_sentence_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MILLRACE_HEALTH_PORT", "x")
    assert main() == 2
    assert "MILLRACE_HEALTH_PORT" in capsys.readouterr().err
