"""The point-in-time join beside DuckDB's ASOF join as one would write it by hand, over the same Parquet files.

1,000,000 rows of history over 50,000 entities, 10 features x 3 views, 100,000 entity rows. Each measurement is a
process of its own, in turns; times are of the join alone, from files to an Arrow table, without imports.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from millrace.sdk import FeatureStore

VIEWS, FEATURES = 3, 10
BEGIN, SPAN = 1_700_000_000_000_000, 90 * 86_400_000_000
TIME_LIMIT = 1.0
MEMORY_LIMIT_MB = 600


def generate(folder: Path, rows: int, entities: int, asked: int) -> None:
    """Writes v0.parquet, v1.parquet, v2.parquet, entities.parquet and the views' YAML."""
    rng = np.random.default_rng(0)

    def moments(count: int) -> pa.Array:
        return pa.array(rng.integers(BEGIN, BEGIN + SPAN, count), pa.timestamp("us", "UTC"))

    for view in range(VIEWS):
        features = {f"v{view}_{i}": rng.random(rows).astype("f4" if i % 2 else "f8") for i in range(FEATURES)}
        keys = {"user_id": rng.integers(0, entities, rows), "event_timestamp": moments(rows)}
        pq.write_table(pa.table({**keys, **features}), folder / f"v{view}.parquet")
    frame = {"user_id": rng.integers(0, entities, asked), "event_timestamp": moments(asked)}
    pq.write_table(pa.table(frame), folder / "entities.parquet")
    (folder / "views.yaml").write_text("\n---\n".join(json.dumps(_view(folder, view)) for view in range(VIEWS)))


def _view(folder: Path, view: int) -> dict[str, object]:
    return {
        "apiVersion": "millrace.dev/v1alpha1",
        "kind": "FeatureView",
        "metadata": {"name": f"v{view}"},
        "spec": {
            "entities": [{"name": "user_id", "type": "int64"}],
            "source": {"parquet": {"uri": f"file://{folder}/v{view}.parquet"}, "timestampField": "event_timestamp"},
            "features": [{"name": f"v{view}_{i}", "type": "float32" if i % 2 else "float64"} for i in range(FEATURES)],
            "online": {"enabled": False},
        },
    }


def ours(folder: Path) -> pa.Table:
    """By the SDK."""
    store = FeatureStore.from_files([folder / "views.yaml"])
    refs = [f"v{view}:v{view}_{i}" for view in range(VIEWS) for i in range(FEATURES)]
    return store.get_historical_features(folder / "entities.parquet", refs).to_arrow()


def by_hand(folder: Path) -> pa.Table:
    """One ASOF join per view, one after another, put back in the frame's order by a row id."""
    connection = duckdb.connect()
    connection.execute("set preserve_insertion_order = false")
    frame = pq.read_table(folder / "entities.parquet").append_column("row", pa.array(np.arange(_rows(folder))))
    connection.register("frame", frame)
    result = frame.drop_columns(["row"])
    for view in range(VIEWS):
        found = connection.sql(
            f"select history.* exclude (user_id, event_timestamp) from frame asof left join "
            f"'{folder}/v{view}.parquet' history on frame.user_id = history.user_id "
            f"and frame.event_timestamp >= history.event_timestamp order by frame.row"
        ).to_arrow_table()
        for name in found.column_names:
            result = result.append_column(name, found[name])
    return result


def _rows(folder: Path) -> int:
    return int(pq.read_metadata(folder / "entities.parquet").num_rows)


WAYS: dict[str, Callable[[Path], pa.Table]] = {"millrace": ours, "by hand": by_hand}


def measured(way: str, folder: Path) -> tuple[float, float]:
    """Seconds, and peak memory of the process in MB."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.point_in_time", "--way", way, "--folder", str(folder)],
        capture_output=True,
        check=True,
        text=True,
    )
    seconds, memory = done.stdout.split()
    return float(seconds), float(memory)


def main() -> int:
    """Prints the figures; returns 1 where a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--entities", type=int, default=50_000)
    parser.add_argument("--asked", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        began = time.perf_counter()
        WAYS[options.way](options.folder)
        seconds = time.perf_counter() - began
        # Not ru_maxrss, which a process inherits from the one that started it.
        peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        print(seconds, int(peak[1]) / 1024 if peak else 0)
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generate(folder, options.rows, options.entities, options.asked)
        if not ours(folder).equals(by_hand(folder)):
            print("the two joins differ")
            return 1
        rounds = [{way: measured(way, folder) for way in WAYS} for _ in range(options.rounds)]
    times = {way: statistics.median(one[way][0] for one in rounds) for way in WAYS}
    memory = statistics.median(one["millrace"][1] for one in rounds)
    ratio = statistics.median(one["millrace"][0] / one["by hand"][0] for one in rounds)
    print(
        f"{options.rows:,} rows, {options.entities:,} entities, {VIEWS} views x {FEATURES} features, {options.asked:,} "
        f"entity rows: millrace {times['millrace']:.2f} s, DuckDB ASOF by hand {times['by hand']:.2f} s, "
        f"ratio {ratio:.2f} (limit {TIME_LIMIT:g}), {memory:,.0f} MB (limit {MEMORY_LIMIT_MB})"
    )
    return 1 if ratio > TIME_LIMIT or memory > MEMORY_LIMIT_MB else 0


if __name__ == "__main__":
    sys.exit(main())
