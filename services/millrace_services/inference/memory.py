"""The container's memory limit, told to the process itself.

What a process takes beyond the limit makes the kernel end the whole container. A process that knows the limit is
refused the memory instead, and answers the one request that asked for it.
"""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Final

from millrace_services.inference.cpu import CGROUP

_PROCESS: Final = Path("/proc/self/status")
# Of the limit, for what is not the process's own: buffers of sockets, page tables, its parent.
_RESERVED: Final = 1 / 32


def limit_growth(cgroup: Path = CGROUP) -> int | None:
    """Lets this process grow by what its container has left, and no further.

    Address space is limited rather than memory, as Linux offers nothing else (``RLIMIT_DATA``, since Linux 4.7 of all
    private writable memory). So this is for a process that has loaded all that it keeps: what it had before counts as
    used.

    Returns:
        How many bytes it may grow; None where the container has no limit, or cannot say.
    """
    limit, used = _v2(cgroup) or _v1(cgroup) or (None, None)
    if limit is None or used is None:
        return None
    room = max(0, int(limit * (1 - _RESERVED)) - used)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = _data_bytes() + room
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
    return room


def _data_bytes() -> int:
    line = next(line for line in _PROCESS.read_text().splitlines() if line.startswith("VmData:"))
    return int(line.split()[1]) * 1024


def _v2(cgroup: Path) -> tuple[int, int] | None:
    return _read(cgroup / "memory.max", cgroup / "memory.stat", "anon")


def _v1(cgroup: Path) -> tuple[int, int] | None:
    folder = cgroup / "memory"
    return _read(folder / "memory.limit_in_bytes", folder / "memory.stat", "total_rss")


def _read(limit: Path, stat: Path, field: str) -> tuple[int, int] | None:
    """The limit and what is used of it that cannot be given back; in cgroup v1 no limit is one beyond any machine."""
    try:
        most = int(limit.read_text())
        used = dict(line.split(maxsplit=1) for line in stat.read_text().splitlines())[field]
    except (OSError, ValueError, KeyError):
        return None
    return (most, int(used)) if most < 2**60 else None
