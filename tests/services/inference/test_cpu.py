"""Threads follow the pod's CPU limit, in both generations of cgroups."""

from __future__ import annotations

import os

import pytest

from millrace_services.inference.cpu import cpu_count

ALLOWED = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("limit", "threads"),
    [
        ("max 100000", ALLOWED),
        ("50000 100000", 1),
        ("150000 100000", 1),
        ("6400000 100000", ALLOWED),
        ("", ALLOWED),
        ("nonsense", ALLOWED),
    ],
)
def test_the_limit_of_cgroup_v2_counts_in_whole_processors(tmp_path, limit, threads):
    (tmp_path / "cpu.max").write_text(limit + "\n")
    assert cpu_count(tmp_path) == threads


@pytest.mark.parametrize(("quota", "threads"), [("-1", ALLOWED), ("100000", 1), ("6400000", ALLOWED)])
def test_the_limit_of_cgroup_v1_counts_too(tmp_path, quota, threads):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text(quota)
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000")
    assert cpu_count(tmp_path) == threads


def test_without_cgroups_the_scheduler_decides(tmp_path):
    assert cpu_count(tmp_path) == ALLOWED
