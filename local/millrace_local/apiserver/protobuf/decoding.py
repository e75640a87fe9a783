"""From Kubernetes' protobuf form to the JSON form of the same object.

A body is four magic bytes and a ``runtime.Unknown`` that names the kind and holds the object. The table in
``fields.json.gz`` gives number, JSON name and type of every field; a type is written as ``s`` string, ``b`` bytes,
``i`` integer, ``t`` boolean, ``d`` double, ``q`` quantity, ``n`` integer or string, ``T`` time, ``M`` time with
microseconds, ``r`` raw JSON, ``l`` list of strings in a message, ``m…`` a message by name; before it ``*`` for a
pointer, ``!`` for what JSON always has, ``[]`` for a list and ``{}`` for a map. Go writes zeros of everything that is
no pointer, so elsewhere a zero means that the field is absent.

Source: ``k8s.io/apimachinery/pkg/runtime/serializer/protobuf`` and the protocol buffers encoding specification.
"""

from __future__ import annotations

import base64
import functools
import gzip
import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib import resources
from typing import Any

import orjson

from millrace_core.base.errors import RejectError

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_CONTINUED, _SEVEN_BITS, _LONGEST = 0x80, 0x7F, 70
_SIGN, _WRAP = 1 << 63, 1 << 64
_Field = tuple[int, Any]  # number and value: an int, or bytes


class UndecodableError(RejectError):
    """The body is no Kubernetes protobuf."""

    reason = "BadRequest"


class UnknownMessageError(UndecodableError):
    """The body is of a kind that is not in the table."""


@functools.cache
def _table() -> dict[str, Any]:
    packed = resources.files(__package__).joinpath("fields.json.gz").read_bytes()
    table: dict[str, Any] = orjson.loads(gzip.decompress(packed))
    return table


def decode(body: bytes) -> dict[str, Any]:
    """The object in a request body.

    Raises:
        UndecodableError: the body is cut off or garbled, or its kind is not known.
    """
    if not body.startswith(_MAGIC):
        raise UndecodableError("the body does not begin as Kubernetes protobuf does", hint="Send JSON")
    try:
        envelope = dict(_fields(body[len(_MAGIC) :]))
        named = dict(_fields(envelope.get(1, b"")))
        api_version, kind = named.get(1, b"").decode(), named.get(2, b"").decode()
        # Each group has the same DeleteOptions under its own version.
        message = _table()["kinds"].get(f"{'v1' if kind == 'DeleteOptions' else api_version} {kind}")
        if message is None:
            raise UnknownMessageError(f"{kind} in {api_version!r} is not read as protobuf", hint="Send JSON")
        return {"apiVersion": api_version, "kind": kind, **_message(envelope.get(2, b""), message)}
    except UndecodableError:
        raise
    except (IndexError, ValueError, struct.error, TypeError) as error:
        raise UndecodableError(f"the body is not valid protobuf: {error}", hint="Send it whole, or as JSON") from error


def _fields(data: bytes) -> Iterator[_Field]:
    """The (number, value) pairs of a message as they stand."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        wire = key & 7
        if wire == _VARINT:
            value, position = _varint(data, position)
            yield key >> 3, value
            continue
        if wire == _BYTES:
            size, position = _varint(data, position)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {wire} is not in use")
        if position + size > len(data):
            raise ValueError("it ends in the middle of a field")
        yield key >> 3, data[position : position + size]
        position += size


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while shift < _LONGEST:
        byte = data[position]
        position += 1
        value |= (byte & _SEVEN_BITS) << shift
        if byte < _CONTINUED:
            return value, position
        shift += 7
    raise ValueError("an integer is too long")


def _message(data: bytes, name: str) -> dict[str, Any]:
    known = _table()["messages"][name]
    found: dict[str, Any] = {}
    for number, raw in _fields(data):
        field = known.get(str(number))
        if field is not None:
            _take(found, field[0], field[1], raw)
    return found


def _take(found: dict[str, Any], name: str, code: str, raw: Any) -> None:
    if code.startswith("{}"):
        entry = dict(_fields(raw))
        value = _value(code[2:], entry.get(2, 0 if code[2] in "it" else b""))
        found.setdefault(name, {})[entry.get(1, b"").decode()] = value
    elif code.startswith("[]"):
        found.setdefault(name, []).extend(_items(code[2:], raw))
    elif code[0] in "*!":
        found[name] = _value(code[1:], raw)
    else:
        value = _value(code, raw)
        if not name:
            found.update(value)
        elif value:
            found[name] = value


def _items(code: str, raw: Any) -> list[Any]:
    if code in ("i", "t") and isinstance(raw, bytes):  # packed
        values, position = [], 0
        while position < len(raw):
            number, position = _varint(raw, position)
            values.append(_value(code, number))
        return values
    return [_value(code, raw)]


def _value(code: str, raw: Any) -> Any:
    if code.startswith("m"):
        return _message(raw, code[1:])
    return _SCALARS[code](raw)


def _integer(raw: int) -> int:
    return raw - _WRAP if raw & _SIGN else raw


def _quantity(raw: bytes) -> str:
    text: bytes = dict(_fields(raw)).get(1, b"0")
    return text.decode()


def _int_or_string(raw: bytes) -> int | str:
    parts = dict(_fields(raw))
    if parts.get(1):
        text: bytes = parts.get(3, b"")
        return text.decode()
    return _integer(parts.get(2, 0))


def _time(raw: bytes) -> str | None:
    parts = dict(_fields(raw))
    if not parts.get(1):
        return None
    return datetime.fromtimestamp(_integer(parts[1]), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _micro_time(raw: bytes) -> str | None:
    parts = dict(_fields(raw))
    if not parts.get(1):
        return None
    whole = datetime.fromtimestamp(_integer(parts[1]), UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{parts.get(2, 0) // 1000:06d}Z"


def _raw_json(raw: bytes) -> Any:
    text = dict(_fields(raw)).get(1, b"")
    return orjson.loads(text) if text else {}


_SCALARS: dict[str, Callable[[Any], Any]] = {
    "s": bytes.decode,
    "b": lambda raw: base64.b64encode(raw).decode(),
    "i": _integer,
    "t": bool,
    "d": lambda raw: struct.unpack("<d", raw)[0],
    "q": _quantity,
    "n": _int_or_string,
    "T": _time,
    "M": _micro_time,
    "r": _raw_json,
    "l": lambda raw: [item.decode() for _, item in _fields(raw)],
}
