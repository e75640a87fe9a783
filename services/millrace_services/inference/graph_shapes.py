"""Which inputs and outputs of an ONNX file have a shape at all: ONNX Runtime shows one of any rank as a scalar.

Reads the few fields that say so from the file's protobuf, and skips the weights. Numbers of fields:
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto; the encoding: https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_VARINT: Final = 0
_FIXED64: Final = 1
_BYTES: Final = 2
_FIXED32: Final = 5
_MODEL_GRAPH: Final = 7
_GRAPH_VALUES: Final = (11, 12)  # inputs, outputs
_VALUE_NAME: Final = 1
_VALUE_TYPE: Final = 2
_TYPE_TENSOR: Final = 1
_TENSOR_SHAPE: Final = 2
_MOST_BITS: Final = 70


def shaped(path: Path) -> frozenset[str] | None:
    """Names of the graph's inputs and outputs that have a shape; None where the file is no such protobuf."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
            return frozenset(_shaped(whole))
    except (ValueError, IndexError, UnicodeDecodeError):
        return None


def _shaped(file: mmap.mmap) -> Iterator[str]:
    for field, start, end in _fields(file, 0, len(file)):
        if field != _MODEL_GRAPH:
            continue
        for kind, first, last in _fields(file, start, end):
            if kind in _GRAPH_VALUES:
                name, has_shape = _value(file, first, last)
                if has_shape:
                    yield name


def _value(file: mmap.mmap, start: int, end: int) -> tuple[str, bool]:
    name, has_shape = "", False
    for field, first, last in _fields(file, start, end):
        if field == _VALUE_NAME:
            name = file[first:last].decode()
        elif field == _VALUE_TYPE:
            has_shape = any(
                inner == _TENSOR_SHAPE
                for kind, begin, stop in _fields(file, first, last)
                if kind == _TYPE_TENSOR
                for inner, _, _ in _fields(file, begin, stop)
            )
    return name, has_shape


def _fields(file: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, start and end of each field of a message."""
    while at < end:
        key, at = _varint(file, at)
        kind, start = key & 7, at
        if kind == _VARINT:
            _, at = _varint(file, at)
        elif kind == _BYTES:
            size, start = _varint(file, at)
            at = start + size
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(kind)
        if at > end:
            raise ValueError(at)
        yield key >> 3, start, at


def _varint(file: mmap.mmap, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, _MOST_BITS, 7):
        byte = file[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 the bit that says that more follow
            return value, at
    raise ValueError(at)
