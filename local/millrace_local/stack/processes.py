"""Processes, by ``/proc``.

Reference: proc(5). Linux only, as is the embedded mode (it gives each pod an address of 127.0.0.0/8).
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from millrace_local.node.marks import NODE_MARK
from millrace_local.stack.state import ProcessIdentity

PROC = Path("/proc")
# The environment variable by which processes of a stack are found again; those of pods have the node's own.
MARK = "MILLRACE_LOCAL_ROOT"
_PR_SET_PDEATHSIG = 1
_POLL_SECONDS = 0.02


def identify(pid: int) -> ProcessIdentity:
    """The identity of the process with this id; an empty one if there is none or it has ended."""
    try:
        # The command's name, in parentheses, may contain anything; the fixed fields follow it.
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ProcessIdentity()
    state, started = fields[0], fields[19]
    return ProcessIdentity() if state in ("Z", "X") else ProcessIdentity(pid, int(started))


def is_alive(process: ProcessIdentity) -> bool:
    """Whether this process still runs; another one with its id does not count."""
    return process.pid > 0 and identify(process.pid) == process


def kill(process: ProcessIdentity, number: signal.Signals) -> None:
    """Sends a signal to this process; does nothing if it has ended."""
    if is_alive(process):
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)


def wait_ended(process: ProcessIdentity, seconds: float) -> bool:
    """Waits up to ``seconds`` for a process to end; returns whether it has."""
    deadline = time.monotonic() + seconds
    while is_alive(process):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def marked(root: Path) -> list[ProcessIdentity]:
    """All running processes of the stack at ``root``, except the present one."""
    marks = {f"{MARK}={root}".encode(), f"{NODE_MARK}={root}".encode()}
    found = []
    for pid in _pids():
        with suppress(OSError):
            if pid != os.getpid() and marks & set((PROC / str(pid) / "environ").read_bytes().split(b"\0")):
                found.append(identify(pid))
    return [process for process in found if process.pid]


def command_line(pid: int) -> str:
    """The command line of a process; empty if it cannot be read."""
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def holder(port: int) -> int:
    """The id of the process that listens on a TCP port of this machine; 0 if unknown."""
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
    """Has the kernel send ``number`` to this process when its parent ``parent`` ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(number))
    if os.getppid() != parent:  # the parent ended before the call took effect
        os.kill(os.getpid(), number)


def die_with_parent(number: signal.Signals) -> Callable[[], None]:
    """A ``preexec_fn``: the child gets ``number`` when the calling process ends."""
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
