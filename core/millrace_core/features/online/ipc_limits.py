"""The one door for Arrow streams that come from outside: limited by their headers, decoded, validated.

A stream of a few hundred bytes may say that it holds billions of rows, or point anywhere in memory. So before Arrow
sees it, its headers are read here: types, rows, and what each buffer becomes when it is decompressed. What Arrow
allocates is what the headers say, so no stream takes more memory than its limit. Then offsets, lengths and texts are
validated in full, because Arrow's own functions believe them.

Columns are of plain types, or lists of these. Of dictionaries, run ends, views, unions, structs and maps a few bytes
may be any number of values, so whoever sends them converts them.

Format: https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format, ``Message.fbs`` and ``Schema.fbs``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import pyarrow as pa

from millrace_core.base.errors import RejectError, TooLargeError
from millrace_core.base.shown import shown
from millrace_core.features.online import flatbuffer
from millrace_core.features.online.flatbuffer import FlatbufferError, Table

# Fields of all levels. Far more than any view has.
MOST_COLUMNS: Final = 10_000
# A value counts as so many bytes at least: what reads it needs them, however few come.
VALUE_BYTES: Final = 8
_DEEPEST: Final = 4

_U8, _I16, _I32, _I64 = (struct.Struct(f"<{code}") for code in "Bhiq")
_FRAME: Final = struct.Struct("<Ii")
# Of a node: values, nulls. Of a buffer: where it begins, its length.
_PAIR: Final = struct.Struct("<qq")
_CONTINUATION: Final = 0xFFFFFFFF
_SCHEMA, _BATCH = 1, 3
_NULL: Final = 1
_TIMESTAMP: Final = 10
# Null, integers, floats, binary, text, bool, decimal, date, time, timestamp, fixed size binary, duration, large ones.
_PLAIN: Final = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 18, 19, 20})
_LISTS: Final = frozenset({12, 16, 21})
_NAMES: Final = {
    11: "interval",
    13: "struct",
    14: "union",
    17: "map",
    22: "run-end encoded",
    23: "binary view",
    24: "string view",
    25: "list view",
    26: "large list view",
}
# Metadata of version 4 is that of Arrow 0.8 to 0.15, version 5 that of all since.
_OLDEST_VERSION: Final = 3
_CODECS: Final = (0, 1)
_UNCOMPRESSED: Final = -1


class Limits(NamedTuple):
    """How much a stream may hold.

    Attributes:
        rows: most rows; None: the bytes alone limit them.
        bytes: most bytes once it is decoded, each value of a column counted as ``VALUE_BYTES`` at least.
        rows_setting: what sets ``rows``, for whoever is refused.
        bytes_setting: the same of ``bytes``.
    """

    rows: int | None
    bytes: int
    rows_setting: str = ""
    bytes_setting: str = ""


@dataclass(frozen=True)
class Stream:
    """A stream whose headers are within the limits; ``weight`` is how many bytes it counts as once it is decoded."""

    body: bytes
    weight: int

    def table(self, pool: pa.MemoryPool | None = None) -> pa.Table:
        """Decodes and validates; takes as long as it takes, so not for the event loop. Zones of times become UTC.

        Raises:
            RejectError: the body is no stream, or its values are not what its headers say.
        """
        # Without threads: one body is one processor's work.
        options = pa.ipc.IpcReadOptions(use_threads=False)
        try:
            with pa.ipc.open_stream(pa.py_buffer(self.body), options=options, memory_pool=pool) as stream:
                table = stream.read_all()
            table.validate(full=True)
        except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
            raise _no_stream(str(error)[:500]) from error
        return _in_utc(table)


class _Schema(NamedTuple):
    """The columns: ``nodes`` counts the fields of all levels, ``top`` and ``nulls`` tell which nodes are columns of the
    table and which hold nothing but nulls."""

    nodes: int
    top: frozenset[int]
    nulls: frozenset[int]


class _Message(NamedTuple):
    kind: int
    header: Table
    body: memoryview


def check(body: bytes, limits: Limits) -> Stream:
    """Reads the headers of a stream, and nothing else; takes time by their length.

    Raises:
        RejectError: the body is no stream, or has columns that are not plain. TooLargeError: it is beyond the limits.
    """
    try:
        return Stream(body, _weight(_messages(body), limits))
    except FlatbufferError as error:
        raise _no_stream(str(error)) from error


def _weight(messages: Iterator[_Message], limits: Limits) -> int:
    first = next(messages, None)
    if first is None or first.kind != _SCHEMA:
        raise FlatbufferError("it does not begin with a schema")
    schema = _schema(first.header)
    rows = weight = 0
    for message in messages:
        if message.kind != _BATCH:
            raise FlatbufferError("something else than record batches follows the schema")
        more, size = _batch(message, schema)
        rows, weight = rows + more, weight + size
        _limit(rows, weight, limits)
    return weight


def _messages(body: bytes) -> Iterator[_Message]:
    at = 0
    while at < len(body):
        if len(body) - at < _FRAME.size:
            raise FlatbufferError("it breaks off")
        mark, size = _FRAME.unpack_from(body, at)
        at += _FRAME.size
        if mark != _CONTINUATION or size < 0:
            raise FlatbufferError("no message begins where one is expected")
        if size == 0:
            return
        message = flatbuffer.root(body[at : at + size])
        header, length = message.table(2), message.number(3, _I64)
        at += size
        if header is None or not 0 <= length <= len(body) - at:
            raise FlatbufferError("it breaks off")
        if message.number(0, _I16) < _OLDEST_VERSION:
            raise FlatbufferError("it is of an old version of the format")
        yield _Message(message.number(1, _U8), header, memoryview(body)[at : at + length])
        at += length


def _schema(header: Table) -> _Schema:
    if header.number(0, _I16) != 0:
        raise FlatbufferError("its numbers are big-endian; write them little-endian")
    top: set[int] = set()
    nulls: set[int] = set()
    # Depth first, as the nodes of batches stand. A field may be pointed to many times, so visits are what counts.
    waiting = [(header, at, 0, "") for at in reversed(header.tables(1))]
    count = 0
    while waiting:
        parent, at, depth, column = waiting.pop()
        field = parent.child(at)
        column = column or field.text(0)
        kind = _kind(field, column)
        if depth == 0:
            top.add(count)
        if kind == _NULL:
            nulls.add(count)
        children = field.tables(5)
        if len(children) != (kind in _LISTS) or depth > _DEEPEST:
            raise _odd(column, "nested" if depth > _DEEPEST else "misshapen")
        waiting += [(field, child, depth + 1, column) for child in children]
        count += 1
        if count + len(waiting) > MOST_COLUMNS:
            raise TooLargeError(f"more than {MOST_COLUMNS} columns came", hint="Send those that the view has")
    if count == 0:
        raise FlatbufferError("it has no columns")
    return _Schema(count, frozenset(top), frozenset(nulls))


def _kind(field: Table, column: str) -> int:
    kind = field.number(2, _U8)
    if field.table(4) is not None:
        raise _odd(column, "dictionary")
    if kind not in _PLAIN | _LISTS:
        raise _odd(column, _NAMES.get(kind, "unknown"))
    if any(field.child(at).text(0) == "ARROW:extension:name" for at in field.tables(6)):
        raise _odd(column, "extension")
    form = field.table(3)
    if form is not None and kind == _TIMESTAMP:
        form.text(1)
    return kind


def _batch(message: _Message, schema: _Schema) -> tuple[int, int]:
    """Rows of a batch, and the bytes that it counts as."""
    header, body = message.header, message.body
    rows = header.number(0, _I64)
    nodes, buffers = header.structs(1, _PAIR), header.structs(2, _PAIR)
    if rows < 0 or len(nodes) != schema.nodes:
        raise FlatbufferError(f"a batch of {rows} rows has {len(nodes)} nodes, its schema {schema.nodes}")
    values = 0
    for index, (length, nulls) in enumerate(nodes):
        if not 0 <= nulls <= length or (index in schema.top and length != rows):
            raise FlatbufferError(f"a column of {length} values and {nulls} nulls came in a batch of {rows} rows")
        # Elements of lists are only as large as they are, so that embeddings count as what they take.
        if index in schema.top or index in schema.nulls:
            values += length
    return rows, max(values * VALUE_BYTES, _buffer_bytes(header, body, buffers))


def _buffer_bytes(header: Table, body: memoryview, buffers: list[tuple[int, ...]]) -> int:
    """What the buffers of a batch take in memory: as they are, or decompressed."""
    compression = header.table(3)
    if compression is not None and compression.number(0, _U8) not in _CODECS:
        raise FlatbufferError("its compression is neither LZ4 nor ZSTD")
    total = 0
    end = 0
    for start, length in buffers:
        # One behind the other: two that share bytes would be counted once and decoded twice.
        if length < 0 or start < 0 or start + length > len(body) or (length and start < end):
            raise FlatbufferError("a buffer is not within the message, or lies over another")
        end = max(end, start + length)
        total += length if compression is None else _claimed(body, start, length)
    return total


def _claimed(body: memoryview, start: int, length: int) -> int:
    """The size that a compressed buffer says it has: Arrow allocates it, and decompresses no further."""
    if length == 0:
        return 0
    if length < _I64.size:
        raise FlatbufferError("a compressed buffer breaks off")
    (size,) = _I64.unpack_from(body, start)
    if size == _UNCOMPRESSED:
        return length
    if size < 0:
        raise FlatbufferError(f"a compressed buffer says that it has {size} bytes")
    return int(size)


def _limit(rows: int, weight: int, limits: Limits) -> None:
    if limits.rows is not None and rows > limits.rows:
        raise TooLargeError(
            f"{rows} rows came, {limits.rows} at once are the most",
            hint=f"Send fewer at once, or raise {limits.rows_setting}",
            field="entities",
        )
    if weight > limits.bytes:
        raise TooLargeError(
            f"the body counts as {weight} bytes once it is decoded, {limits.bytes} are the most",
            hint=f"Send less at once, or raise {limits.bytes_setting}",
        )


def _in_utc(table: pa.Table) -> pa.Table:
    """Arrow keeps UTC under every zone, also under one that does not exist, so the zone is no part of the values."""
    fields = [
        pa.field(field.name, pa.timestamp(field.type.unit, "UTC"))
        if pa.types.is_timestamp(field.type) and field.type.tz not in (None, "UTC")
        else field
        for field in table.schema
    ]
    schema = pa.schema(fields, table.schema.metadata)
    if schema.equals(table.schema):
        return table
    arrays = [
        column if column.type == field.type else column.cast(pa.int64()).cast(field.type)
        for column, field in zip(table.columns, fields, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _odd(column: str, kind: str) -> RejectError:
    return RejectError(
        f"the column {shown(column, 100)} is of a type that is not taken: {kind}",
        hint="Send it as a plain type (pyarrow: column.cast, dictionary_decode), or leave it out",
        field=column[:100],
    )


def _no_stream(why: str) -> RejectError:
    return RejectError(f"the body is no Arrow IPC stream: {why}")
