from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace_core.base.errors import ReportError
from millrace_core.features.evaluation.engine import Engine
from millrace_core.features.offline.latest import latest, time_range
from tests.core.features.histories import TableSource, times, view, visible
from tests.examples import examples


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return Engine(str(tmp_path_factory.mktemp("spill")), threads=2)


@settings(max_examples=examples(0.5))
@given(
    seed=st.integers(0, 2**32),
    ttl=st.sampled_from([None, "1ms"]),
    created=st.booleans(),
    after=st.sampled_from([None, -1000, -1, 0, 5]),
)
def test_the_latest_rows_agree_with_the_rules(
    engine: Engine, seed: int, ttl: str | None, created: bool, after: int | None
) -> None:
    rng = random.Random(seed)
    moments = [*range(-3, 8), -1000, -1001, -999, 5000]
    rows = [
        {
            "key": (rng.choice([None, *range(20)]), rng.choice([None, "a", "b"])),
            "at": rng.choice([None, *moments]),
            "created": rng.choice([None, *moments]),
            "x": index,
        }
        for index in range(400)
    ]
    source = pa.table(
        {
            "id": pa.array([row["key"][0] for row in rows], pa.int32()),
            "s": [row["key"][1] for row in rows],
            "at": times([row["at"] for row in rows]),
            "written": times([row["created"] for row in rows]),
            "x": [row["x"] for row in rows],
        }
    )
    keys = (("id", "int32"), ("s", "string"))
    definition = view(("x", "int64"), keys=keys, ttl=ttl, created="written" if created else None)
    known = [row if created else {**row, "created": None} for row in rows]
    recent = [row for row in known if after is None or (row["at"] is not None and row["at"] > after)]
    expected = {}
    for key in {row["key"] for row in rows}:
        row = visible(recent, key, 0, definition.ttl)
        if row:
            expected[key] = (row["at"], row["created"], row["x"])
    got = {}
    for batch in latest(definition, TableSource(source), time_range(definition, after, 0), engine):
        created_times = batch.created_times or pa.nulls(len(batch.event_times))
        for *key, at, written, x in zip(
            *(column.to_pylist() for column in [*batch.keys, batch.event_times, created_times, *batch.features]),
            strict=True,
        ):
            assert tuple(key) not in got
            got[tuple(key)] = (at, written, x)
    assert got == expected


def many(rows: int) -> TableSource:
    numbers = pa.array(np.random.default_rng(0).permutation(rows))
    return TableSource(pa.table({"id": numbers, "at": numbers.cast(pa.timestamp("us")), "x": numbers}), 100_000)


def test_a_view_larger_than_memory_spills_and_leaves_nothing_behind(tmp_path: Path) -> None:
    definition = view(("x", "int64"))
    small = Engine(str(tmp_path / "spill"), memory=24 * 2**20, threads=1)
    source = many(1_000_000)
    count = 0
    for batch in latest(definition, source, time_range(definition, None, 2**40), small):
        assert batch.event_times.equals(batch.features[0])
        count += len(batch.event_times)
    assert count == 1_000_000
    assert not list((tmp_path / "spill").glob("*"))


def test_no_free_disk_is_said_in_one_sentence(tmp_path: Path) -> None:
    definition = view(("x", "int64"))
    small = Engine(str(tmp_path / "spill"), memory=24 * 2**20, threads=1, disk=2**20)
    with pytest.raises(ReportError, match=r"no free disk to spill to .*Free some space") as caught:
        list(latest(definition, many(1_000_000), time_range(definition, None, 2**40), small))
    assert caught.value.reason == "NoDiskSpace"


def test_a_spill_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    definition = view(("x", "int64"))
    (tmp_path / "file").write_text("no directory can be made below this")
    small = Engine(str(tmp_path / "file" / "spill"), memory=24 * 2**20, threads=1)
    with pytest.raises(ReportError, match=r"no way to spill to .*file/spill.*Not a directory"):
        list(latest(definition, many(1_000_000), time_range(definition, None, 2**40), small))
