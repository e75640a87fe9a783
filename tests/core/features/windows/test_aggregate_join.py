from __future__ import annotations

import math
import random
import struct
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from millrace_core.base.errors import RejectError
from millrace_core.features.definition.definition import Definition
from millrace_core.features.evaluation.engine import Engine
from millrace_core.features.history.entity_frame import EntityFrame
from millrace_core.features.offline.point_in_time import join
from millrace_core.features.windows import aggregate_join
from tests.core.features.histories import TableSource, aggregated, times, view
from tests.examples import examples

MINUTE = 60_000_000
KINDS = {"x": "float64", "i": "int64", "s": "string", "f": "float32"}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return Engine(str(tmp_path_factory.mktemp("spill")), threads=2)


def feature(name: str, kind: str, function: str, column: str | None, span: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "type": kind,
        "aggregate": {"function": function, "window": span, "column": column, **more},
    }


def every_function(spans: list[str]) -> list[dict[str, Any]]:
    asked = [
        ("int64", "count", None),
        ("int64", "count", "s"),
        ("int64", "count_distinct", "x"),
        ("int64", "count_distinct", "s"),
        ("float64", "sum", "x"),
        ("float32", "sum", "x"),
        ("int64", "sum", "i"),
        ("float64", "sum", "i"),
        ("float64", "mean", "x"),
        ("float64", "var", "x"),
        ("float64", "stddev", "f"),
        ("float64", "min", "x"),
        ("float64", "max", "x"),
        ("float32", "max", "f"),
        ("int64", "max", "i"),
        ("timestamp", "min", "at"),
        ("string", "first", "s"),
        ("float64", "last", "x"),
    ]
    features = [
        feature(f"a{index}_{span}", kind, function, column, span)
        for index, (kind, function, column) in enumerate(asked)
        for span in spans
    ]
    for span in spans:
        features += [
            feature(f"q{round(q * 100)}_{span}", "float64", "approx_percentile", "x", span, quantile=q)
            for q in (0.0, 0.07, 0.5, 1.0)
        ]
    return features


def history(rng: random.Random, rows: int, keys: int, moments: list[int]) -> list[dict[str, Any]]:
    odd = [0.0, -0.0, math.nan, math.inf, -math.inf, 1e308, 5e-324, 0.1] if rng.random() < 0.3 else [0.1, 0.0, -0.0]
    return [
        {
            "id": rng.choice([None, *range(keys)]),
            "at": rng.choice([None, *(rng.choice(moments) + rng.choice([-1, 0, 1]) for _ in range(8))]),
            "written": rng.choice([None, rng.choice(moments) + rng.choice([-1, 0, 1])]),
            "x": rng.choice([None, rng.choice(odd), rng.gauss(100, 1), round(rng.expovariate(0.02), 2)]),
            "i": rng.choice([None, rng.randrange(-5, 5), rng.randrange(-(2**56), 2**56)]),
            "s": rng.choice([None, "", "a", f"{index}"]),
            "f": rng.choice([None, rng.randrange(8) / 4]),
        }
        for index in range(rows)
    ]


def table(rows: list[dict[str, Any]]) -> pa.Table:
    kinds = {"x": pa.float64(), "i": pa.int64(), "s": pa.string(), "f": pa.float32(), "id": pa.int64()}
    columns: dict[str, Any] = {
        name: pa.array([row.get(name) for row in rows], kind, from_pandas=False) for name, kind in kinds.items()
    }
    return pa.table({**columns, **{name: times([row.get(name) for row in rows]) for name in ("at", "written")}})


def brute(
    definition: Definition, rows: list[dict[str, Any]], key: int | None, at: int | None, *, cutoff: bool
) -> list[Any]:
    """Every rule of aggregates for one (entity, moment)."""
    found: list[Any] = []
    ranked = sorted(
        (row for row in rows if row["id"] == key and row["at"] is not None),
        key=lambda row: (row["at"], row["written"] is not None, row["written"] or 0),
    )
    for each in definition.features:
        aggregate = each.aggregate
        assert aggregate
        if key is None or at is None:
            found.append(None)
            continue
        grid = at // aggregate.every * aggregate.every
        events = [row for row in ranked if grid - aggregate.window < row["at"] <= grid]
        if cutoff:
            events = [row for row in events if row["written"] is not None and row["written"] <= at]
        values = [True if aggregate.column is None else row[aggregate.column] for row in events]
        found.append(aggregated(values, aggregate.function, each.type, aggregate.quantile))
    return found


