"""Arrow streams that lie, or that grow: small bodies that no honest writer makes."""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa

STREAM: Final = "application/vnd.apache.arrow.stream"
ABOUT: Final = {"view": "stats", "features": ["stats:visits"], "project": "shop"}
NOON: Final = datetime(2026, 11, 25, 12, tzinfo=UTC)
MANY: Final = 50_000_000


def stream(columns: Any, about: Any = ABOUT, compression: str | None = None) -> bytes:
    """A table as a stream, with the request that it holds."""
    table = columns if isinstance(columns, pa.Table) else pa.table(columns)
    table = table.replace_schema_metadata({"millrace": orjson.dumps(about)})
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def rows(count: int, **columns: pa.Array) -> dict[str, Any]:
    """Columns that the view ``stats`` reads, some of them others."""
    times = pa.array([NOON], pa.timestamp("us", "UTC")).take(pa.array(np.zeros(count, np.int64)))
    return {
        "user_id": pa.array(np.arange(count)),
        "event_timestamp": times,
        "amount": pa.array(np.zeros(count)),
        "visits": pa.array(np.ones(count, np.int64)),
        **columns,
    }


def texts(*offsets: int) -> bytes:
    """Two texts of four bytes in a column ``name``, which say that they end elsewhere."""
    return edited(
        stream({**rows(2), "name": ["aaaa", "bbbb"]}), struct.pack("<3i", 0, 4, 8), struct.pack("<3i", *offsets)
    )


def edited(body: bytes, old: bytes, new: bytes) -> bytes:
    assert body.count(old) == 1, body.count(old)
    return body.replace(old, new)


def dictionaries() -> bytes:
    """20,000 texts of a megabyte in two megabytes."""
    values = pa.array(["a" * 1_000_000])
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(20_000, np.int8)), values)
    return stream(rows(20_000, name=column), compression="zstd")


def run_ends() -> bytes:
    column = pa.RunEndEncodedArray.from_arrays(pa.array([MANY], pa.int32()), pa.array([1]))
    return stream({"user_id": column, "event_timestamp": pa.nulls(MANY)})


def nulls(*names: str) -> bytes:
    """50 million rows without a byte."""
    return stream({name: pa.nulls(MANY) for name in names})


def bomb(compression: str) -> bytes:
    """A text of 200 megabytes in less than two."""
    column = pa.array(["\0" * 200_000_000])
    return stream(rows(1, name=column), compression=compression)


def shared_views() -> bytes:
    """20,000 texts of 400 kilobytes that are one."""
    view = struct.pack("<i4sii", 400_000, b"aaaa", 0, 0)
    buffers = [None, pa.py_buffer(view * 20_000), pa.py_buffer(b"a" * 400_000)]
    return stream(rows(20_000, name=pa.Array.from_buffers(pa.string_view(), 20_000, buffers)), compression="zstd")


def claims() -> bytes:
    """A compressed body that says that it holds 2**40 bytes."""
    body = stream(rows(1, name=pa.array(["\0" * 300_000])), compression="zstd")
    before, length, rest = body.rpartition(struct.pack("<q", 300_000))
    assert length
    return before + struct.pack("<q", 1 << 40) + rest


HOSTILE: Final[dict[str, Callable[[], bytes]]] = {
    "an offset beyond the values": lambda: texts(0, 4_000_000, 8),
    "an offset far beyond": lambda: texts(0, 2**31 - 1, 8),
    "offsets before the beginning": lambda: texts(0, -(2**31), 8),
    "an end beyond the values": lambda: texts(0, 4, 2**31 - 1),
    "null columns": lambda: nulls("user_id", "event_timestamp", "amount", "visits"),
    "run ends": run_ends,
    "dictionaries": dictionaries,
    "zstd": lambda: bomb("zstd"),
    "lz4": lambda: bomb("lz4"),
    "claims of zstd": claims,
    "views of one text": shared_views,
}
