"""Columns of other types than declared: what loses nothing is converted, file by file; the rest is refused."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from deltalake import write_deltalake
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.types import DecimalType, DoubleType, LongType

from millrace_core.api.featureview import FeatureViewSpec
from millrace_core.base.errors import RejectError
from millrace_core.features.definition import definition
from millrace_core.features.definition.definition import Definition
from millrace_core.features.history.history import History, TimeRange
from millrace_data.sources.credentials import Credentials
from millrace_data.sources.opening import open_source

EVERYTHING = TimeRange(None, 2**62)
BERLIN = timezone(timedelta(hours=1))
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
MOMENTS = pa.timestamp("us", "UTC")


def view(source: dict[str, Any], kind: str = "int64", **changes: Any) -> Definition:
    spec = {
        "entities": [{"name": "id", "type": "int64"}],
        "source": {"timestampField": "at", **source},
        "features": [{"name": "x", "type": kind}],
        "online": {"enabled": False},
        **changes,
    }
    return definition.compile("v", "default", FeatureViewSpec.model_validate(spec))


def values(made: Definition, window: TimeRange = EVERYTHING, known: Credentials | None = None) -> list[Any]:
    """The features of all rows, as training and runs read them."""
    history = History(made, open_source(made, known or Credentials()), window)
    numbered = pa.Table.from_batches(list(history.numbered()), history.numbered_schema())
    found: list[Any] = []
    for rows in history.rows([numbered["seq"].to_numpy()], made.features):
        found += rows.features[0].to_pylist()
    return found


def times(made: Definition, window: TimeRange = EVERYTHING, known: Credentials | None = None) -> list[int]:
    history = History(made, open_source(made, known or Credentials()), window)
    return [event for batch in history.event_times() for event in batch.to_pylist()]


def microseconds(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def table(x: pa.Array, **others: Any) -> pa.Table:
    count = len(x)
    return pa.table({"id": list(range(count)), "at": pa.array([NOON] * count, MOMENTS), "x": x, **others})


def folder(path: Path, tables: list[pa.Table], *, partitioned: bool) -> dict[str, Any]:
    for index, each in enumerate(tables):
        place = path / (f"day={index}" if partitioned else "all")
        place.mkdir(exist_ok=True)
        pq.write_table(each, place / f"{index}.parquet")
    return {"parquet": {"uri": f"file://{path}"}}


both = pytest.mark.parametrize("partitioned", [False, True], ids=["folder", "partitioned"])

PAIRS: list[tuple[str, pa.Array, pa.Array, list[Any]]] = [
    (
        "timestamp",
        pa.array([NOON.replace(hour=0, tzinfo=None)]),
        pa.array([NOON], MOMENTS),
        [NOON - timedelta(hours=12), NOON],
    ),
    (
        "timestamp",
        pa.array([NOON], MOMENTS),
        pa.array([datetime(2026, 1, 2, 13, tzinfo=BERLIN)], pa.timestamp("us", "Europe/Berlin")),
        [NOON, NOON],
    ),
    ("timestamp", pa.array([date(2026, 1, 2)]), pa.array([NOON], MOMENTS), [NOON - timedelta(hours=12), NOON]),
    ("string", pa.array(["a", "b", "a"]).dictionary_encode(), pa.array(["b"]), ["a", "b", "a", "b"]),
    ("bool", pa.array([True, False]), pa.nulls(2), [True, False, None, None]),
    ("bool", pa.array([True, False]), pa.nulls(2, pa.float64()), [True, False, None, None]),
    (
        "timestamp",
        pa.array([datetime(9999, 12, 31, tzinfo=UTC)], pa.timestamp("ms", "UTC")),
        pa.array([NOON], pa.timestamp("ns", "UTC")),
        [datetime(9999, 12, 31, tzinfo=UTC), NOON],
    ),
    ("int64", pa.array([2**53 + 1]), pa.array([2.0, None]), [2**53 + 1, 2, None]),
    ("float64", pa.array([3]), pa.array([2.5]), [3.0, 2.5]),
    ("string", pa.array(["a"], pa.large_string()), pa.array([b"b"]), ["a", "b"]),
    ("timestamp", pa.array(["2026-01-02T12:00:00Z"]), pa.array([NOON], MOMENTS), [NOON, NOON]),
    ("int32", pa.array([Decimal("7.0")]), pa.array([8], pa.uint64()), [7, 8]),
    ("array<float32>", pa.array([[1, 2]]), pa.array([[0.5]], pa.list_(pa.float64(), 1)), [[1.0, 2.0], [0.5]]),
]


@both
@pytest.mark.parametrize(("kind", "one", "other", "expected"), PAIRS)
def test_files_agree_with_the_declaration_and_not_with_each_other(
    kind: str, one: pa.Array, other: pa.Array, expected: list[Any], partitioned: bool, tmp_path: Path
) -> None:
    for turn, pair in enumerate([[one, other], [other, one]]):
        (tmp_path / str(turn)).mkdir()
        source = folder(tmp_path / str(turn), [table(each) for each in pair], partitioned=partitioned)
        found = values(view(source, kind))
        assert sorted(found, key=str) == sorted(expected, key=str)
        assert {type(value) for value in found if value is not None} == {type(expected[0])}


TIMES: list[tuple[pa.Array, pa.Array]] = [
    (pa.array([NOON.replace(tzinfo=None)]), pa.array([NOON], MOMENTS)),
    (pa.array([NOON], MOMENTS), pa.array([NOON], pa.timestamp("us", "Europe/Berlin"))),
    (pa.array([NOON], pa.timestamp("ns", "UTC")), pa.array([NOON], pa.timestamp("ms"))),
    (pa.array(["2026-01-02T13:00:00+01:00"]), pa.array([NOON], MOMENTS)),
    (pa.array([NOON], MOMENTS), pa.array(["2026-01-02 12:00:00"]).dictionary_encode()),
]


@both
@pytest.mark.parametrize(("one", "other"), TIMES)
def test_event_times_of_files_agree_with_time_alone(
    one: pa.Array, other: pa.Array, partitioned: bool, tmp_path: Path
) -> None:
    tables = [pa.table({"id": [index], "at": at, "x": [index]}) for index, at in enumerate([one, other])]
    made = view(folder(tmp_path, tables, partitioned=partitioned))
    moment = microseconds(NOON)
    assert times(made) == [moment, moment]
    assert values(made, TimeRange(moment, moment)) == [0, 1]
    assert values(made, TimeRange(moment + 1, moment + 1)) == []
    assert values(made, TimeRange(None, moment - 1)) == []


@both
@pytest.mark.parametrize(
    ("kind", "good", "bad", "value"),
    [
        ("int64", pa.array([1]), pa.array([1.0, None, 2.5]), "2.5"),
        ("float64", pa.array([1.5]), pa.array([1, 2, 2**53 + 1]), "9007199254740993"),
        ("int32", pa.array([1], pa.int32()), pa.array([1, 2, 2**31]), "2147483648"),
        ("int64", pa.array([1]), pa.array([1, 2, 2**63], pa.uint64()), "9223372036854775808"),
        ("timestamp", pa.array([NOON], MOMENTS), pa.array(["2026-01-01", None, "soon"]), "'soon'"),
        ("string", pa.array(["a"]), pa.array([b"a", b"b", b"\xff"]), r"b'\\xff'"),
    ],
)
def test_what_does_not_fit_names_file_column_row_and_value(
    kind: str, good: pa.Array, bad: pa.Array, value: str, partitioned: bool, tmp_path: Path
) -> None:
    source = folder(tmp_path, [table(good), table(bad)], partitioned=partitioned)
    message = rf"spec.features\[0\].column: /.*/1.parquet, row 2 \(the first is 0\): column 'x' .* no {kind}: {value}\."
    with pytest.raises(RejectError, match=message) as refused:
        values(view(source, kind))
    assert 'columns: [{name: x, expression: "try_cast(x as' in refused.value.hint


def test_a_column_in_which_no_file_has_a_value_is_null_whatever_its_type(tmp_path: Path) -> None:
    source = folder(tmp_path, [table(pa.nulls(1, pa.float64())), table(pa.nulls(1))], partitioned=False)
    assert values(view(source, "bool")) == [None, None]


@pytest.mark.parametrize("statistics", [True, False])
@pytest.mark.parametrize("kind", [pa.float64(), pa.string(), pa.null()])
def test_the_types_of_a_file_without_rows_say_nothing(kind: pa.DataType, statistics: bool, tmp_path: Path) -> None:
    nothing = pa.table({name: pa.array([], kind) for name in ("id", "at", "x")})
    pq.write_table(nothing, tmp_path / "a.parquet", write_statistics=statistics)
    pq.write_table(table(pa.array([True, False])), tmp_path / "b.parquet")
    made = view({"parquet": {"uri": f"file://{tmp_path}"}}, "bool")
    assert values(made) == [True, False]
    assert values(made, TimeRange(microseconds(NOON) + 1_000_000, 2**62)) == []


def test_a_single_file_names_the_row_in_whichever_row_group_it_is(tmp_path: Path) -> None:
    numbers = [float(n) for n in range(100)]
    numbers[77] = 0.5
    pq.write_table(table(pa.array(numbers)), tmp_path / "a.parquet", row_group_size=10)
    with pytest.raises(RejectError, match=r"a.parquet, row 77 \(the first is 0\): column 'x' \(double\)"):
        values(view({"parquet": {"uri": f"file://{tmp_path}"}}))


UNITS = [("s", 1_000_000), ("ms", 1_000), ("us", 1)]


def count(unit: str, moment: datetime) -> int:
    return microseconds(moment) * 1000 if unit == "ns" else microseconds(moment) // dict(UNITS)[unit]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("kind", [pa.int64(), pa.uint64(), pa.float64(), pa.decimal128(20, 0)], ids=str)
def test_numbers_are_event_and_created_times(unit: str, kind: pa.DataType, tmp_path: Path) -> None:
    if unit == "ns" and kind == pa.float64():
        pytest.skip("a double has no nanoseconds of our days")
    moments = [NOON + timedelta(hours=hour) for hour in range(10)]
    counts = [count(unit, moment) for moment in moments]
    made = [Decimal(each) if pa.types.is_decimal(kind) else each for each in counts]
    rows = {"id": [0] * 10, "at": pa.array(made).cast(kind), "x": list(range(10)), "written": counts}
    pq.write_table(pa.table(rows), tmp_path / "a.parquet", row_group_size=2)
    times_of = {"timestampUnit": unit, "createdTimestampField": "written", "createdTimestampUnit": unit}
    found = view({"parquet": {"uri": f"file://{tmp_path}"}, **times_of})
    assert times(found) == [microseconds(moment) for moment in moments]
    window = TimeRange(microseconds(moments[3]), microseconds(moments[5]))
    assert values(found, window) == [3, 4, 5]
    late = TimeRange(None, 2**62, microseconds(moments[7]))
    assert values(found, late) == [8, 9]


def test_row_groups_outside_the_window_of_numbers_are_not_read(tmp_path: Path) -> None:
    counts = [count("ms", NOON + timedelta(hours=hour)) for hour in range(10)]
    pq.write_table(pa.table({"id": [0] * 10, "at": counts, "x": counts}), tmp_path / "a.parquet", row_group_size=2)
    made = view({"parquet": {"uri": f"file://{tmp_path}"}, "timestampUnit": "ms"})
    window = TimeRange(microseconds(NOON + timedelta(hours=2)), microseconds(NOON + timedelta(hours=3)))
    assert sum(batch.num_rows for batch in open_source(made, Credentials()).scan(["x"], window)) == 2


def test_numbers_without_a_unit_are_refused_with_the_line_to_write(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": [0], "at": [1], "x": [1]}), tmp_path / "a.parquet")
    with pytest.raises(RejectError, match=r"timestampField: column 'at' .* int64, .*Write timestampUnit: ms beside it"):
        open_source(view({"parquet": {"uri": f"file://{tmp_path}"}}), Credentials())


REF = uuid.UUID("2f1e8c3a-9b7d-4c5e-8f60-0123456789ab")
RAW = pa.table(
    {
        "id": pa.array([Decimal(1001), Decimal(2)], pa.decimal128(20, 0)),
        "at": ["2026-01-02T12:00:00Z", "2026-01-02T13:30:00.5+01:00"],
        "price": pa.array([Decimal("0.0042459"), None], pa.decimal128(18, 9)),
        "whole": [3.0, None],
        "huge": pa.array([2**64 - 1, 1], pa.uint64()),
        "address": [{"city": "Ulm", "geo": {"lat": 48.4}}, None],
        "doc": ['{"user": {"age": 7}}', "{}"],
    }
)
COMPUTED = {
    "columns": [
        {"name": "huge", "expression": "cast(huge as varchar)"},
        {"name": "city", "expression": "address.city"},
        {"name": "lat", "expression": "address.geo.lat"},
        {"name": "age", "expression": "cast(json_extract_string(doc, '$.user.age') as integer)"},
    ]
}
FEATURES: dict[tuple[str, str], list[Any]] = {
    ("price", "float64"): [0.0042459, None],
    ("whole", "int64"): [3, None],
    ("huge", "string"): ["18446744073709551615", "1"],
    ("city", "string"): ["Ulm", None],
    ("lat", "float64"): [48.4, None],
    ("age", "int32"): [7, None],
    ("doc", "string"): ['{"user": {"age": 7}}', "{}"],
    ("at", "timestamp"): [NOON, NOON + timedelta(minutes=30, milliseconds=500)],
}


def parquet(path: Path) -> dict[str, Any]:
    pq.write_table(RAW, path / "a.parquet")
    return {"parquet": {"uri": f"file://{path}"}}


def delta(path: Path) -> dict[str, Any]:
    write_deltalake(str(path / "t"), RAW.set_column(4, "huge", pa.array([2**64 - 1, 1], pa.decimal128(20, 0))))
    return {"delta": {"uri": f"file://{path}/t"}}


def catalog(path: Path) -> Catalog:
    lake = load_catalog("lake", type="sql", uri=f"sqlite:///{path}/catalog.db", warehouse=f"file://{path}")
    lake.create_namespace("lake")
    return lake


def of_catalog(path: Path) -> dict[str, Any]:
    known = {"name": "lake", "type": "sql", "uri": f"sqlite:///{path}/catalog.db"}
    return {"iceberg": {"catalog": known, "table": "lake.events"}}


def iceberg(path: Path) -> dict[str, Any]:
    rows = RAW.set_column(4, "huge", pa.array([Decimal(2**64 - 1), Decimal(1)], pa.decimal128(20, 0)))
    catalog(path).create_table("lake.events", rows.schema).append(rows)
    return of_catalog(path)


@pytest.mark.parametrize("make", [parquet, delta, iceberg])
@pytest.mark.parametrize("feature", list(FEATURES))
def test_types_beyond_the_declared_are_read_or_computed_alike_in_files(
    make: Callable[[Path], dict[str, Any]], feature: tuple[str, str], tmp_path: Path
) -> None:
    name, kind = feature
    features = [{"name": "f", "column": name, "type": kind}]
    made = view({**make(tmp_path), **COMPUTED}, features=features)
    assert values(made) == FEATURES[feature]
    assert times(made) == [microseconds(NOON), microseconds(NOON) + 1_800_500_000]
    keys = [
        batch.column("k0").to_pylist()
        for batch in History(made, open_source(made, Credentials()), EVERYTHING).numbered()
    ]
    assert [key for batch in keys for key in batch] == [1001, 2]


def test_uuids_are_keys_and_features_by_their_text(tmp_path: Path) -> None:
    refs = pa.array([REF.bytes, None], pa.binary(16)).cast(pa.uuid())
    pq.write_table(pa.table({"id": refs, "at": pa.array([NOON] * 2, MOMENTS), "x": refs}), tmp_path / "a.parquet")
    made = view({"parquet": {"uri": f"file://{tmp_path}"}}, "string", entities=[{"name": "id", "type": "string"}])
    assert values(made) == [str(REF)]


def test_the_row_filter_and_quality_see_what_is_computed_and_expressions_see_the_source(tmp_path: Path) -> None:
    pq.write_table(table(pa.array(["1", "x", "3"])), tmp_path / "a.parquet")
    source = {
        "parquet": {"uri": f"file://{tmp_path}"},
        "columns": [{"name": "x", "expression": "try_cast(x as bigint)"}, {"name": "raw", "expression": "upper(x)"}],
        "where": "x > 1 or raw = 'X'",
    }
    quality = [{"column": "x", "maxNullRate": 0.5}]
    assert values(view(source, quality=quality)) == [None, 3]
    opened = open_source(view(source, quality=quality), Credentials())
    assert (opened.columns["x"], opened.columns["raw"]) == ("int64", "string")


def test_the_event_time_may_be_computed(tmp_path: Path) -> None:
    raw = table(pa.array([1, 2]), day=["02.01.2026", "03.01.2026"]).drop_columns(["at"])
    pq.write_table(raw, tmp_path / "a.parquet")
    at = [{"name": "at", "expression": "strptime(day, '%d.%m.%Y')"}]
    made = view({"parquet": {"uri": f"file://{tmp_path}"}, "columns": at})
    day = microseconds(datetime(2026, 1, 3, tzinfo=UTC))
    assert values(made) == [1, 2]
    assert values(made, TimeRange(day, day)) == [2]


def test_types_that_do_not_go_together_reach_expressions_as_text(tmp_path: Path) -> None:
    source = folder(tmp_path, [table(pa.array([1])), table(pa.array(["2", "two"]))], partitioned=False)
    cast = [{"name": "x", "expression": "try_cast(x as bigint)"}]
    assert values(view({**source, "columns": cast})) == [1, 2, None]


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("cast(x as bigint)", r"spec.source.columns\[0\].expression: the expression fails on a row: .*'two'"),
        ("now()", r"spec.source.columns\[0\].expression: 'now\(\)' is not allowed"),
        ("y + 1", r"spec.source.columns\[0\].expression: .* has no column 'y'"),
        ("x + id", r"spec.source.columns\[0\].expression: the types do not go together"),
        ("x", r"spec.features\[0\]: column 'x' has the type string, which cannot be read as int64"),
    ],
)
def test_an_expression_that_cannot_be_is_refused_by_its_place(expression: str, message: str, tmp_path: Path) -> None:
    pq.write_table(table(pa.array(["1", "two"])), tmp_path / "a.parquet")
    with pytest.raises(RejectError, match=message):
        values(view({"parquet": {"uri": f"file://{tmp_path}"}, "columns": [{"name": "x", "expression": expression}]}))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"createdTimestampUnit": "s"}, "spec.source: createdTimestampUnit is 's', and there is no"),
        (
            {"timestampUnit": "s", "columns": [{"name": "at", "expression": "x"}]},
            "spec.source.timestampUnit: .* computes",
        ),
        (
            {"columns": [{"name": name, "expression": "x"} for name in "yxzx"]},
            r"spec\.source\.columns\[3\]\.name: 'x' is there twice, also at spec\.source\.columns\[1\]",
        ),
        ({"parquet": None, "push": {"uri": "file:///p"}, "timestampUnit": "s"}, "mean nothing for pushed rows"),
    ],
)
def test_what_says_nothing_of_columns_is_refused(source: dict[str, Any], message: str) -> None:
    with pytest.raises(RejectError, match=message):
        view({"parquet": {"uri": "file:///p"}, **source})


def test_another_expression_or_unit_is_another_schema_and_an_unused_column_is_not() -> None:
    def schema(**source: Any) -> str:
        return view({"parquet": {"uri": "file:///p"}, **source}).schema_hash

    used = [{"name": "x", "expression": "y + 1"}]
    assert len({schema(), schema(timestampUnit="s"), schema(timestampUnit="ms"), schema(columns=used)}) == 4
    assert schema(columns=used) == schema(columns=[{"name": "x", "expression": "y  +  1"}])
    assert schema(columns=used) == schema(columns=[*used, {"name": "unused", "expression": "z"}])


def test_a_delta_table_whose_schema_evolved_is_conformed_file_by_file(tmp_path: Path) -> None:
    uri = str(tmp_path / "t")
    write_deltalake(uri, table(pa.array([1, 2], pa.int64())))
    more = table(pa.array([3], pa.int64()), note=[2.0])
    write_deltalake(uri, more, mode="append", schema_mode="merge")
    made = view({"delta": {"uri": f"file://{uri}"}}, features=[{"name": "note", "type": "int64"}])
    assert sorted(values(made), key=str) == [2, None, None]
    write_deltalake(uri, table(pa.array([4], pa.int64()), note=[2.5]), mode="append")
    with pytest.raises(RejectError, match=r"\.parquet, row 0 \(the first is 0\): column 'note' \(double\) .*: 2.5"):
        values(made)


def test_an_iceberg_table_whose_schema_evolved_is_conformed_file_by_file(tmp_path: Path) -> None:
    lake = catalog(tmp_path)
    first = table(pa.array([1, 2], pa.int32()), price=pa.array([1.0, 2.0], pa.float32()))
    first = first.append_column("sum", pa.array([Decimal("1.00"), Decimal(2)], pa.decimal128(9, 2)))
    made = lake.create_table("lake.events", first.schema)
    made.append(first)
    with made.update_schema() as change:
        change.update_column("x", LongType())
        change.update_column("price", DoubleType())
        change.update_column("sum", DecimalType(20, 2))
    later = table(pa.array([2**40]), price=[4.0])
    made.append(later.append_column("sum", pa.array([Decimal("12345678901234567.00")], pa.decimal128(20, 2))))
    for name, kind, expected in (
        ("x", "int64", [1, 2, 2**40]),
        ("price", "int64", [1, 2, 4]),
        ("sum", "int64", [1, 2, 12345678901234567]),
        ("x", "float64", [1.0, 2.0, 2.0**40]),
    ):
        found = view(of_catalog(tmp_path), features=[{"name": "f", "column": name, "type": kind}])
        assert sorted(values(found)) == expected
    with made.update_schema() as change:
        change.rename_column("price", "cost")
    made.append(later.rename_columns(["id", "at", "x", "cost"]).append_column("sum", pa.nulls(1, pa.decimal128(20, 2))))
    found = view(of_catalog(tmp_path), features=[{"name": "cost", "type": "int64"}])
    assert sorted(values(found)) == [1, 2, 4, 4]


def sqlite(path: Path, *statements: str) -> Credentials:
    url = f"sqlite:///{path}/events.db"
    with sa.create_engine(url, poolclass=sa.NullPool).begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    return Credentials.load({"SQL_URL": url})


@pytest.mark.parametrize("part", [{"table": "t"}, {"query": "select * from t"}], ids=["table", "query"])
def test_numbers_of_a_database_are_times_and_are_asked_for_by_number(part: dict[str, Any], tmp_path: Path) -> None:
    rows = [(hour, count("ms", NOON + timedelta(hours=hour)), hour) for hour in range(10)]
    filled = f"insert into t values {', '.join(map(str, rows))}"
    known = sqlite(tmp_path, "create table t (id integer, at bigint, x integer)", filled)
    made = view({"sql": part, "timestampUnit": "ms"})
    window = TimeRange(microseconds(NOON + timedelta(hours=2)), microseconds(NOON + timedelta(hours=3)))
    assert values(made, window, known) == [2, 3]
    assert len(times(made, EVERYTHING, known)) == 10
    scanned = open_source(made, known).scan(["x"], window)
    assert sum(batch.num_rows for batch in scanned) == (2 if "table" in part else 10)


def test_json_and_computed_columns_of_a_database_are_read(tmp_path: Path) -> None:
    row = """insert into t values (1, 1767355200, '{"user": {"age": 7}}')"""
    known = sqlite(tmp_path, "create table t (id integer, at bigint, doc json)", row)
    features = [{"name": "age", "type": "int32"}, {"name": "doc", "type": "string"}]
    made = view({"sql": {"table": "t"}, "timestampUnit": "s", **COMPUTED_AGE}, features=features)
    assert values(made, known=known) == [7]
    assert times(made, known=known) == [microseconds(NOON)]


COMPUTED_AGE = {"columns": [{"name": "age", "expression": "cast(json_extract_string(doc, '$.user.age') as integer)"}]}


def test_a_value_of_a_database_that_does_not_fit_names_its_table_and_row(tmp_path: Path) -> None:
    row = "insert into t values (1, '2026-01-02', 1), (2, '2026-01-03', 2.5)"
    known = sqlite(tmp_path, "create table t (id integer, at datetime, x double)", row)
    with pytest.raises(
        RejectError, match=r"features\[0\].column: t, row 1 \(the first is 0\): column 'x' .* no int64: 2.5"
    ):
        values(view({"sql": {"table": "t"}}), known=known)
