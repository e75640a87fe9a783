"""The supervisor with small programs in place of the real components."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from millrace_local.stack import backoff, health, processes, state, supervisor
from millrace_local.stack.components import Component
from millrace_local.stack.health import HttpCheck
from millrace_local.stack.settings import StackPaths
from millrace_local.stack.state import ComponentState, StackState
from millrace_local.stack.supervisor import Supervisor
from tests.local.mesh.conftest import free_port

SLOW = HttpCheck(1, "/slow")
# Answers 200 to everything, or the status in the file that its second argument names.
SERVER = """
import http.server, pathlib, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        status = pathlib.Path(sys.argv[2])
        self.send_response(int(status.read_text()) if status.exists() else 200)
        self.end_headers()
    def log_message(self, *_): print("asked", flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def server(name: str, folder: Path, *after: str) -> Component:
    port = free_port()
    command = (sys.executable, "-c", SERVER, str(port), str(folder / f"{name}.status"))
    return Component(name, HttpCheck(port), command, after=after, port=port)


@asynccontextmanager
async def running(folder: Path, *components: Component) -> AsyncIterator[Callable[[], StackState]]:
    paths = StackPaths(folder)
    paths.logs.mkdir(exist_ok=True)
    stop = asyncio.Event()
    task = asyncio.create_task(Supervisor(paths, components, dict(os.environ), StackState(version="1")).run(stop))
    try:
        await until(lambda: bool(state.read(paths.state).components))
        yield lambda: state.read(paths.state)
    finally:
        stop.set()
        await task


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.02)


async def test_components_start_when_what_they_need_is_ready_and_end_with_the_supervisor(tmp_path: Path) -> None:
    (tmp_path / "first.status").write_text("503")
    async with running(tmp_path, server("first", tmp_path), server("second", tmp_path, "first")) as now:
        await until(lambda: now().components["first"].message.startswith("answered 503"))
        assert now().components["second"].health == "waiting"
        (tmp_path / "first.status").unlink()
        await until(lambda: now().phase == "ready")
        pids = [one.process for one in now().components.values()]
        assert all(processes.is_alive(process) for process in pids)
    assert not any(processes.is_alive(process) for process in pids)
    assert now().phase == "stopped"
    assert {one.health for one in now().components.values()} == {"stopped"}


async def test_a_component_that_is_killed_is_started_again_and_counted(tmp_path: Path) -> None:
    async with running(tmp_path, server("one", tmp_path)) as now:
        await until(lambda: now().phase == "ready")
        first = now().components["one"].process
        os.kill(first.pid, signal.SIGKILL)
        await until(lambda: now().components["one"].restarts == 1 and now().components["one"].health == "ready")
        assert now().components["one"].process != first
        assert now().phase == "ready"


async def test_what_needs_a_component_that_ended_is_ready_only_when_seen_since(tmp_path: Path) -> None:
    first, third = server("first", tmp_path), server("third", tmp_path)
    second = Component("second", HttpCheck(first.port), needs=("first",))
    third = replace(third, needs=("second",))
    async with running(tmp_path, first, second, third) as now:
        await until(lambda: now().phase == "ready")
        (tmp_path / "first.status").write_text("503")
        os.kill(now().components["first"].process.pid, signal.SIGKILL)
        await until(lambda: now().components["first"].health != "ready")
        # As one write says that the first ended, and the others were ready a moment ago.
        assert [now().components[name].health for name in ("second", "third")] == ["waiting", "waiting"]
        assert now().components["third"].message.startswith(("for first, which is ", "for second, which is "))
        assert now().phase == "degraded"
        await until(lambda: now().components["first"].message.startswith("answered 503"))
        assert now().components["second"].health == "waiting"
        (tmp_path / "first.status").unlink()
        await until(lambda: now().phase == "ready")
        assert now().components["third"].restarts == 0


async def test_a_check_that_began_before_the_end_of_what_is_needed_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answer, real = threading.Event(), threading.Event(), health.failure
    looks, looks_when_ready = [0], []

    def slow(check: health.Check, since: float) -> str:
        if check != SLOW:
            return real(check, since)
        looks[0] += 1
        asked.set()
        answer.wait(20)
        return ""

    write = state.write

    def record(path: Path, what: StackState) -> None:
        if what.components["second"].health == "ready":
            looks_when_ready.append(looks[0])
        write(path, what)

    monkeypatch.setattr(health, "failure", slow)
    monkeypatch.setattr(state, "write", record)
    first = server("first", tmp_path)
    async with running(tmp_path, first, Component("second", SLOW, needs=("first",))) as now:
        await asyncio.to_thread(asked.wait, 20)
        (tmp_path / "first.status").write_text("503")
        os.kill(now().components["first"].process.pid, signal.SIGKILL)
        await until(lambda: now().components["first"].message.startswith("answered 503"))
        answer.set()
        (tmp_path / "first.status").unlink()
        await until(lambda: now().phase == "ready")
        assert looks_when_ready[0] == 2


