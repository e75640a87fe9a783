from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace_core.api.featureview import FeatureViewSpec
from millrace_core.features.definition import definition
from millrace_core.features.definition.definition import Definition
from millrace_core.features.evaluation.engine import Engine
from millrace_core.features.history.entity_frame import EntityFrame
from millrace_core.features.offline.latest import latest, time_range
from millrace_core.features.offline.point_in_time import join
from millrace_core.features.online import row_encoder
from millrace_core.features.online.feature_columns import NOT_FOUND, OUTSIDE_MAX_AGE, PRESENT, FeatureColumn
from millrace_core.features.online.on_demand import FeatureReader
from millrace_core.features.online.row import Layout
from millrace_core.features.online.row_reader import NO_ENTITY, RowReader
from tests.core.features.histories import TableSource, view
from tests.core.features.windows.test_aggregate_join import bits, every_function, feature, history, table, trained
from tests.examples import examples

MINUTE = 60_000_000


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return Engine(str(tmp_path_factory.mktemp("spill")), threads=2)


def materialized(definition: Definition, source: pa.Table, upto: int, engine: Engine) -> dict[Any, tuple[bytes, int]]:
    """Stored row and expiry by key."""
    stored = {}
    for rows in latest(definition, TableSource(source), time_range(definition, None, upto), engine):
        encoded = row_encoder.encode(Layout.of(definition), rows.event_times, rows.created_times, rows.features)
        assert rows.expires is not None
        for key, row, until in zip(*(each.to_pylist() for each in (rows.keys[0], encoded, rows.expires)), strict=True):
            assert key not in stored
            stored[key] = (row, until)
    return stored


def read(definition: Definition, rows: Sequence[bytes | None], as_of: int) -> list[FeatureColumn]:
    columns = RowReader(definition, [each.name for each in definition.features]).read(rows, as_of).features
    return [FeatureColumn(list(column.values), list(column.statuses)) for column in columns]


def mixed(ttl: str | None, *, created: bool = True) -> Definition:
    return view(
        ("x", "float64"),
        *every_function(["10m", "2h"]),
        ("s", "string"),
        {"name": "of_windows", "type": "float64", "expression": "coalesce(a8_10m, -1) * 2 + a0_2h"},
        {"name": "of_rows", "type": "float64", "expression": "coalesce(x, 7) / nullif(of_windows, 0)"},
        created="written" if created else None,
        every="5m",
        ttl=ttl,
    )


@pytest.mark.slow
@settings(max_examples=examples(0.4))
@given(
    seed=st.integers(0, 2**32),
    ttl=st.sampled_from([None, "1ms", "10m", "1d"]),
    upto=st.sampled_from([-1, 0, 1, 7 * 5 * MINUTE - 1, 7 * 5 * MINUTE, 8 * 5 * MINUTE + 3, 60 * 5 * MINUTE]),
)
def test_a_snapshot_reads_as_the_training_set_of_its_moment_bit_by_bit(
    engine: Engine, seed: int, ttl: str | None, upto: int
) -> None:
    rng = random.Random(seed)
    rows = history(rng, rng.choice([0, 20, 200]), 8, [5 * MINUTE * n for n in (-2, -1, 0, 1, 7, 24)])
    definition = mixed(ttl)
    stored = materialized(definition, table(rows), upto, engine)
    keys = [*range(10), None]
    online = read(definition, [NO_ENTITY if key is None else stored.get(key, (None,))[0] for key in keys], upto)
    offline = trained(definition, table(rows), [(key, upto) for key in keys], engine, batch=rng.choice([1, 9, 1000]))
    got = [list(row) for row in zip(*(column.values for column in online), strict=True)]
    assert bits(got) == bits(offline)


def one(at: int, x: float | None = 1.5, key: int = 1) -> dict[str, Any]:
    return {"id": key, "at": at, "x": x}


SUM = feature("sum", "float64", "sum", "x", "10m")
EXPRESSIONS = (
    {"name": "more", "type": "float64", "expression": "sum + 1"},
    {"name": "both", "type": "float64", "expression": "coalesce(x, 0) + sum"},
)
MEAN = feature("mean", "float64", "mean", "x", "5m")


def test_an_absent_row_reads_as_an_empty_window_and_no_entity_as_nothing() -> None:
    definition = view(SUM, MEAN, ("x", "float64"), feature("n", "int64", "count", None, "1h"), every="5m")
    got = read(definition, [None, NO_ENTITY], 0)
    assert got == [([value, None], [NOT_FOUND, NOT_FOUND]) for value in (0.0, None, None, 0)]
    assert isinstance(got[0].values[0], float)


def test_expressions_over_aggregates_alone_have_a_value_where_there_is_no_row(engine: Engine) -> None:
    definition = view(SUM, ("x", "float64"), *EXPRESSIONS, every="5m", ttl="1m")
    assert read(definition, [None, NO_ENTITY], 0)[2:] == [
        ([1.0, None], [NOT_FOUND, NOT_FOUND]),
        ([None, None], [NOT_FOUND, NOT_FOUND]),
    ]
    got = trained(definition, table([one(MINUTE)]), [(1, 5 * MINUTE), (9, 5 * MINUTE), (None, 5 * MINUTE)], engine)
    assert got == [[1.5, None, 2.5, None], [0.0, None, 1.0, None], [None] * 4]
    ((row, _),) = materialized(definition, table([one(MINUTE)]), 5 * MINUTE, engine).values()
    assert [column.values for column in read(definition, [row], 15 * MINUTE)] == [[0.0], [None], [1.0], [None]]


