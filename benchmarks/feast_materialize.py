"""Feast's materialization: ``python -m benchmarks.feast_materialize OFFLINE_STORE FILE WARM_UP_FILE REDIS``.

The files are as ``materialize.generate`` writes them, REDIS is host:port. Runs in Feast's environment (``feast_env``).
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.feast_repository import opened, view
from benchmarks.figures import report

FEATURES = 10


def materialize(offline: str, file: Path, redis: str) -> int:
    """Rows written: one per row of the file, which has one per entity."""
    stats = view("user_stats", file, [f"f{i}" for i in range(FEATURES)], created="created")
    with opened([stats], offline, redis) as store:
        store.materialize(datetime(2023, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC))
    return int(pq.read_metadata(file).num_rows)


if __name__ == "__main__":
    materialize(sys.argv[1], Path(sys.argv[3]), sys.argv[4])
    report(lambda: materialize(sys.argv[1], Path(sys.argv[2]), sys.argv[4]))
