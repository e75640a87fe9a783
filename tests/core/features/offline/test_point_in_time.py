from __future__ import annotations

import random
from bisect import bisect_left
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from millrace_core.base.errors import RejectError, RetryError
from millrace_core.features.definition.definition import Definition
from millrace_core.features.history.entity_frame import EntityFrame
from millrace_core.features.offline.point_in_time import join
from tests.core.features.histories import TableSource, times, view, visible
from tests.examples import examples

DAY = 86_400_000_000
# Close together, and as far apart as they can be.
MOMENTS = st.integers(-3, 3) | st.integers(0, DAY) | st.integers(-(2**63), 2**63 - 1)


def history(rng: random.Random, rows: int, keys: int, moments: list[int]) -> list[dict[str, Any]]:
    """Rows at, just before and just after a few moments, so that every boundary and tie is met."""
    return [
        {
            "key": (rng.choice([None, *range(keys)]),),
            "at": rng.choice([None, rng.choice(moments) + rng.choice([-1, 0, 1])]),
            "created": rng.choice([None, rng.choice(moments) + rng.choice([-1, 0, 1, DAY])]),
            "x": rng.choice([None, float(index)]),
            "s": f"row {index}",
        }
        for index in range(rows)
    ]


def table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.table(
        {
            "id": pa.array([row["key"][0] for row in rows], pa.int32()),
            "at": times([row["at"] for row in rows]),
            "written": times([row["created"] for row in rows]),
            "x": pa.array([row["x"] for row in rows], pa.float64()),
            "s": pa.array([row["s"] for row in rows], pa.string()),
        }
    )


def joined(
    definition: Definition, rows: list[dict[str, Any]], asked: list[tuple[Any, Any]], **options: Any
) -> list[tuple[Any, ...]]:
    frame = EntityFrame(
        {"id": pa.array([key for key, _ in asked], pa.int64())},
        pa.array([at for _, at in asked], pa.int64()),
        options.pop("created_cutoff", False),
    )
    columns = join(definition, definition.features, TableSource(table(rows)), frame, **options)
    return list(zip(*(column.to_pylist() for column in columns), strict=True))


@settings(max_examples=examples(0.75))
@given(
    seed=st.integers(0, 2**32),
    ttl=st.sampled_from([None, 1, 3, 1000, DAY]),
    created=st.booleans(),
    cutoff=st.booleans(),
    asked_rows=st.sampled_from([5, 1000]),
)
def test_the_join_agrees_with_the_rules_row_by_row(
    seed: int, ttl: int | None, created: bool, cutoff: bool, asked_rows: int
) -> None:
    rng = random.Random(seed)
    moments = [rng.randrange(-5 * DAY, 5 * DAY) for _ in range(3)] + [0, 1000, 2000]
    rows = history(rng, 300, 8, moments)
    definition = view(("x", "float64"), ("s", "string"), created="written" if created or cutoff else None)
    object.__setattr__(definition, "ttl", ttl)
    asked = [
        (rng.choice([None, *range(10)]), rng.choice([None, rng.choice(moments) + rng.choice([-1, 0, 1, ttl or 0])]))
        for _ in range(asked_rows)
    ]
    known = rows if definition.created_field else [{**row, "created": None} for row in rows]
    expected = []
    by_key = {key: [row for row in known if row["key"] == (key,)] for key in range(10)}
    for key, at in asked:
        row = visible(by_key.get(key, []), (key,), at, ttl, cutoff=cutoff)
        expected.append((row["x"], row["s"]) if row else (None, None))
    got = joined(definition, rows, asked, created_cutoff=cutoff)
    assert got == expected