def trained(
    definition: Definition, source: pa.Table, asked: list[tuple[Any, Any]], engine: Engine, **options: Any
) -> list[list[Any]]:
    frame = EntityFrame(
        {"id": pa.array([key for key, _ in asked], pa.int64())},
        pa.array([at for _, at in asked], pa.int64()),
        options.pop("cutoff", False),
    )
    columns = join(definition, definition.features, TableSource(source, options.pop("batch", 70)), frame, engine=engine)
    assert all(len(column) == len(asked) for column in columns)
    return [list(row) for row in zip(*(plain(column) for column in columns), strict=True)]


def plain(column: pa.Array) -> list[Any]:
    return list((column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).to_pylist())


def bits(rows: list[list[Any]]) -> list[list[Any]]:
    """Floats as their bits, but all NaN as one."""

    def of(value: Any) -> Any:
        if not isinstance(value, float):
            return value
        return "NaN" if math.isnan(value) else struct.pack(">d", value)

    return [[of(value) for value in row] for row in rows]


@settings(max_examples=examples(0.4))
@given(
    seed=st.integers(0, 2**32),
    every=st.sampled_from(["1m", "5m"]),
    cutoff=st.booleans(),
    batch=st.sampled_from([1, 33, 10_000]),
)
@example(seed=5, every="1m", cutoff=False, batch=33)  # NaN beside the numbers of a window
def test_aggregates_agree_with_their_definition_bit_by_bit(
    engine: Engine, seed: int, every: str, cutoff: bool, batch: int
) -> None:
    rng = random.Random(seed)
    grid = 5 * MINUTE if every == "5m" else MINUTE
    moments = [grid * n for n in (-25, -2, -1, 0, 1, 7, 24)]
    rows = history(rng, rng.choice([0, 30, 250]), 5, moments)
    definition = view(*every_function(["10m", "2h"]), created="written", every=every)
    asked = [
        (
            rng.choice([None, *range(6)]),
            rng.choice([None, *(rng.choice(moments) + rng.choice([-1, 0, 1, 30]) for _ in range(9))]),
        )
        for _ in range(60)
    ]
    expected = [brute(definition, rows, key, at, cutoff=cutoff) for key, at in asked]
    got = trained(definition, table(rows), asked, engine, cutoff=cutoff, batch=batch)
    names = [each.name for each in definition.features]
    for (key, at), have, want in zip(asked, bits(got), bits(expected), strict=True):
        assert dict(zip(names, have, strict=True)) == dict(zip(names, want, strict=True)), (key, at)


def test_no_order_of_the_source_shows_in_what_is_computed_exactly(engine: Engine) -> None:
    rng = random.Random(7)
    rows = [{"id": 1, "at": rng.randrange(100), "x": rng.gauss(0, 1) * 10 ** rng.randrange(-9, 9)} for _ in range(500)]
    definition = view(
        *(feature(name, "float64", name, "x", "1m") for name in ("sum", "mean", "var", "stddev")), every="1m"
    )
    seen = set()
    for batch in (1, 7, 500):
        rng.shuffle(rows)
        seen.add(tuple(trained(definition, table(rows), [(1, MINUTE)], engine, batch=batch)[0]))
    assert len(seen) == 1


def test_a_window_is_open_on_the_left_and_closed_on_the_right(engine: Engine) -> None:
    definition = view(feature("n", "int64", "count", None, "10m"), every="5m")
    rows = [{"id": 1, "at": -5 * MINUTE}]
    ends = {-5 * MINUTE - 1: 0, -5 * MINUTE: 1, -1: 1, 0: 1, 5 * MINUTE - 1: 1, 5 * MINUTE: 0}
    assert trained(definition, table(rows), [(1, at) for at in ends], engine) == [[count] for count in ends.values()]


def test_equal_event_times_do_not_replace_each_other_in_a_window(engine: Engine) -> None:
    definition = view(feature("n", "int64", "sum", "i", "10m"), feature("l", "int64", "last", "i", "10m"), every="5m")
    rows = [{"id": 1, "at": 0, "i": 1}, {"id": 1, "at": 0, "i": 2}, {"id": 1, "at": 0, "i": None}]
    assert trained(definition, table(rows), [(1, 0)], engine) == [[3, 2]]


