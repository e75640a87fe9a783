"""Processes of containers; none is left behind, whatever happens to the agent."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from millrace_core.base.errors import ReportError
from millrace_local.node.marks import NODE_MARK
from millrace_local.node.processes import Processes, sweep

ENVIRON = {"PATH": os.environ["PATH"]}


@pytest.fixture
async def processes(tmp_path: Path) -> AsyncIterator[Processes]:
    async with Processes(tmp_path) as found:
        yield found


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def until_dead(*pids: int) -> None:
    async with asyncio.timeout(20):
        while any(is_alive(pid) for pid in pids):
            await asyncio.sleep(0.02)


async def test_exit_codes_and_signals_are_distinguished(processes: Processes, tmp_path: Path) -> None:
    for script, code in (("exit 3", 3), ("kill -9 $$", -9), ("true", 0)):
        process = processes.spawn(["sh", "-c", script], ENVIRON, tmp_path, subprocess.DEVNULL)
        assert await process.wait() == code


async def test_a_command_that_is_not_there_is_an_error_at_once(processes: Processes, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        processes.spawn(["no-such-program"], ENVIRON, tmp_path, subprocess.DEVNULL)


async def spawned_with_child(processes: Processes, folder: Path, trap: str = "") -> tuple[object, int]:
    """A shell that started a sleep in its own group and wrote down its pid."""
    script = f"{trap} sleep 1000 & echo $! > pid.new; mv pid.new pid; wait"
    process = processes.spawn(["sh", "-c", script], ENVIRON, folder, subprocess.DEVNULL)
    async with asyncio.timeout(20):
        while not (folder / "pid").exists():
            await asyncio.sleep(0.01)
    return process, int((folder / "pid").read_text())


async def test_stopping_ends_the_command_and_all_it_started(processes: Processes, tmp_path: Path) -> None:
    process, child = await spawned_with_child(processes, tmp_path)
    await process.stop(10)  # type: ignore[attr-defined]
    assert process.code == -signal.SIGTERM  # type: ignore[attr-defined]
    await until_dead(child)


async def test_a_command_that_ignores_sigterm_is_killed_after_the_grace_period(
    processes: Processes, tmp_path: Path
) -> None:
    process, child = await spawned_with_child(processes, tmp_path, trap="trap '' TERM;")
    await process.stop(0.2)  # type: ignore[attr-defined]
    assert process.code == -signal.SIGKILL  # type: ignore[attr-defined]
    await until_dead(child)


async def test_output_is_caught_and_what_takes_too_long_is_killed(processes: Processes, tmp_path: Path) -> None:
    assert await processes.output(["sh", "-c", "echo out; echo err >&2; exit 4"], ENVIRON, tmp_path, 20) == (
        4,
        "out\nerr\n",
    )
    with pytest.raises(TimeoutError):
        await processes.output(["sleep", "1000"], ENVIRON, tmp_path, 0.1)


async def test_two_nodes_never_share_a_folder(processes: Processes, tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="another node runs"):
        await Processes(tmp_path).__aenter__()


async def test_a_process_that_left_its_group_is_found_by_its_mark(tmp_path: Path) -> None:
    mark = f"{NODE_MARK}={tmp_path}"
    hidden = subprocess.Popen(["setsid", "sleep", "1000"], env={**ENVIRON, NODE_MARK: str(tmp_path)})
    other = subprocess.Popen(["sleep", "1000"], env={**ENVIRON, NODE_MARK: f"{tmp_path}x"})
    try:
        async with asyncio.timeout(20):
            while not sweep({mark}):
                await asyncio.sleep(0.01)
        assert hidden.wait(10) == -signal.SIGKILL
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


AGENT = """
import asyncio, os, signal, sys, time
from pathlib import Path
from millrace_local.node.processes import Processes

def end():
    while not (Path(sys.argv[1]) / "pids").exists():
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)

async def main(root):
    async with Processes(root) as processes:
        if "at-once" in sys.argv:
            os.register_at_fork(after_in_parent=end)  # before the agent can say anything of its child
        script = "sleep 1000 & echo $$ $! > pids.new; mv pids.new pids; wait"
        processes.spawn(["sh", "-c", script], {"PATH": "/usr/bin:/bin"}, root, 1)
        await asyncio.sleep(1000)

asyncio.run(main(Path(sys.argv[1])))
"""


async def test_an_agent_that_is_killed_leaves_no_process_not_even_a_grandchild(tmp_path: Path) -> None:
    agent = subprocess.Popen([sys.executable, "-c", AGENT, str(tmp_path)], stdout=subprocess.DEVNULL)
    try:
        async with asyncio.timeout(30):
            while not (tmp_path / "pids").exists():
                assert agent.poll() is None
                await asyncio.sleep(0.02)
        child, grandchild = (int(pid) for pid in (tmp_path / "pids").read_text().split())
        assert is_alive(child)
        assert is_alive(grandchild)
    finally:
        agent.kill()
        agent.wait()
    await until_dead(child, grandchild)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)


async def test_an_agent_that_is_killed_as_it_starts_a_command_leaves_no_process_either(tmp_path: Path) -> None:
    command = [sys.executable, "-c", AGENT, str(tmp_path), "at-once"]
    ended = await asyncio.to_thread(subprocess.run, command, stdout=subprocess.DEVNULL, timeout=60, check=False)
    assert ended.returncode == -signal.SIGKILL
    child, grandchild = (int(pid) for pid in (tmp_path / "pids").read_text().split())
    try:
        await until_dead(child, grandchild)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