@settings(max_examples=examples(0.5))
@given(seed=st.integers(0, 2**32), ttl=st.sampled_from([None, 5, 100, DAY]))
def test_the_join_agrees_with_polars_where_there_are_no_ties(seed: int, ttl: int | None) -> None:
    rng = random.Random(seed)
    rows = [
        {"key": (key,), "at": at, "created": None, "x": rng.random(), "s": f"{key} {at}"}
        for key in range(50)
        for at in rng.sample(range(-500, 500), 40)
    ]
    rng.shuffle(rows)
    asked = [(rng.randrange(55), rng.randrange(-520, 520)) for _ in range(3000)]
    definition = view(("x", "float64"), ("s", "string"))
    object.__setattr__(definition, "ttl", ttl)
    left = pl.DataFrame({"id": [a for a, _ in asked], "t": [b for _, b in asked]}).with_row_index("n").sort("t")
    right = pl.DataFrame({k: [row[k] for row in rows] for k in ("at", "x", "s")} | {"id": [r["key"][0] for r in rows]})
    oracle = left.join_asof(
        right.sort("at"), left_on="t", right_on="at", by="id", tolerance=ttl, check_sortedness=False
    ).sort("n")
    assert joined(definition, rows, asked) == oracle.select("x", "s").rows()


@given(
    asked=st.lists(st.tuples(st.integers(0, 3), MOMENTS), min_size=1, max_size=40),
    looked_up=st.lists(st.tuples(st.integers(0, 3), MOMENTS), max_size=40),
)
@example(asked=[(0, -(2**63)), (0, 2**63 - 1)], looked_up=[(0, -(2**63)), (0, 0), (0, 2**63 - 1)])
def test_the_first_moment_at_or_after_another_is_found_wherever_moments_lie(
    asked: list[tuple[int, int]], looked_up: list[tuple[int, int]]
) -> None:
    keys = pa.array([key for key, _ in asked], pa.int64())
    moments = pa.array([at for _, at in asked], pa.int64())
    frame = EntityFrame({"id": keys}, moments).sorted(view(("x", "int64")).join_keys)
    ordered = list(zip(frame.entities.tolist(), frame.moments.tolist(), strict=True))
    assert ordered == sorted(ordered)
    known = [(code, at) for key, at in looked_up if (code := int(frame.codes([pa.array([key])])[0])) >= 0]
    places = frame.place(*np.array(known, np.int64).reshape(-1, 2).T)
    assert places.tolist() == [bisect_left(ordered, each) for each in known]


def test_a_row_is_visible_from_its_event_time_until_exactly_its_ttl() -> None:
    rows = [{"key": (1,), "at": 1000, "created": None, "x": 1.0, "s": "a"}]
    definition = view(("x", "float64"), ttl="1ms")
    asked = [(1, 999), (1, 1000), (1, 2000), (1, 2001)]
    assert joined(definition, rows, asked) == [(None,), (1.0,), (1.0,), (None,)]


def test_the_latest_row_wins_even_where_its_value_is_null() -> None:
    rows = [
        {"key": (1,), "at": 1, "created": None, "x": 1.0, "s": "a"},
        {"key": (1,), "at": 2, "created": None, "x": None, "s": "b"},
    ]
    assert joined(view(("x", "float64"), ("s", "string")), rows, [(1, 3)]) == [(None, "b")]


def test_an_empty_history_and_an_empty_frame_are_no_special_case() -> None:
    definition = view(("x", "float64"))
    assert joined(definition, [], [(1, 1), (2, 2)]) == [(None,), (None,)]
    rows = [{"key": (1,), "at": 1, "created": None, "x": 1.0, "s": "a"}]
    assert joined(definition, rows, []) == []
    assert joined(definition, rows, [(None, 5), (1, None)]) == [(None,), (None,)]


def test_several_keys_of_all_types_match_as_a_whole() -> None:
    keys = [("b", "bool"), ("i", "int32"), ("s", "string"), ("y", "bytes"), ("t", "timestamp")]
    definition = view(("x", "int64"), keys=keys)
    data = {
        "b": pa.array([True, True, False]),
        "i": pa.array([1, 1, 1], pa.int8()),
        "s": pa.array(["a|b", "a", ""]).dictionary_encode(),
        "y": pa.array([b"\xff\x00", b"", b"|"]),
        "t": pa.array([-1, 5, 5], pa.timestamp("s")),
    }
    source = TableSource(pa.table({**data, "at": times([1, 1, 1]), "x": pa.array([1, 2, 3], pa.int16())}))
    order = pa.array([2, 0, 1, 0])
    frame = {
        **{name: column.take(order) for name, column in data.items()},
        "i": pa.array([1, 1, 1, 2], pa.uint64()),
        "t": pa.array([5000, -1000, 5000, -1000], pa.timestamp("ms", "Asia/Tokyo")),
    }
    (got,) = join(definition, definition.features, source, EntityFrame(frame, pa.array([9, 9, 9, 9])))
    assert got.to_pylist() == [3, 1, 2, None]