def test_features_of_rows_go_by_the_time_of_the_row_and_aggregates_do_not(engine: Engine) -> None:
    definition = view(SUM, ("x", "float64"), every="5m", ttl="1m")
    ((row, _),) = materialized(definition, table([one(MINUTE)]), 10 * MINUTE, engine).values()
    assert read(definition, [row], 10 * MINUTE) == [([1.5], [PRESENT]), ([None], [OUTSIDE_MAX_AGE])]
    ((row, _),) = materialized(definition, table([one(9 * MINUTE)]), 10 * MINUTE, engine).values()
    reader = RowReader(definition, ["sum", "x"])
    columns = reader.read([row, None], 10 * MINUTE)
    assert [tuple(map(list, column)) for column in columns.features] == [
        ([1.5, 0.0], [PRESENT, NOT_FOUND]),
        ([1.5, None], [PRESENT, NOT_FOUND]),
    ]
    assert (columns.event_times, columns.row_times) == ([10 * MINUTE, None], [9 * MINUTE, None])
    assert read(definition, [row], 10 * MINUTE + 1)[1] == ([None], [OUTSIDE_MAX_AGE])


@pytest.mark.parametrize("at", [MINUTE, 5 * MINUTE])
def test_a_snapshot_runs_empty_when_its_last_window_does_and_expires_then(engine: Engine, at: int) -> None:
    definition = view(SUM, MEAN, every="5m")
    ((row, until),) = materialized(definition, table([one(at)]), 5 * MINUTE, engine).values()
    assert read(definition, [row], 15 * MINUTE - 1) == [([1.5], [PRESENT]), ([1.5], [PRESENT])]
    assert until == 15 * MINUTE - 1
    assert read(definition, [row], until + 1) == [([0.0], [PRESENT]), ([None], ["NULL_VALUE"])]


@pytest.mark.parametrize(("ttl", "until"), [("1d", 1441 * MINUTE), ("1m", 15 * MINUTE - 1), (None, 2**61)])
def test_a_snapshot_lasts_as_long_as_its_row_is_visible(engine: Engine, ttl: str | None, until: int) -> None:
    definition = view(SUM, ("x", "float64"), every="5m", ttl=ttl)
    stored = materialized(definition, table([one(MINUTE)]), 5 * MINUTE, engine)
    assert [expiry for _, expiry in stored.values()] == [until]


def test_there_is_no_snapshot_of_an_entity_of_which_nothing_is_to_be_said(engine: Engine) -> None:
    rows = [one(0), one(5 * MINUTE, key=2), one(5 * MINUTE + 1, key=3), one(10 * MINUTE, key=4)]
    assert set(materialized(view(SUM, every="5m"), table(rows), 10 * MINUTE, engine)) == {2, 3, 4}
    assert set(materialized(view(MEAN, every="5m"), table(rows), 10 * MINUTE, engine)) == {3, 4}
    with_rows = view(MEAN, ("x", "float64"), every="5m", ttl="5m")
    assert set(materialized(with_rows, table(rows), 10 * MINUTE, engine)) == {2, 3, 4}


def test_a_snapshot_of_the_future_is_not_visible(engine: Engine) -> None:
    definition = view(SUM, every="5m")
    ((row, _),) = materialized(definition, table([one(MINUTE)]), 5 * MINUTE, engine).values()
    assert read(definition, [row], 5 * MINUTE - 1) == [([None], [OUTSIDE_MAX_AGE])]


def test_rows_from_before_and_after_a_view_had_aggregates_are_read_by_their_own_form(engine: Engine) -> None:
    plain_view, windowed = view(("x", "float64"), ttl="1m"), view(("x", "float64"), SUM, every="5m", ttl="1m")
    ((snapshot, _),) = materialized(windowed, table([one(9 * MINUTE)]), 10 * MINUTE, engine).values()
    row = Layout.of(plain_view).encode(9 * MINUTE, None, [1.5])
    layouts = {layout.schema_id: layout for layout in map(Layout.of, (plain_view, windowed))}
    for at, column in ((10 * MINUTE, ([1.5], [PRESENT])), (10 * MINUTE + 1, ([None], [OUTSIDE_MAX_AGE]))):
        assert RowReader(plain_view, ["x"]).read([snapshot], at, layouts).features == [column]
        assert RowReader(windowed, ["x", "sum"]).read([row], at, layouts).features == [column, ([None], [NOT_FOUND])]


def test_on_demand_features_of_no_entity_see_no_window_in_training_either(engine: Engine) -> None:
    document = {
        "entities": [{"name": "id", "type": "int64"}],
        "source": {"parquet": {"uri": "file:///nowhere"}, "timestampField": "at"},
        "features": [
            SUM,
            {"name": "w", "type": "float64", "expression": "coalesce(sum, 0) + 1"},
            {"name": "d", "type": "float64", "expression": "coalesce(w, 100) + request.r"},
        ],
        "requestFields": [{"name": "r", "type": "float64"}],
        "aggregation": {"every": "5m"},
        "online": {"enabled": False},
    }
    compiled = definition.compile("v", "default", FeatureViewSpec.model_validate(document))
    online = FeatureReader(compiled, ["w", "d"]).read([None, NO_ENTITY], 0, {"r": [0.5, 0.5]}).features
    frame = EntityFrame(
        {"id": pa.array([1, None], pa.int64())}, pa.array([0, 0], pa.int64()), request={"r": pa.array([0.5, 0.5])}
    )
    wanted = [compiled.feature[name] for name in ("w", "d")]
    offline = join(compiled, wanted, TableSource(table([one(MINUTE)])), frame, engine=engine)
    assert [list(column.values) for column in online] == [column.to_pylist() for column in offline]
    assert offline[1].to_pylist() == [1.5, 100.5]
