"""The door for Arrow streams: what is honest passes and weighs what it takes; what lies or grows does not."""

from __future__ import annotations

import struct
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.base.errors import RejectError, TooLargeError
from millrace_core.features.online import ipc_limits
from millrace_core.features.online.ipc_limits import MOST_COLUMNS, Limits
from tests.hostile_arrow import HOSTILE, stream

LIMITS = Limits(10_000, 1 << 24, "ROWS", "BYTES")
COLUMNS: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "int64": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "bool": (pa.bool_(), st.booleans()),
    "float": (pa.float32(), st.floats(width=32, allow_nan=False)),
    "string": (pa.string(), st.text(max_size=20)),
    "large binary": (pa.large_binary(), st.binary(max_size=20)),
    "fixed": (pa.binary(3), st.binary(min_size=3, max_size=3)),
    "null": (pa.null(), st.none()),
    "list": (pa.list_(pa.string()), st.lists(st.none() | st.text(max_size=3), max_size=3)),
    "fixed list": (pa.list_(pa.int32(), 2), st.lists(st.integers(0, 9), min_size=2, max_size=2)),
    "decimal": (pa.decimal128(5, 0), st.integers(0, 99999)),
}


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    count = draw(st.integers(0, 20))
    names = draw(st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, unique=True))
    made = {}
    for name in names:
        kind, values = COLUMNS[name]
        made[name] = pa.array(draw(st.lists(st.none() | values, min_size=count, max_size=count)), kind)
    return pa.table(made)


@given(tables(), st.sampled_from([None, "lz4", "zstd"]))
def test_what_honest_writers_write_passes_as_it_was(table: pa.Table, compression: str | None) -> None:
    taken = ipc_limits.check(stream(table, compression=compression), LIMITS)
    assert taken.table().equals(table)
    assert taken.weight >= 8 * table.num_rows * table.num_columns


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_decoding_takes_no_more_memory_than_the_headers_said(compression: str | None) -> None:
    body = stream({"id": pa.array(range(1000)), "text": ["x" * 5000] * 1000}, compression=compression)
    taken = ipc_limits.check(body, LIMITS)
    pool = pa.proxy_memory_pool(pa.default_memory_pool())
    taken.table(pool)
    assert 5_000_000 < taken.weight < 5_100_000
    assert (pool.max_memory() or 0) <= taken.weight + 4096


@pytest.mark.parametrize("name", HOSTILE)
def test_what_lies_or_grows_does_not_pass(name: str) -> None:
    pool = pa.proxy_memory_pool(pa.default_memory_pool())
    with pytest.raises(RejectError):
        ipc_limits.check(HOSTILE[name](), LIMITS).table(pool)
    assert (pool.max_memory() or 0) < 100_000


def test_limits_are_counted_over_all_batches_and_name_their_setting() -> None:
    sink = pa.BufferOutputStream()
    batch = pa.record_batch({"id": pa.array([1, 2, 3])})
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        for _ in range(4):
            writer.write_batch(batch)
    body = bytes(sink.getvalue())
    assert ipc_limits.check(body, Limits(12, 96)).weight == 96
    with pytest.raises(TooLargeError, match=r"12 rows came, 11 .*raise ROWS"):
        ipc_limits.check(body, Limits(11, 96, "ROWS"))
    with pytest.raises(TooLargeError, match=r"96 bytes once it is decoded, 95 .*raise BYTES"):
        ipc_limits.check(body, Limits(None, 95, bytes_setting="BYTES"))


def test_columns_are_limited() -> None:
    columns = {f"c{index}": pa.array([1]) for index in range(MOST_COLUMNS)}
    assert ipc_limits.check(stream(columns), LIMITS).table().num_columns == MOST_COLUMNS
    with pytest.raises(TooLargeError, match="columns"):
        ipc_limits.check(stream({**columns, "more": pa.array([1])}), LIMITS)


def test_buffers_that_share_bytes_are_refused() -> None:
    body = stream({"a": pa.array([1, 2]), "b": pa.array([3, 4])})
    first, second = struct.pack("<qq", 0, 16), struct.pack("<qq", 16, 16)
    at = body.rindex(second)
    with pytest.raises(RejectError, match="over another"):
        ipc_limits.check(body[:at] + first + body[at + 16 :], LIMITS)


@pytest.mark.parametrize("size", range(0, 700, 7))
def test_a_stream_that_breaks_off_is_none(size: int) -> None:
    body = stream({"id": pa.array([1, 2]), "name": ["a", "b"]})
    whole = body[: size % len(body)]
    try:
        table = ipc_limits.check(whole, LIMITS).table()
    except RejectError:
        return
    assert table.num_rows == 0  # only its schema came


def test_times_of_any_zone_are_utc() -> None:
    table = pa.table({"at": pa.array([0, None], pa.timestamp("us", "Mars/Base"))})
    assert ipc_limits.check(stream(table), LIMITS).table().column("at").type == pa.timestamp("us", "UTC")


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["a"]).dictionary_encode(),
        pa.array([["a"]], pa.list_(pa.dictionary(pa.int8(), pa.string()))),
        pa.array([{"a": 1}]),
        pa.array([[[[[[1]]]]]]),
        pa.RunEndEncodedArray.from_arrays([1], [1]),
        pa.array([b"0" * 16], pa.uuid()),
        pa.array([(1, 1, 1)], pa.month_day_nano_interval()),
    ],
    ids=lambda column: str(column.type)[:20],
)
def test_columns_that_are_not_plain_are_refused_by_name(column: pa.Array) -> None:
    with pytest.raises(RejectError, match=r"'odd' is of a type that is not taken: \w+"):
        ipc_limits.check(stream({"odd": column}), LIMITS)
