from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.api.featureview import FeatureViewSpec
from millrace_core.base.errors import MillraceError, NotFoundError, RejectError, SourceChangedError
from millrace_core.features.definition import definition
from millrace_core.features.definition.definition import Definition
from millrace_core.features.history.history import TimeRange
from millrace_core.features.types.conform import microseconds
from millrace_data.sources import bounds
from millrace_data.sources.credentials import Credentials
from millrace_data.sources.opening import open_source

EVERYTHING = TimeRange(None, 2**62)
NOBODY = Credentials()


def view(uri: str, **changes: Any) -> Definition:
    spec: dict[str, Any] = {
        "entities": [{"name": "id", "type": "int64"}],
        "source": {"parquet": {"uri": uri}, "timestampField": "at"},
        "features": [{"name": "x", "type": "int64"}],
        **changes,
    }
    return definition.compile("v", "default", FeatureViewSpec.model_validate(spec))


def table(rows: range, unit: str = "us", **columns: Any) -> pa.Table:
    numbers = pa.array(rows)
    return pa.table({"id": numbers, "at": numbers.cast(pa.timestamp(unit, "UTC")), "x": numbers, **columns})


def read(uri: str, columns: list[str], window: TimeRange = EVERYTHING, **changes: Any) -> pa.Table:
    source = open_source(view(uri, **changes), NOBODY)
    return pa.Table.from_batches(list(source.scan(columns, window)))


