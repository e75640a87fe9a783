"""The point-in-time join beside Feast, and beside ASOF joins of DuckDB and Polars as one would write them by hand.

1,000,000 rows of history over 50,000 entities in each of 3 views of 10 features, 100,000 entity rows; then a small
case. Each measurement is a process of its own, in turns, after a warm-up on other data; times are of the join alone,
from Parquet files to an Arrow table, without imports.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import feast_env
from benchmarks.figures import Sample, beside, in_turns, machine, measured, median, ratio, report
from millrace import FeatureStore

VIEWS, FEATURES = 3, 10
BEGIN, SPAN = 1_700_000_000_000_000, 90 * 86_400_000_000
MEMORY_LIMIT_MB = 600
# Times as fast as Feast, by its offline store.
FEAST_LIMITS = {"duckdb": 2, "file": 20}
SMALL_LIMIT_SECONDS = 0.1


class HistorySize(NamedTuple):
    """Rows of history per view, number of entities, and rows of the entity frame."""

    rows: int
    entities: int
    entity_rows: int


WARM_UP = HistorySize(1_000, 100, 100)
SMALL = HistorySize(100_000, 5_000, 10_000)


def generate(folder: Path, size: HistorySize) -> None:
    """Writes v0.parquet, v1.parquet, v2.parquet, entities.parquet and the views' YAML."""
    rows, entities, entity_rows = size
    folder.mkdir()
    rng = np.random.default_rng(0)

    def moments(count: int) -> pa.Array:
        return pa.array(rng.integers(BEGIN, BEGIN + SPAN, count), pa.timestamp("us", "UTC"))

    for view in range(VIEWS):
        features = {f"v{view}_{i}": rng.random(rows).astype("f4" if i % 2 else "f8") for i in range(FEATURES)}
        keys = {"user_id": rng.integers(0, entities, rows), "event_timestamp": moments(rows)}
        pq.write_table(pa.table({**keys, **features}), folder / f"v{view}.parquet")
    frame = {"user_id": rng.integers(0, entities, entity_rows), "event_timestamp": moments(entity_rows)}
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


def by_polars(folder: Path) -> pa.Table:
    """One join_asof per view, both sides sorted by time, put back in the frame's order."""
    frame = pl.read_parquet(folder / "entities.parquet").with_row_index("row").sort("event_timestamp")
    for view in range(VIEWS):
        history = pl.read_parquet(folder / f"v{view}.parquet").sort("event_timestamp")
        frame = frame.join_asof(history, on="event_timestamp", by="user_id", check_sortedness=False)
    return frame.sort("row").drop("row").to_arrow()


def _rows(folder: Path) -> int:
    return int(pq.read_metadata(folder / "entities.parquet").num_rows)


WAYS: dict[str, Callable[[Path], pa.Table]] = {"millrace": ours, "duckdb": by_hand, "polars": by_polars}
TITLES = {
    "millrace": "Millrace",
    "duckdb": "DuckDB ASOF by hand",
    "polars": "Polars join_asof by hand",
    "feast duckdb": "Feast, DuckDB store",
    "feast file": "Feast, as it comes",
}


def contenders(folder: Path, warm_up: Path, feast: str | None) -> dict[str, Callable[[], Sample]]:
    """The measurement of each contender over a folder; ``feast`` is the interpreter of Feast's environment."""
    commands = {
        way: [sys.executable, "-m", "benchmarks.point_in_time", "--way", way, str(folder), str(warm_up)] for way in WAYS
    }
    for offline in FEAST_LIMITS if feast else ():
        commands[f"feast {offline}"] = [feast, "-m", "benchmarks.feast_join", offline, str(folder), str(warm_up)]
    return {name: partial(measured, command) for name, command in commands.items()}


def same(folder: Path) -> bool:
    """Whether our join and those by hand give the same values."""
    found = ours(folder)
    return found.equals(by_hand(folder)) and found.equals(by_polars(folder).cast(found.schema))


def show(size: HistorySize, samples: Mapping[str, Sequence[Sample]]) -> None:
    """Prints one line per contender."""
    print(
        f"\n{size.rows:,} rows of history, {size.entities:,} entities, {VIEWS} views x {FEATURES} features, "
        f"{size.entity_rows:,} entity rows; medians of {len(samples['millrace'])}, {machine()}"
    )
    for name, its in samples.items():
        middle = median(its)
        print(
            f"  {TITLES[name]:<25} {middle.seconds:6.2f} s, {middle.cpu:6.2f} s of CPU, {middle.memory:5,.0f} MB, "
            f"{size.entity_rows - middle.rows:,} rows lost; "
            f"Millrace: {ratio(samples['millrace'], its):.2f} of its time, "
            f"{ratio(samples['millrace'], its, 'cpu'):.2f} of its CPU time"
        )


def judge_large(samples: Mapping[str, Sequence[Sample]], entity_rows: int) -> bool:
    """Prints each figure beside its limit; returns whether all are met."""
    our = median(samples["millrace"])
    by_hand_ratio = ratio(samples["millrace"], samples["duckdb"])
    bars = [
        ("of the time of DuckDB ASOF by hand", f"{by_hand_ratio:.2f}", "1", by_hand_ratio <= 1),
        ("MB at most", f"{our.memory:,.0f}", f"{MEMORY_LIMIT_MB}", our.memory <= MEMORY_LIMIT_MB),
        ("rows lost", f"{entity_rows - our.rows}", "0", our.rows == entity_rows),
    ]
    for offline, limit in FEAST_LIMITS.items():
        if f"feast {offline}" in samples:
            faster = 1 / ratio(samples["millrace"], samples[f"feast {offline}"])
            bars.append(
                (f"times as fast as {TITLES[f'feast {offline}']}", f"{faster:.1f}", f"{limit}", faster >= limit)
            )
    for what, value, limit, met in bars:
        print(f"  {what}: {beside(value, limit, met=met)}")
    return all(met for *_, met in bars)


def judge_small(samples: Mapping[str, Sequence[Sample]]) -> bool:
    """The same for the small case."""
    slower = median(samples["millrace"]).seconds - median(samples["duckdb"]).seconds
    met = slower <= SMALL_LIMIT_SECONDS
    print(f"  slower than DuckDB ASOF by hand: {beside(f'{slower:.3f} s', f'{SMALL_LIMIT_SECONDS} s', met=met)}")
    return met


def main() -> int:
    """Prints the figures; returns 1 where a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--entities", type=int, default=50_000)
    parser.add_argument("--entity-rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--feast", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("folders", type=Path, nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        folder, warm_up = options.folders
        WAYS[options.way](warm_up)
        report(lambda: WAYS[options.way](folder).num_rows)
        return 0
    feast = feast_env.interpreter() if options.feast else None
    large = HistorySize(options.rows, options.entities, options.entity_rows)
    met = True
    with tempfile.TemporaryDirectory() as name:
        warm_up = Path(name, "warm-up")
        generate(warm_up, WARM_UP)
        for case, size in (("large", large), ("small", SMALL)):
            folder = Path(name, case)
            generate(folder, size)
            if not same(folder):
                print("the joins differ")
                return 1
            samples = in_turns(contenders(folder, warm_up, feast), options.rounds)
            show(size, samples)
            met &= judge_small(samples) if size is SMALL else judge_large(samples, size.entity_rows)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
