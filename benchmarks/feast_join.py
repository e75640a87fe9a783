"""Feast's point-in-time join: ``python -m benchmarks.feast_join OFFLINE_STORE FOLDER WARM_UP_FOLDER``.

Both folders are as ``point_in_time.generate`` writes them. Runs in Feast's environment (``feast_env``).
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from benchmarks.feast_repository import opened, view
from benchmarks.figures import report

VIEWS, FEATURES = 3, 10


def join(offline: str, folder: Path) -> int:
    """Rows of the result."""
    names = {f"v{i}": [f"v{i}_{j}" for j in range(FEATURES)] for i in range(VIEWS)}
    views = [view(name, folder / f"{name}.parquet", features) for name, features in names.items()]
    refs = [f"{name}:{feature}" for name, features in names.items() for feature in features]
    with opened(views, offline) as store:
        frame = pd.read_parquet(folder / "entities.parquet")
        return int(store.get_historical_features(frame, refs).to_arrow().num_rows)


if __name__ == "__main__":
    join(sys.argv[1], Path(sys.argv[3]))
    report(lambda: join(sys.argv[1], Path(sys.argv[2])))