def test_a_folder_is_read_in_the_order_of_its_paths_and_always_in_the_same(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name, rows in (("b/1", range(500)), ("a", range(500, 900)), ("c", range(900, 1000))):
        pq.write_table(table(rows), tmp_path / f"{name}.parquet", row_group_size=7)
    for ignored in ("_temporary.parquet", ".hidden.parquet", "readme.txt"):
        (tmp_path / ignored).write_bytes(b"not read")
    expected = [*range(500, 900), *range(500), *range(900, 1000)]
    for _ in range(5):
        assert read(f"file://{tmp_path}/", ["x"])["x"].to_pylist() == expected


def test_a_single_file_is_read_whatever_its_name(tmp_path: Path) -> None:
    pq.write_table(table(range(3)), tmp_path / "a b.data")
    assert read(f"file://{tmp_path}/a%20b.data", ["x", "id"]).to_pydict() == {"x": [0, 1, 2], "id": [0, 1, 2]}


@given(
    unit=st.sampled_from(["s", "ms", "us", "ns"]),
    counts=st.lists(st.none() | st.integers(-5000, 5000), min_size=1, max_size=30),
    earliest=st.none() | st.integers(-6_000_000_000, 6_000_000_000) | st.integers(-6, 6),
    length=st.integers(0, 3_000_000) | st.integers(0, 6),
)
def test_pruning_loses_no_row_of_the_window(
    unit: str, counts: list[int | None], earliest: int | None, length: int
) -> None:
    column = pa.array(counts, pa.timestamp(unit, "Asia/Tokyo"))
    window = TimeRange(earliest, (earliest or 0) + length)
    kept = pa.table({"at": column}).filter(bounds.within("at", column.type, window))["at"].to_pylist()
    moments = microseconds(column, column="at").to_pylist()
    for value, moment in zip(column.to_pylist(), moments, strict=True):
        if moment is not None and (earliest is None or moment >= earliest) and moment <= window.latest:
            assert value in kept


@pytest.mark.parametrize("kind", [pa.date32(), pa.date64()])
def test_pruning_by_dates_keeps_the_days_of_the_window(kind: pa.DataType) -> None:
    days = pa.table({"at": pa.array([date(1969, 12, 30), date(1969, 12, 31), date(1970, 1, 1)], kind)})
    kept = days.filter(bounds.within("at", kind, TimeRange(-1, 0)))["at"].to_pylist()
    assert date(1970, 1, 1) in kept
    assert date(1969, 12, 30) not in kept


def test_row_groups_outside_the_window_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(table(range(1000)), path, row_group_size=100)
    content = bytearray(path.read_bytes())
    spoiled = pq.ParquetFile(path).metadata.row_group(9).column(2).data_page_offset
    content[spoiled : spoiled + 16] = b"\xff" * 16
    path.write_bytes(content)
    assert read(f"file://{path}", ["x"], TimeRange(None, 99))["x"].to_pylist() == list(range(100))


def test_a_file_that_breaks_off_in_the_middle_is_said_so(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(table(range(100_000)), path, compression="none", use_dictionary=False)
    source = open_source(view(f"file://{path}"), NOBODY)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(MillraceError, match=r"x.parquet"):
        list(source.scan(["x"], EVERYTHING))


def test_older_files_may_lack_a_feature_but_no_key_and_no_time(tmp_path: Path) -> None:
    pq.write_table(table(range(2)).drop_columns(["x"]), tmp_path / "1.parquet")
    pq.write_table(table(range(2, 4)), tmp_path / "2.parquet")
    assert read(f"file://{tmp_path}", ["x"])["x"].to_pylist() == [None, None, 2, 3]
    pq.write_table(table(range(2)).drop_columns(["at"]), tmp_path / "1.parquet")
    with pytest.raises(
        NotFoundError, match=r"spec.source.timestampField: .*1.parquet has no column 'at'. It has: id, x"
    ):
        read(f"file://{tmp_path}", ["x"])


def test_files_may_differ_in_units_and_widths_but_not_in_kind(tmp_path: Path) -> None:
    pq.write_table(table(range(2), "ms"), tmp_path / "1.parquet")
    narrow = table(range(2, 4), "us").set_column(2, "x", pa.array([2, 3], pa.int16()))
    pq.write_table(narrow, tmp_path / "2.parquet")
    got = read(f"file://{tmp_path}", ["x", "at"])
    assert got["x"].to_pylist() == [0, 1, 2, 3]
    assert microseconds(got["at"].combine_chunks(), column="at").to_pylist() == [0, 1000, 2, 3]
    pq.write_table(narrow.set_column(2, "x", pa.array(["2", "3"])), tmp_path / "2.parquet")
    with pytest.raises(RejectError, match=r"2.parquet: column 'x' has the type string, which cannot be read as int64"):
        read(f"file://{tmp_path}", ["x"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"features": [{"name": "y", "type": "int64"}]},
            r"spec.features\[0\].column: .* has no column 'y'. It has: id, at, x",
        ),
        ({"entities": [{"name": "uid", "type": "int64"}]}, r"spec.entities\[0\].name: .* has no column 'uid'"),
        (
            {"source": {"parquet": {"uri": "{uri}"}, "timestampField": "x"}},
            r"spec.source.timestampField: column 'x' has the type int64, which cannot be read as timestamp",
        ),
        (
            {"source": {"parquet": {"uri": "{uri}"}, "timestampField": "at", "createdTimestampField": "written"}},
            r"spec.source.createdTimestampField: .* has no column 'written'",
        ),
        ({"features": [{"name": "x", "type": "string"}]}, r"spec.features\[0\]: column 'x' has the type int64"),
        ({"entities": [{"name": "at", "type": "string"}]}, r"spec.entities\[0\]: column 'at' has the type timestamp"),
    ],
)
def test_a_column_that_is_not_there_or_of_the_wrong_type_is_named(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    pq.write_table(table(range(2)), tmp_path / "1.parquet")
    uri = f"file://{tmp_path}"
    if "source" in changes:
        changes = {"source": {**changes["source"], "parquet": {"uri": uri}}}
    with pytest.raises(RejectError, match=message):
        read(uri, ["x"], **changes)


@pytest.mark.parametrize(
    ("content", "kind", "message"),
    [
        (None, NotFoundError, r"^spec.source.parquet.uri: there is no file or folder file://"),
        ({}, NotFoundError, r"there is no \*.parquet file in file://"),
        ({"1.parquet": b""}, RejectError, r"cannot be read as Parquet: .*1.parquet"),
        ({"1.parquet": b"PAR1 and no more"}, RejectError, r"cannot be read as Parquet: .*1.parquet"),
    ],
)
def test_what_is_missing_empty_or_corrupt_is_named(
    tmp_path: Path, content: dict[str, bytes] | None, kind: type[MillraceError], message: str
) -> None:
    folder = tmp_path / "lake"
    if content is not None:
        folder.mkdir()
        for name, data in content.items():
            (folder / name).write_bytes(data)
    with pytest.raises(kind, match=message):
        read(f"file://{folder}", ["x"])


def test_a_host_in_a_file_uri_is_refused() -> None:
    with pytest.raises(RejectError, match=r"names the host 'lake'. Write file:/// "):
        read("file://lake/events", ["x"])


def test_a_file_that_comes_during_a_run_is_not_read_and_one_that_goes_is_worth_another_run(tmp_path: Path) -> None:
    pq.write_table(table(range(3)), tmp_path / "a.parquet")
    opened = open_source(view(f"file://{tmp_path}"), NOBODY)
    pq.write_table(pa.table({"other": [1]}), tmp_path / "b.parquet")
    assert sum(batch.num_rows for batch in opened.scan(["x"], EVERYTHING)) == 3
    (tmp_path / "a.parquet").unlink()
    with pytest.raises(SourceChangedError, match=r"spec.source.parquet.uri: .*a.parquet, of .* deleted"):
        list(opened.scan(["x"], EVERYTHING))
