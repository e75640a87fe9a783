"""How many processors this process may use: the cgroup's limit, else what the scheduler allows."""

from __future__ import annotations

import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def cpu_count(cgroup: Path = CGROUP) -> int:
    """Whole processors, at least one. A limit of 1.5 counts as 1: a second thread would only be throttled."""
    allowed = len(os.sched_getaffinity(0))
    quota = _quota_v2(cgroup) or _quota_v1(cgroup)
    return max(1, min(allowed, int(quota))) if quota else allowed


def _quota_v2(cgroup: Path) -> float | None:
    # "max 100000" or "150000 100000": microseconds of each period
    return _ratio(*_read(cgroup / "cpu.max").split())


def _quota_v1(cgroup: Path) -> float | None:
    return _ratio(_read(cgroup / "cpu/cpu.cfs_quota_us"), _read(cgroup / "cpu/cpu.cfs_period_us"))


def _ratio(quota: str = "", period: str = "") -> float | None:
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else None


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