async def test_a_component_is_not_started_again_for_what_it_waits_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "READY_POLL_SECONDS", 0.02)
    async with running(tmp_path, server("first", tmp_path), replace(server("two", tmp_path), needs=("first",))) as now:
        await until(lambda: now().phase == "ready")
        (tmp_path / "first.status").write_text("503")
        await until(lambda: now().components["two"].health == "waiting")
        (tmp_path / "two.status").write_text("503")
        later = time.monotonic() + 1000
        monkeypatch.setattr(supervisor, "monotonic", lambda: later)
        await until(lambda: now().components["first"].restarts > 0)
        (tmp_path / "first.status").unlink()
        await until(lambda: now().components["two"].health == "unhealthy")
        (tmp_path / "two.status").unlink()
        await until(lambda: now().phase == "ready")
        assert now().components["two"].restarts == 0


async def test_a_component_that_never_comes_up_fails_the_start_with_its_last_words(tmp_path: Path) -> None:
    broken = Component("broken", HttpCheck(1), (sys.executable, "-c", "raise SystemExit('the journal is torn')"))
    async with running(tmp_path, broken) as now:
        await until(lambda: now().phase == "failed")
        assert now().error == "broken ended with exit code 1: the journal is torn"


async def test_a_component_that_does_not_answer_any_more_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "READY_POLL_SECONDS", 0.05)
    async with running(tmp_path, server("one", tmp_path)) as now:
        await until(lambda: now().phase == "ready")
        first = now().components["one"].process
        (tmp_path / "one.status").write_text("500")
        await until(lambda: now().components["one"].health == "unhealthy")
        assert now().components["one"].process == first
        monkeypatch.setattr(supervisor, "UNHEALTHY_SECONDS", 0.0)
        await until(lambda: now().components["one"].process not in (first, state.ProcessIdentity()))
        (tmp_path / "one.status").unlink()
        await until(lambda: now().components["one"].health == "ready")


async def test_a_component_that_ignores_the_request_to_end_is_killed(tmp_path: Path) -> None:
    stubborn = server("one", tmp_path)
    command = (
        *stubborn.command[:2],
        "import signal; signal.signal(15, signal.SIG_IGN)\n" + SERVER,
        *stubborn.command[3:],
    )
    component = Component("one", stubborn.check, command, stop_seconds=0.2)
    async with running(tmp_path, component) as now:
        await until(lambda: now().phase == "ready")
        process = now().components["one"].process
    assert not processes.is_alive(process)


async def test_what_components_say_is_in_their_logs(tmp_path: Path) -> None:
    async with running(tmp_path, server("one", tmp_path)) as now:
        await until(lambda: now().phase == "ready")
    assert "asked" in StackPaths(tmp_path).log("one").read_text()


def test_starts_again_are_quick_first_and_ten_seconds_apart_at_most() -> None:
    count, delays = 0, []
    for _ in range(12):
        count = backoff.failures(count, 1.0)
        delays.append(backoff.delay(count))
    assert delays[:4] == [0.1, 0.2, 0.4, 0.8]
    assert max(delays) == delays[-1] == 10.0
    assert backoff.failures(count, 30.0) == 1


def test_a_state_that_cannot_be_read_is_that_of_nothing(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    assert state.read(path) == StackState()
    full = StackState(
        "1", "ready", "", state.ProcessIdentity(1, 2), {"api": 3}, {"x": ComponentState(state.ProcessIdentity(4, 5), 6)}
    )
    state.write(path, full)
    assert state.read(path) == full
    path.write_text(path.read_text()[:50])
    assert state.read(path) == StackState()


def test_a_process_id_that_belongs_to_another_by_now_is_not_alive() -> None:
    me = processes.identify(os.getpid())
    assert processes.is_alive(me)
    assert not processes.is_alive(state.ProcessIdentity(me.pid, me.started - 1))
    assert not processes.is_alive(state.ProcessIdentity())
