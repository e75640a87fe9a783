"""Predictions of one shape, gathered column by column while they come.

Whoever makes columns of records takes the interpreter for each of them, and requests wait meanwhile. So what has to be
done for a record by itself is done when it comes, in a microsecond, and a column is later made of all of them at once.
A small tensor is kept as its bytes behind those of the others: nothing that came with a request outlives it for that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import numpy as np

from millrace_core.evidence.record import Array, PredictionRecord

# Bytes of a tensor from which a reference is kept: a copy takes longer than it saves.
_SMALL: Final = 16 * 1024
# Records that become columns at once, and bytes that are gathered at most before they do.
MOST: Final = 1024
_MOST_BYTES: Final = 4 * 1024**2
_NUMBERS: Final = "biufc"
_HEAD: Final = 10
_FIELDS: Final = PredictionRecord._fields[:_HEAD]


class Gathered:
    """Predictions whose tensors have the same names, types and shapes, and the same entities, features and fields.

    Attributes:
        heads: of each its attributes from ``id`` to ``cached``.
        joined: of each its entities, features and fields; empty where none has any.
        size: bytes that they hold, about.
    """

    __slots__ = ("_inputs", "_joins", "_outputs", "heads", "joined", "size")

    def __init__(self, first: PredictionRecord) -> None:
        self.size = 0
        self.heads: list[tuple[Any, ...]] = []
        self.joined: list[tuple[Any, Any, Any]] = []
        self._joins = bool(first.entities or first.fields or first.features is not None)
        self._inputs = {name: _column(value, first.rows) for name, value in first.inputs.items()}
        self._outputs = {name: _column(value, first.rows) for name, value in first.outputs.items()}

    def __len__(self) -> int:
        return len(self.heads)

    def add(self, record: PredictionRecord, size: int) -> None:
        """Takes one more of the same shape, of about ``size`` bytes."""
        self.size += size
        self.heads.append(record[:_HEAD])
        if self._joins:
            self.joined.append((record.entities, record.features, record.fields))
        for name, value in record.inputs.items():
            self._inputs[name].add(value)
        for name, value in record.outputs.items():
            self._outputs[name].add(value)

    def heads_by_name(self) -> dict[str, tuple[Any, ...]]:
        """The attributes from ``id`` to ``cached``, each of all predictions."""
        return dict(zip(_FIELDS, zip(*self.heads, strict=True), strict=True))

    def tensors(self) -> Iterable[tuple[str, Array | list[Array]]]:
        """Columns of inputs and outputs: where each prediction has one row, all rows; else the tensor of each."""
        for kind, columns in (("input", self._inputs), ("output", self._outputs)):
            for name, column in columns.items():
                yield f"{kind}.{name}", column.values(len(self))

    def apart(self) -> list[Gathered]:
        """Each prediction by itself."""
        return [self._one(at) for at in range(len(self))]

    def _one(self, at: int) -> Gathered:
        one = Gathered.__new__(Gathered)
        one.size, one.heads, one.joined, one._joins = 0, [self.heads[at]], self.joined[at : at + 1], self._joins
        one._inputs = {name: column.one(at) for name, column in self._inputs.items()}
        one._outputs = {name: column.one(at) for name, column in self._outputs.items()}
        return one


class Gathering:
    """Predictions on their way to a log, by their shapes. For one thread, such as an event loop's.

    Args:
        take: gets what was gathered.
    """

    def __init__(self, take: Callable[[Gathered], None]) -> None:
        self._take = take
        self._open: dict[Any, Gathered] = {}
        self._size = 0

    def add(self, record: PredictionRecord, size: int) -> None:
        """Takes a prediction of about ``size`` bytes."""
        key = shape_of(record)
        found = self._open.get(key)
        if found is None:
            found = self._open[key] = Gathered(record)
        found.add(record, size)
        self._size += size
        if len(found.heads) >= MOST or self._size >= _MOST_BYTES:
            self.flush()

    def flush(self) -> None:
        """Gives on all that there is."""
        given, self._open, self._size = self._open, {}, 0
        for each in given.values():
            self._take(each)


def gathered(records: Iterable[PredictionRecord]) -> list[Gathered]:
    """The same of records that are all there."""
    found: list[Gathered] = []
    gathering = Gathering(found.append)
    for each in records:
        gathering.add(each, 0)
    gathering.flush()
    return found


def shape_of(record: PredictionRecord) -> Any:
    """What predictions that are gathered together have alike."""
    rows = record.rows
    key: list[Any] = [rows if rows == 1 else 0]
    for tensors in (record.inputs, record.outputs):
        for name, value in tensors.items():
            shape = value.shape
            if rows != 1:
                shape = (None, *shape[1:]) if shape and shape[0] == rows else (rows, shape)
            key += (name, value.dtype.char, shape)
        key.append(None)
    if record.entities or record.fields or record.features is not None:
        features = tuple(record.features.values) if record.features is not None else None
        key += (tuple(record.entities), tuple(record.fields), features)
    return tuple(key)


class _Packed:
    """A tensor of one row per prediction, as bytes."""

    __slots__ = ("_bytes", "_shape", "_type")

    def __init__(self, shape: Sequence[int], kind: np.dtype[Any]) -> None:
        self._shape, self._type = tuple(shape), kind
        self._bytes: list[bytes] = []

    def add(self, value: Array) -> None:
        """Takes that of one more prediction."""
        self._bytes.append(value.tobytes())

    def values(self, count: int) -> Array:
        """All rows."""
        return np.frombuffer(b"".join(self._bytes), self._type).reshape(count, *self._shape)

    def one(self, at: int) -> _Packed:
        """The row of one prediction alone."""
        one = _Packed(self._shape, self._type)
        one._bytes.append(self._bytes[at])
        return one


class _Kept:
    """A tensor as it came."""

    __slots__ = ("_all",)

    def __init__(self) -> None:
        self._all: list[Array] = []

    def add(self, value: Array) -> None:
        """Takes that of one more prediction."""
        self._all.append(value)

    def values(self, _: int) -> list[Array]:
        """That of each prediction."""
        return self._all

    def one(self, at: int) -> _Kept:
        """That of one prediction alone."""
        one = _Kept()
        one.add(self._all[at])
        return one


def _column(value: Array, rows: int) -> _Packed | _Kept:
    if rows != 1 or value.dtype.kind not in _NUMBERS or not 0 < value.nbytes <= _SMALL:
        return _Kept()
    by_row = bool(value.ndim) and value.shape[0] == 1
    return _Packed(value.shape[1:] if by_row else value.shape, value.dtype)
