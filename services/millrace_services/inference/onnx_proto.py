"""The parts of an ONNX file that ONNX Runtime does not tell, read from protobuf's wire format under limits.

The file may be anything: every length is checked against what holds it, depth and numbers are bounded, and nothing is
allocated that was only claimed. Sources: https://protobuf.dev/programming-guides/encoding and onnx/onnx.proto (field
numbers).
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from millrace_core.base.errors import RejectError

# What holds the bytes: an mmap of the file, or bytes.
Buffer = Any

_DEPTH: Final = 100
_FIELDS: Final = 5_000_000
_HEAD_BYTES: Final = 64
# How files begin that are not the model that their name says, in lower case.
_INSTEAD: Final = {
    b"version https://git-lfs": "it is a pointer of Git LFS, and not the file that this stands for",
    b"<!doctype html": "it is a page of HTML, as servers answer who is not signed in",
    b"<html": "it is a page of HTML, as servers answer who is not signed in",
    b"<?xml": "it is XML, as object stores write their errors",
    b"pk\x03\x04": "it is a ZIP archive, as PyTorch and numpy save",
    b"\x1f\x8b": "it is packed by gzip",
}
_VARINT_BYTES: Final = 10
# The bit of a byte that says that another follows.
_MORE: Final = 0x80
_NAME_BYTES: Final = 4096
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_FIXED: Final = {_FIXED64: 8, _FIXED32: 4}
# Attributes list their numbers one by one, and trees have millions: a run of them is one step. Fields 7 and 8.
_RUNS: Final = {
    0x3D: re.compile(rb"(?:\x3d.{4}){2,}+", re.DOTALL),
    0x40: re.compile(rb"(?:\x40[\x80-\xff]{0,9}+[\x00-\x7f]){2,}+"),
}

MODEL_GRAPH: Final = 7
# Where a tensor may be, by the kind of message: field number to the kind of what it holds.
_INSIDE: Final = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_LOCATION: Final = b"location"


class Field(NamedTuple):
    """One field of a message: its number, its wire type, and where its value begins and ends.

    Of a varint, ``value`` is the number.
    """

    number: int
    kind: int
    start: int
    stop: int
    value: int = 0


class WireError(ValueError):
    """The bytes are no message of protobuf."""


def fields(buffer: Buffer, start: int, stop: int, budget: list[int] | None = None) -> Iterator[Field]:
    """The fields of the message between two offsets; runs of packed-like numbers may come as one field.

    Args:
        budget: how many fields may still be read, in its only item.

    Raises:
        WireError: a length leads beyond the end, or a number or type is none.
    """
    left = budget if budget is not None else [_FIELDS]
    position = start
    while position < stop:
        left[0] -= 1
        if left[0] < 0:
            raise WireError("it has more parts than are looked at")
        run = _RUNS.get(buffer[position])
        if run is not None and (found := run.match(buffer, position, stop)):
            tag = buffer[position]
            yield Field(tag >> 3, tag & 7, position, found.end())
            position = found.end()
            continue
        tag, position = varint(buffer, position, stop)
        number, kind = tag >> 3, tag & 7
        value = 0
        if kind == _VARINT:
            begin = position
            value, position = varint(buffer, position, stop)
        elif kind == _LENGTH:
            length, begin = varint(buffer, position, stop)
            position = begin + length
        elif kind in _FIXED:
            begin = position
            position += _FIXED[kind]
        else:
            raise WireError(f"there is no wire type {kind}")
        if position > stop or number == 0:
            raise WireError("it is cut off, or no message of protobuf")
        yield Field(number, kind, begin, position, value)


def varint(buffer: Buffer, position: int, stop: int) -> tuple[int, int]:
    """A variable-length number, and the offset behind it.

    Raises:
        WireError: it does not end within 10 bytes, or within the message.
    """
    value = 0
    for shift in range(0, 7 * _VARINT_BYTES, 7):
        if position >= stop:
            raise WireError("it is cut off within a number")
        byte = buffer[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < _MORE:
            return value, position
    raise WireError("a number has more than 10 bytes")


def external_files(path: Path, shown: str = "") -> list[str]:
    """The names of the files, beside the model, that hold some of its tensors: as they are written, sorted, once each.

    Args:
        shown: how messages call the model.

    Raises:
        RejectError: the file is no ONNX model (``BadModel``).
    """
    with path.open("rb") as file:
        size = path.stat().st_size
        if size == 0:
            raise _no_model(shown or str(path), size, "it is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as buffer:
            try:
                _require_graph(buffer, size)
                # No tensor is outside where the key of its place is nowhere: most models need no closer look.
                if buffer.find(_LOCATION) < 0:
                    return []
                return sorted(set(_locations(buffer, "model", 0, size, [_FIELDS])))
            except (WireError, UnicodeDecodeError) as error:
                raise _no_model(shown or str(path), size, _known_as(buffer) or str(error)) from error


def _require_graph(buffer: Buffer, size: int) -> None:
    known = {(field.number, field.kind) for field in fields(buffer, 0, size)}
    if (MODEL_GRAPH, _LENGTH) not in known:
        raise WireError("it has no graph")


def _locations(buffer: Buffer, message: str, start: int, stop: int, budget: list[int], depth: int = 0) -> Iterator[str]:
    if depth > _DEPTH:
        raise WireError(f"it is nested more than {_DEPTH} deep")
    inside = _INSIDE[message]
    for field in fields(buffer, start, stop, budget):
        kind = inside.get(field.number) if field.kind == _LENGTH else None
        if kind == "entry":
            key, value = _entry(buffer, field, budget)
            if key == _LOCATION:
                yield value.decode()
        elif kind is not None:
            yield from _locations(buffer, kind, field.start, field.stop, budget, depth + 1)


def _entry(buffer: Buffer, entry: Field, budget: list[int]) -> tuple[bytes, bytes]:
    found = {_ENTRY_KEY: b"", _ENTRY_VALUE: b""}
    for field in fields(buffer, entry.start, entry.stop, budget):
        if field.kind == _LENGTH and field.number in found:
            if field.stop - field.start > _NAME_BYTES:
                raise WireError(f"the name of a file with external data has more than {_NAME_BYTES} bytes")
            found[field.number] = bytes(buffer[field.start : field.stop])
    return found[_ENTRY_KEY], found[_ENTRY_VALUE]


def _known_as(buffer: Buffer) -> str:
    """What the file is instead, where it begins like one of those that are often taken for a model; else empty."""
    head = bytes(buffer[:_HEAD_BYTES]).lstrip().lower()
    return next((name for begin, name in _INSTEAD.items() if head.startswith(begin)), "")


def _no_model(shown: str, size: int, why: str) -> RejectError:
    return RejectError(
        f"{shown} ({size} bytes) is not an ONNX model: {why}",
        hint="The file may be cut off or of another format; export and upload it again",
        field="spec.model.uri",
        reason="BadModel",
    )
