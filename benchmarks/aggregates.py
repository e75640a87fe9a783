"""Aggregates beside the best single DuckDB query that one would write by hand, over the same Parquet file.

10 million events of 50,000 entities in 90 days; 20 windows over three columns, of which the longest holds all events.
Two kinds of work: the values of all entities as of one moment (what a run materializes), and those of 100,000 entity
rows (a training set). By hand it is one query with filtered aggregates, grouped by entity; and for the training set the
same over a join on the entity and the longest window. DuckDB's sums depend on the order that threads take, Millrace's
are exact. Each measurement is a process of its own, after a warm-up on other data, so that imports are not counted.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from benchmarks.figures import beside, in_turns, machine, measured, median, ratio, report
from millrace_core.api.featureview import FeatureViewSpec
from millrace_core.features.definition import definition
from millrace_core.features.definition.definition import Definition
from millrace_core.features.evaluation import engine
from millrace_core.features.offline import latest, point_in_time
from millrace_data.sources.credentials import Credentials
from millrace_data.sources.opening import open_source

BEGIN, DAY = 1_700_006_400_000_000, 86_400_000_000
DAYS = 90
UPTO = BEGIN + DAYS * DAY
FUNCTIONS = [("sum", "a"), ("mean", "a"), ("count", "a"), ("max", "a"), ("min", "b"), ("stddev", "b"), ("sum", "c")]
WINDOWS = (1, 30, 90)
BY_HAND = {"mean": "avg", "stddev": "stddev_samp"}
LIMIT = 2.0
# Events, entities and entity rows.
WARM_UP = (1_000, 100, 100)


def aggregates() -> list[tuple[str, str, int]]:
    """Function, column and window in days of the 20 aggregates."""
    return [(function, column, days) for function, column in FUNCTIONS for days in WINDOWS][:20]


def generate(folder: Path, events: int, entities: int, rows: int) -> None:
    """Writes events.parquet, entities.parquet and the view."""
    rng = np.random.default_rng(0)

    def keys(count: int) -> dict[str, pa.Array]:
        moments = pa.array(rng.integers(BEGIN + 1, UPTO + 1, count), pa.timestamp("us", "UTC"))
        return {"id": pa.array(rng.integers(0, entities, count)), "ts": moments}

    columns = {
        "a": np.round(rng.exponential(50, events), 2),
        "b": rng.random(events),
        "c": rng.integers(0, 1000, events),
    }
    pq.write_table(pa.table({**keys(events), **columns}), folder / "events.parquet")
    pq.write_table(pa.table(keys(rows)), folder / "entities.parquet")
    features = [
        {
            "name": f"f{index}",
            "type": "int64" if function == "count" or column == "c" else "float64",
            "aggregate": {"function": function, "column": column, "window": f"{days}d"},
        }
        for index, (function, column, days) in enumerate(aggregates())
    ]
    spec = {
        "entities": [{"name": "id", "type": "int64"}],
        "source": {"parquet": {"uri": f"file://{folder}/events.parquet"}, "timestampField": "ts"},
        "features": features,
        "online": {"enabled": False},
    }
    (folder / "view.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(spec))))


def view(folder: Path) -> Definition:
    return definition.compile(
        "v", "default", FeatureViewSpec.model_validate(yaml.safe_load((folder / "view.yaml").read_text()))
    )


def snapshots(folder: Path) -> int:
    """What a materialization run would write, without a store. Returns the number of rows."""
    compiled = view(folder)
    source = open_source(compiled, Credentials())
    with engine.temporary() as sorter:
        within = latest.time_range(compiled, None, UPTO)
        return sum(len(rows.event_times) for rows in latest.latest(compiled, source, within, sorter))


def training(folder: Path) -> int:
    """A training set by the SDK's engine. Returns the number of rows."""
    compiled = view(folder)
    frame = pq.read_table(folder / "entities.parquet").combine_chunks()
    moments = frame["ts"].cast(pa.int64()).combine_chunks()
    entity_frame = point_in_time.EntityFrame({"id": frame["id"].combine_chunks()}, moments)
    return len(point_in_time.join(compiled, compiled.features, open_source(compiled, Credentials()), entity_frame)[0])


def snapshots_by_hand(folder: Path) -> int:
    """One query, grouped by entity."""
    return _by_hand(
        f"select id, {_values(f'make_timestamp({UPTO})')} from events where {_within(UPTO)} group by id", folder
    )


def training_by_hand(folder: Path) -> int:
    """One query over a join, grouped by the frame's rows."""
    grid = "time_bucket(interval '1 hour', f.ts)"
    return _by_hand(
        f"select f.row, {_values(grid)} from frame f left join events e on f.id = e.id and e.ts <= {grid} "
        f"and e.ts > {grid} - interval '{max(WINDOWS)} days' group by f.row order by f.row",
        folder,
    )


def _by_hand(query: str, folder: Path) -> int:
    connection = duckdb.connect()
    connection.execute("set preserve_insertion_order = false; set TimeZone = 'UTC'")
    connection.execute(f"create view events as select id, ts::timestamp as ts, a, b, c from '{folder}/events.parquet'")
    frame = f"select row_number() over () as row, id, ts::timestamp as ts from '{folder}/entities.parquet'"
    connection.execute(f"create view frame as {frame}")
    return len(connection.sql(query).to_arrow_table())


def _within(upto: int) -> str:
    return f"ts > make_timestamp({upto}) - interval '{max(WINDOWS)} days' and ts <= make_timestamp({upto})"


def _values(end: str) -> str:
    moment = "ts" if end.startswith("make") else "e.ts"
    return ", ".join(
        f"{BY_HAND.get(function, function)}({column})"
        + ("" if days == max(WINDOWS) else f" filter ({moment} > {end} - interval '{days} days')")
        + f" as f{index}"
        for index, (function, column, days) in enumerate(aggregates())
    )


WAYS: dict[str, Callable[[Path], int]] = {
    "snapshots": snapshots,
    "snapshots by hand": snapshots_by_hand,
    "training": training,
    "training by hand": training_by_hand,
}


def main() -> int:
    """Prints the figures; returns 1 where a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--entities", type=int, default=50_000)
    parser.add_argument("--entity-rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--way", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        way, folder, warm_up = options.way
        WAYS[way](Path(warm_up))
        report(partial(WAYS[way], Path(folder)))
        return 0
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as warm_up:
        generate(Path(folder), options.events, options.entities, options.entity_rows)
        generate(Path(warm_up), *WARM_UP)
        command = [sys.executable, "-m", "benchmarks.aggregates", "--way"]
        samples = in_turns({way: partial(measured, [*command, way, folder, warm_up]) for way in WAYS}, options.rounds)
    print(
        f"{options.events:,} events, {options.entities:,} entities, {len(aggregates())} windows over 3 columns; "
        f"medians of {options.rounds}, {machine()}"
    )
    met = True
    for way in ("snapshots", "training"):
        for name in (way, f"{way} by hand"):
            middle = median(samples[name])
            print(
                f"  {name:<18} {middle.seconds:6.2f} s, {middle.cpu:6.2f} s of CPU, {middle.memory:5,.0f} MB, "
                f"{middle.rows:,} rows"
            )
        times = ratio(samples[way], samples[f"{way} by hand"])
        busy = ratio(samples[way], samples[f"{way} by hand"], "cpu")
        reached = times <= LIMIT
        met &= reached
        print(f"  {way}: {beside(f'{times:.2f}', f'{LIMIT:g}', met=reached)} of the time, {busy:.2f} of the CPU time")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
