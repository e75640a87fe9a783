"""Processes by what ``/proc`` says of them.

Reference: proc(5). Linux only, as the embedded mode is (it gives each pod an address of 127.0.0.0/8).
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from millrace_local.stack.state import Process

PROC = Path("/proc")
# Every process of a stack carries the stack's root folder in its environment; the node marks those of its pods.
MARK = "MILLRACE_LOCAL_ROOT"
POD_MARK = "MILLRACE_NODE_ROOT"
_PR_SET_PDEATHSIG = 1
_POLL_SECONDS = 0.02


def identify(pid: int) -> Process:
    """The process with this id, as it is now; no process if there is none or it has ended."""
    try:
        # The command's name stands in parentheses and may contain anything; fields are counted after it.
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return Process()
    state, started = fields[0], fields[19]
    return Process() if state in ("Z", "X") else Process(pid, int(started))


def is_alive(process: Process) -> bool:
    """Whether this very process still runs."""
    return process.pid > 0 and identify(process.pid) == process


def kill(process: Process, number: signal.Signals) -> None:
    """Sends a signal to this very process; nothing happens if it has ended."""
    if is_alive(process):
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)


def wait_ended(process: Process, seconds: float) -> bool:
    """Waits at most ``seconds`` for a process to end; returns whether it has."""
    deadline = time.monotonic() + seconds
    while is_alive(process):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def marked(root: Path) -> list[Process]:
    """Every running process of the stack at ``root``, the present one aside."""
    marks = {f"{MARK}={root}".encode(), f"{POD_MARK}={root}".encode()}
    found = []
    for pid in _pids():
        with suppress(OSError):
            if pid != os.getpid() and marks & set((PROC / str(pid) / "environ").read_bytes().split(b"\0")):
                found.append(identify(pid))
    return [process for process in found if process.pid]


def command_line(pid: int) -> str:
    """The command of a process in one line; empty if it cannot be read."""
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def holder(port: int) -> int:
    """The id of the process that listens on a TCP port of this machine; 0 if it is not known."""
    inodes = set(_listening_inodes(port))
    links = {f"socket:[{inode}]" for inode in inodes}
    for pid in _pids() if links else ():
        with suppress(OSError):
            for link in (PROC / str(pid) / "fd").iterdir():
                with suppress(OSError):
                    if str(link.readlink()) in links:
                        return pid
    return 0


def follow_parent(parent: int, number: signal.Signals) -> None:
    """Has the kernel send ``number`` to this process when the process ``parent``, which started it, ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(number))
    if os.getppid() != parent:  # it ended before the call took effect
        os.kill(os.getpid(), number)


def die_with_parent(number: signal.Signals) -> Callable[[], None]:
    """A ``preexec_fn`` by which a child gets ``number`` when the process that is calling this now ends."""
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def follow() -> None:
        prctl(_PR_SET_PDEATHSIG, int(number))
        if os.getppid() != parent:
            os._exit(1)

    return follow


def _pids() -> Iterable[int]:
    return [int(path.name) for path in PROC.iterdir() if path.name.isdigit()]


def _listening_inodes(port: int) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (PROC / "net" / table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]
