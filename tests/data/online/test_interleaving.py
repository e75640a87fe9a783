"""Runs, backfills and pushes of one history, in any order and again, end in one state of the store."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millrace_core.features.evaluation.engine import Engine
from millrace_core.features.history.history import TimeRange
from millrace_core.features.offline.latest import latest
from millrace_core.features.online import keys, push_batch
from millrace_core.features.online.row import Layout
from millrace_core.features.types import times
from millrace_data.online.store import Store
from tests.core.features.histories import TableSource, view
from tests.data.online.rows import write
from tests.examples import examples

DEFINITION = view(("x", "int64"), ("s", "string"), created="written")
MICROSECONDS = [-(2**40), -1, 0, 1, 2**40]
MOMENTS = st.sampled_from(MICROSECONDS)


def table(rows: list[tuple[int, int, int | None, int]]) -> pa.Table:
    time = pa.timestamp("us", "UTC")
    return pa.table(
        {
            "id": pa.array([key for key, *_ in rows], pa.int64()),
            "at": pa.array([event for _, event, *_ in rows], pa.int64()).cast(time),
            "written": pa.array([created for _, _, created, _ in rows], pa.int64()).cast(time),
            "x": pa.array([value for *_, value in rows], pa.int64()),
            "s": pa.array([f"row {value}" for *_, value in rows]),
        }
    )


@pytest.mark.slow
@settings(max_examples=examples(0.3), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    moments=st.sets(st.tuples(st.integers(0, 3), MOMENTS, st.none() | MOMENTS), max_size=12), seed=st.integers(0, 2**32)
)
def test_any_order_of_runs_backfills_and_pushes_ends_in_the_same_store(
    server: Any, tmp_path: Path, moments: set[tuple[int, int, int | None]], seed: int
) -> None:
    store = Store(f"redis://127.0.0.1:{server.port}/0")
    store.client.flushall()
    rng = random.Random(seed)
    history = [(*row, value) for value, row in enumerate(sorted(moments, key=repr))]
    engine = Engine(spill=str(tmp_path), threads=1)

    def run(after: int | None, upto: int) -> None:
        """A run or a backfill: the latest rows of a stretch."""
        write(store, DEFINITION, *latest(DEFINITION, TableSource(table(history)), TimeRange(after, upto), engine))

    def push(rows: list[Any]) -> None:
        columns = table(rows).to_pydict()
        for name in ("at", "written"):
            columns[name] = [None if at is None else times.render(times.microseconds(at)) for at in columns[name]]
        found = push_batch.from_json(DEFINITION, columns, push_batch.PushClock(2**41))
        assert not found.rejected
        newest = push_batch.newest(DEFINITION, found.table, 2**41)
        write(store, DEFINITION, *(push_batch.rows(DEFINITION, each) for each in newest))

    cuts = [None, *sorted(rng.sample(MICROSECONDS, 2)), 2**41]
    runs = [lambda a=a, b=b: run(a, b) for a, b in pairwise(cuts)]
    shuffled = rng.sample(history, len(history))
    pushes = [lambda part=shuffled[i::2]: push(part) for i in range(2)]
    # One of both brings all rows, the other some of them again.
    steps: list[Any] = runs + pushes[:1] if rng.random() < 0.5 else pushes + runs[:1]
    steps += [lambda: run(None, MICROSECONDS[1]), lambda: push(shuffled[:3])]
    rng.shuffle(steps)
    for step in steps:
        step()
    newest: dict[int, Any] = {}
    for row in history:
        at = row[1], -(2**63) if row[2] is None else row[2]
        if row[0] not in newest or at > newest[row[0]][0]:
            newest[row[0]] = at, row
    layout = Layout.of(DEFINITION)
    for key in range(4):
        [name] = keys.store_keys(DEFINITION, {"id": [key]})
        [found] = store.rows([name or b""])
        if key not in newest:
            assert found is None
        else:
            _, event, created, value = newest[key][1]
            assert found == layout.encode(event, created, (value, f"row {value}"))
