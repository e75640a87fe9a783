"""Reads flatbuffers that may lie: every position is checked, and a default stands where a field is absent.

Format: https://flatbuffers.dev/internals/ (all numbers are little-endian). Only what Arrow's headers hold is here.
"""

from __future__ import annotations

import struct
from typing import Final

_U16: Final = struct.Struct("<H")
_I32: Final = struct.Struct("<i")
_U32: Final = struct.Struct("<I")
# Before the fields of a vtable stand its size and that of the table.
_VTABLE_HEAD: Final = 4


class FlatbufferError(ValueError):
    """Bytes that are no flatbuffer, or not the one that is expected."""


class Table:
    """A table; fields are called by their number in the schema.

    Args:
        data: the whole flatbuffer.
        at: where the table begins.
    """

    __slots__ = ("_at", "_data", "_slots", "_vtable")

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at
        self._vtable = at - _read(_I32, data, at)
        self._slots = (_read(_U16, data, self._vtable) - _VTABLE_HEAD) // _U16.size

    def number(self, field: int, form: struct.Struct, default: int = 0) -> int:
        """An integer or an enumeration's value."""
        at = self._field(field)
        return default if at is None else _read(form, self._data, at)

    def table(self, field: int) -> Table | None:
        """A table within this one; None where it is absent."""
        at = self._field(field)
        return None if at is None else Table(self._data, self._target(at))

    def tables(self, field: int) -> list[int]:
        """Where the tables of a vector begin, for ``Table``."""
        at, count = self._vector(field, _U32.size)
        return [self._target(each) for each in range(at, at + count * _U32.size, _U32.size)]

    def child(self, at: int) -> Table:
        """The table that begins there."""
        return Table(self._data, at)

    def text(self, field: int) -> str:
        """A string; empty where it is absent.

        Raises:
            FlatbufferError: it is no UTF-8.
        """
        at, count = self._vector(field, 1)
        try:
            return self._data[at : at + count].decode()
        except UnicodeDecodeError as error:
            raise FlatbufferError("a name is no UTF-8") from error

    def structs(self, field: int, form: struct.Struct) -> list[tuple[int, ...]]:
        """The structs of a vector; empty where it is absent."""
        at, count = self._vector(field, form.size)
        return list(form.iter_unpack(self._data[at : at + count * form.size]))

    def _field(self, field: int) -> int | None:
        if field >= self._slots:
            return None
        offset = _read(_U16, self._data, self._vtable + _VTABLE_HEAD + field * _U16.size)
        return self._at + offset if offset else None

    def _target(self, at: int) -> int:
        return at + _read(_U32, self._data, at)

    def _vector(self, field: int, size: int) -> tuple[int, int]:
        """Where the elements of a vector begin, and how many there are."""
        at = self._field(field)
        if at is None:
            return 0, 0
        start = self._target(at)
        count = _read(_U32, self._data, start)
        if start + _U32.size + count * size > len(self._data):
            raise FlatbufferError(f"{count} elements are said to be where there are fewer")
        return start + _U32.size, count


def root(data: bytes) -> Table:
    """The table that a flatbuffer is.

    Raises:
        FlatbufferError: the bytes are none; so do all methods of tables.
    """
    return Table(data, _read(_U32, data, 0))


def _read(form: struct.Struct, data: bytes, at: int) -> int:
    if not 0 <= at <= len(data) - form.size:
        raise FlatbufferError("a position is outside of the header")
    (value,) = form.unpack_from(data, at)
    return int(value)