def test_every_value_comes_through_unchanged() -> None:
    columns = {
        "f": pa.array([float("nan"), float("-inf"), -0.0, None], pa.float32()),
        "d": pa.array([5e-324, float("inf"), None, 1.7976931348623157e308]),
        "s": pa.array(["", "é\x00", "x" * 1_000_000, None]),
        "y": pa.array([b"", b"\xff\x00", None, b"|"]),
        "t": pa.array([-1, None, 0, 2**53 + 1], pa.timestamp("us")),
        "o": pa.array([True, False, None, True]),
        "i": pa.array([-(2**63), None, 2**63 - 1, 0]),
    }
    kinds = {"f": "float32", "d": "float64", "s": "string", "y": "bytes", "t": "timestamp", "o": "bool", "i": "int64"}
    definition = view(*kinds.items())
    source = TableSource(pa.table({"id": pa.array([0, 1, 2, 3]), "at": times([1] * 4), **columns}))
    asked = EntityFrame({"id": pa.array([0, 1, 2, 3])}, pa.array([1] * 4))
    got = dict(zip(kinds, join(definition, definition.features, source, asked), strict=True))
    assert got["t"].type == pa.timestamp("us", "UTC")
    for name, column in columns.items():
        assert got[name].cast(column.type).equals(column) or name == "f", name
    assert got["f"].view(pa.int32()).equals(columns["f"].view(pa.int32()))


def test_a_feature_may_read_a_key_or_time_column_and_names_may_differ_in_case_alone() -> None:
    definition = view(("seen", "timestamp", "at"), ("uid", "int64", "id"), ("X", "int64"), ("x", "int64"))
    source = TableSource(pa.table({"id": [4], "at": times([7]), "X": [1], "x": [2]}))
    got = join(definition, definition.features, source, EntityFrame({"id": pa.array([4])}, pa.array([9])))
    assert [column.cast(pa.int64()).to_pylist() for column in got] == [[7], [4], [1], [2]]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_event_times_of_every_unit_and_zone_are_the_same_moments(unit: str) -> None:
    definition = view(("x", "int64"))
    source = TableSource(pa.table({"id": [1], "at": pa.array([-1], pa.timestamp(unit, "America/Lima")), "x": [1]}))
    size = {"s": 1_000_000, "ms": 1000, "us": 1, "ns": 1}[unit]  # one nanosecond before 1970 is in the microsecond -1
    asked = EntityFrame({"id": pa.array([1, 1])}, pa.array([-size - 1, -size]))
    (got,) = join(definition, definition.features, source, asked)
    assert got.to_pylist() == [None, 1]


def test_dates_are_their_midnight_in_utc() -> None:
    definition = view(("x", "int64"))
    source = TableSource(pa.table({"id": [1], "at": pa.array([1], pa.date32()), "x": [1]}))
    asked = EntityFrame({"id": pa.array([1, 1])}, pa.array([DAY - 1, DAY]))
    assert join(definition, definition.features, source, asked)[0].to_pylist() == [None, 1]


def test_a_value_out_of_range_names_its_column() -> None:
    definition = view(("x", "int32", "wide"))
    source = TableSource(pa.table({"id": [1], "at": times([1]), "wide": [2**40]}))
    with pytest.raises(RejectError, match=r"column 'wide' \(int64\) holds a value that is no int32"):
        join(definition, definition.features, source, EntityFrame({"id": pa.array([1])}, pa.array([1])))


