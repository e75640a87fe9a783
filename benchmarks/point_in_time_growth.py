"""The point-in-time join as history grows: 10, 30 and 100 million rows, in a process that may hold 4 GiB.

3 views of 10 features over 50,000 entities, 100,000 entity rows. The views are of one file (76 bytes per row, in random
order, so that no row group can be skipped), which each of them reads on its own. The kernel holds the process to its
memory (RLIMIT_DATA), so more would fail rather than pass unseen.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import statistics
import sys
import tempfile
from pathlib import Path

import duckdb
import pyarrow as pa

from benchmarks.figures import Sample, beside, machine, measured, report
from benchmarks.point_in_time import BEGIN, FEATURES, SPAN, VIEWS
from millrace import FeatureStore

ENTITIES, ENTITY_ROWS = 50_000, 100_000
MEMORY_LIMIT_MB = 4096


def generate(folder: Path, rows: int) -> None:
    """Writes history.parquet, entities.parquet and the views' YAML."""
    features = ", ".join(f"random()::{'float' if i % 2 else 'double'} as x{i}" for i in range(FEATURES))
    key = f"floor(random() * {ENTITIES})::bigint as user_id"
    moment = f"make_timestamp({BEGIN} + floor(random() * {SPAN})::bigint) as event_timestamp"
    connection = duckdb.connect(config={"memory_limit": "1GiB", "temp_directory": str(folder)})
    connection.execute("set preserve_insertion_order = false; select setseed(0.5)")
    for name, count, columns in (
        ("history", rows, f"{key}, {moment}, {features}"),
        ("entities", ENTITY_ROWS, f"{key}, {moment}"),
    ):
        connection.execute(f"copy (select {columns} from range({count})) to '{folder}/{name}.parquet' (format parquet)")
    (folder / "views.yaml").write_text("\n---\n".join(json.dumps(_view(folder, view)) for view in range(VIEWS)))


def _view(folder: Path, view: int) -> dict[str, object]:
    return {
        "apiVersion": "millrace.dev/v1alpha1",
        "kind": "FeatureView",
        "metadata": {"name": f"v{view}"},
        "spec": {
            "entities": [{"name": "user_id", "type": "int64"}],
            "source": {"parquet": {"uri": f"file://{folder}/history.parquet"}, "timestampField": "event_timestamp"},
            "features": [
                {"name": f"v{view}_{i}", "type": "float32" if i % 2 else "float64", "column": f"x{i}"}
                for i in range(FEATURES)
            ],
            "online": {"enabled": False},
        },
    }


def join(folder: Path) -> pa.Table:
    store = FeatureStore.from_files([folder / "views.yaml"])
    refs = [f"v{view}:v{view}_{i}" for view in range(VIEWS) for i in range(FEATURES)]
    return store.get_historical_features(folder / "entities.parquet", refs).to_arrow()


def agrees(folder: Path) -> bool:
    """Whether the first view's values equal those of DuckDB's ASOF join."""
    connection = duckdb.connect(config={"memory_limit": "2GiB", "temp_directory": str(folder)})
    names = ", ".join(f"x{i} as v0_{i}" for i in range(FEATURES))
    expected = connection.sql(
        f"select {names} from (select *, row_number() over () as place from '{folder}/entities.parquet') asked "
        f"asof left join '{folder}/history.parquet' history on asked.user_id = history.user_id "
        f"and asked.event_timestamp >= history.event_timestamp order by place"
    ).to_arrow_table()
    return join(folder).select(expected.column_names).equals(expected)


def measure(rows: int, rounds: int, *, check: bool) -> list[Sample]:
    """Samples of joins over a history of ``rows`` rows."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generate(folder, rows)
        if check and not agrees(folder):
            raise SystemExit(f"{rows:,} rows: the join differs from DuckDB's")
        command = [sys.executable, "-m", "benchmarks.point_in_time_growth", "--folder", name]
        return [measured(command) for _ in range(rounds)]


def main() -> int:
    """Prints one line per size; returns 1 where a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--millions", type=int, nargs="+", default=[10, 30, 100], help="rows of history, ascending")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folder:
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_LIMIT_MB << 20, MEMORY_LIMIT_MB << 20))
        report(lambda: join(options.folder).num_rows)
        return 0
    first: Sample | None = None
    met = True
    for millions in options.millions:
        rows = 1_000_000 * millions
        samples = measure(rows, options.rounds, check=first is None)
        our = Sample(*(statistics.median(values) for values in zip(*samples, strict=True)))
        first = first or our
        least = 1_000_000 * options.millions[0]
        growth, limit = our.cpu / first.cpu, rows * math.log(rows) / (least * math.log(least))
        print(
            f"{rows:,} rows of history: {our.seconds:.1f} s ({our.seconds / first.seconds:.1f} times as long), "
            f"{our.cpu:.1f} s of CPU, {beside(f'{growth:.1f} times', f'n log n {limit:.1f}', met=growth <= limit)}; "
            f"{beside(f'{our.memory:,.0f} MB', f'{MEMORY_LIMIT_MB}', met=our.memory <= MEMORY_LIMIT_MB)}; "
            f"{ENTITY_ROWS - our.rows:,.0f} rows lost; medians of {len(samples)}, {machine()}",
            flush=True,
        )
        met &= growth <= limit and our.memory <= MEMORY_LIMIT_MB and our.rows == ENTITY_ROWS
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