@pytest.mark.parametrize(("values", "total"), [([2**62, 2**62 - 1], 2**63 - 1), ([2**62, 2**62], None)])
def test_a_sum_of_whole_numbers_is_right_or_refused(engine: Engine, values: list[int], total: int | None) -> None:
    definition = view(feature("n", "int64", "sum", "i", "1h"), every="5m")
    rows = [{"id": 1, "at": at, "i": value} for at, value in enumerate([-(2**63), 2**62, 2**62, *values])]
    if total is not None:
        assert trained(definition, table(rows), [(1, 5 * MINUTE)], engine) == [[total]]
        return
    with pytest.raises(
        RejectError, match=r"spec.features\[n\]: a sum of column 'i' is beyond 64 bits. Declare"
    ) as caught:
        trained(definition, table(rows), [(1, 5 * MINUTE)], engine)
    assert caught.value.reason == "ValueOutOfRange"


@pytest.mark.parametrize(
    ("values", "count"),
    [
        (pa.array(["a", None, "a", "b"]).dictionary_encode(), 2),
        (pa.array([b"", b"\xff", b"", None]), 2),
        (pa.array([0.0, -0.0, math.nan, math.nan], pa.float32()), 2),
        (pa.array([1, 2, 2, None], pa.decimal128(5, 2)), 2),
        (pa.array([1, 1, 1001, None], pa.timestamp("ns", "Asia/Tokyo")), 2),
        (pa.array([True, None, False, True]), 2),
        (pa.array([1, 2, 2, 3], pa.date32()), 3),
        (pa.array([None] * 4, pa.null()), 0),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_different_values_of_every_type_are_told_apart(engine: Engine, values: pa.Array, count: int) -> None:
    definition = view(feature("d", "int64", "count_distinct", "v", "1h"), feature("c", "int64", "count", "v", "1h"))
    source = pa.table({"id": [1] * 4, "at": times([0] * 4), "v": values})
    assert trained(definition, source, [(1, 0)], engine) == [[count, 4 - values.null_count]]


def test_lists_can_be_counted_and_taken_but_not_told_apart(engine: Engine) -> None:
    source = pa.table({"id": [1, 1], "at": times([0, 0]), "v": [[1], None]})
    counted = view(feature("c", "int64", "count", "v", "1h"))
    assert trained(counted, source, [(1, 0)], engine) == [[1]]
    definition = view(feature("d", "int64", "count_distinct", "v", "1h"))
    with pytest.raises(RejectError, match=r"column 'v' has the type list<.*>, whose values cannot be told apart"):
        trained(definition, source, [(1, 0)], engine)


def test_one_entity_with_more_events_than_a_chunk_is_no_special_case(engine: Engine) -> None:
    count = 1_200_000
    source = pa.table({"id": pa.array([1] * count), "at": times(range(count)), "i": pa.array(range(count))})
    definition = view(feature("n", "int64", "sum", "i", "1m"), every="1m")
    frame = EntityFrame({"id": pa.array([1, 2])}, pa.array([MINUTE, MINUTE]))
    (got,) = join(definition, definition.features, TableSource(source, 100_000), frame, engine=engine)
    assert got.to_pylist() == [count * (count - 1) // 2, 0]


def test_a_long_frame_is_answered_in_parts_without_a_difference(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(3)
    moments = [MINUTE * n for n in range(-20, 20)]
    rows = history(rng, 200, 5, moments)
    definition = view(*every_function(["10m"]), created="written", every="1m")
    asked = [(rng.randrange(6), rng.choice(moments)) for _ in range(90)]
    at_once = bits(trained(definition, table(rows), asked, engine))
    monkeypatch.setattr(aggregate_join, "_MOMENTS", 7)
    assert bits(trained(definition, table(rows), asked, engine)) == at_once


def test_a_frame_that_asks_for_no_entity_gets_nulls_and_an_empty_one_nothing(engine: Engine) -> None:
    definition = view(feature("n", "int64", "count", None, "1h"))
    source = TableSource(pa.table({"id": [1], "at": times([0])}))
    for keys in ([None, None], []):
        frame = EntityFrame({"id": pa.array(keys, pa.int64())}, pa.array([MINUTE] * len(keys), pa.int64()))
        (column,) = join(definition, definition.features, source, frame, engine=engine)
        assert column.to_pylist() == keys