def test_an_error_of_the_source_comes_through_as_it_is() -> None:
    class Broken(TableSource):
        def scan(self, *args: Any) -> Any:
            yield from super().scan(*args)
            raise RetryError("the network is gone")

    definition = view(("x", "int64"))
    source = Broken(pa.table({"id": [1], "at": times([1]), "x": [1]}))
    with pytest.raises(RetryError, match="the network is gone"):
        join(definition, definition.features, source, EntityFrame({"id": pa.array([1])}, pa.array([1])))


def test_a_source_that_shrinks_between_the_two_reads_is_noticed() -> None:
    class Shrinking(TableSource):
        def scan(self, *args: Any) -> Any:
            yield from super().scan(*args)
            self.table = self.table.slice(0, 1)

    definition = view(("x", "int64"))
    source = Shrinking(pa.table({"id": [1, 2], "at": times([1, 1]), "x": [1, 2]}))
    with pytest.raises(RetryError, match="changed while it was read"):
        join(definition, definition.features, source, EntityFrame({"id": pa.array([2])}, pa.array([1])))


@pytest.mark.parametrize("lowest", [-(2**63), -1, 2**63 - 4])
@pytest.mark.parametrize("between", [1, 2])
def test_integer_keys_match_at_both_ends_of_their_range(lowest: int, between: int) -> None:
    others = [-(2**63), -(2**63) + 1, -2, 0, 2**63 - 1]
    known = [lowest, lowest + between, lowest + 3]
    rows = [
        {"key": (key,), "at": 1, "created": None, "x": float(index), "s": ""}
        for index, key in enumerate(sorted({*others, *known}))
    ]
    data = pa.table(
        {
            "id": pa.array([row["key"][0] for row in rows], pa.int64()),
            "at": times([1] * len(rows)),
            "x": pa.array([row["x"] for row in rows], pa.float64()),
        }
    )
    definition = view(("x", "float64"), keys=[("id", "int64")])
    frame = EntityFrame({"id": pa.array(known, pa.int64())}, pa.array([1, 0, 1], pa.int64()))
    expected = {row["key"][0]: row["x"] for row in rows}
    found = join(definition, definition.features, TableSource(data), frame)
    assert found[0].to_pylist() == [expected[known[0]], None, expected[known[2]]]


def test_a_million_cells_agree_with_polars_ties_and_all() -> None:
    rng = np.random.default_rng(11)
    rows, asked, ttl = 200_000, 350_000, 40
    source = pl.DataFrame(
        {
            "id": rng.integers(0, 3000, rows),
            "at": rng.integers(-500, 500, rows),
            "written": rng.integers(-500, 500, rows),
            "x": rng.random(rows),
            "s": [f"row {index}" for index in range(rows)],
        }
    ).with_columns(pl.when(pl.col("x") > 0.1).then("x").alias("x"))
    frame = pl.DataFrame({"id": rng.integers(0, 3100, asked), "t": rng.integers(-520, 520, asked)}).with_row_index("n")
    ranked = source.with_row_index("seq").sort("at", "written", "seq")
    for bound in (None, ttl):
        definition = view(("x", "float64"), ("s", "string"), ("written", "timestamp"), created="written")
        object.__setattr__(definition, "ttl", bound)
        oracle = (
            frame.sort("t")
            .join_asof(ranked, left_on="t", right_on="at", by="id", tolerance=bound, check_sortedness=False)
            .sort("n")
        )
        stamped = source.to_arrow()
        for name in ("at", "written"):
            column = stamped[name].cast(pa.timestamp("us", "UTC"))
            stamped = stamped.set_column(stamped.column_names.index(name), name, column)
        entities = frame["id"].to_arrow(), frame["t"].to_arrow()
        got = join(
            definition, definition.features, TableSource(stamped, 50_000), EntityFrame({"id": entities[0]}, entities[1])
        )
        for name, column in zip(("x", "s", "written"), got, strict=True):
            values = column.cast(pa.int64()) if name == "written" else column
            assert pl.Series(values).equals(oracle[name], null_equal=True), name
