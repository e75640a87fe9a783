"""The copy of the registry's definitions that gateways keep in the online store, beside the rows.

By it a gateway starts while there is no registry. It is one string value under ``KEY``::

    {"format": 1, "catalogue": …, "revision": …, "etag": …, "bytes": …, "digest": "sha256:…"}\\n<zlib>

The first line is JSON, shorter than ``HEAD_BYTES``. The rest is the body of ``GET /v1/definitions``, compressed;
``bytes`` and ``digest`` are those of the body. No project is called ``_millrace``, so no row has this key.
"""

from __future__ import annotations

import hashlib
import zlib
from typing import Any, Final, NamedTuple

import orjson

from millrace_core.base.errors import ReportError
from millrace_core.features.online.edition import Edition

KEY: Final = b"_millrace:definitions"
FORMAT: Final = 1
HEAD_BYTES: Final = 512
# Why a copy cannot be read.
BAD: Final = "BadDefinitions"
# A store answers nobody else while it takes or gives one value, so a larger copy is not kept.
STORED_BYTES: Final = 8 * 1024 * 1024
# What a copy may grow to when it is read: far more than the stored bytes of any real one.
BODY_BYTES: Final = 256 * 1024 * 1024


class Head(NamedTuple):
    """What the first line says of the definitions: their edition, and the entity tag of the registry's answer."""

    edition: Edition
    etag: str


class Kept(NamedTuple):
    """A copy that was read."""

    head: Head
    body: bytes


def encode(head: Head, body: bytes) -> bytes:
    """The value to store.

    Raises:
        ReportError: it would be larger than ``STORED_BYTES`` (``TooLarge``).
    """
    line = {
        "format": FORMAT,
        **head.edition._asdict(),
        "etag": head.etag,
        "bytes": len(body),
        "digest": _digest(body),
    }
    value = orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) + zlib.compress(body)
    if len(value) > STORED_BYTES or len(body) > BODY_BYTES:
        raise ReportError(
            f"the definitions take {len(value)} bytes, of which {STORED_BYTES} at most are kept in the online store",
            hint="Without that copy a gateway cannot start while the registry is away",
            reason="TooLarge",
        )
    return value


def head(beginning: bytes) -> Head | None:
    """What the first ``HEAD_BYTES`` of a value say; None where they are none of this format."""
    line = _line(beginning)
    return None if line is None else _head(line)


def decode(value: bytes) -> Kept:
    """What a stored value holds.

    Raises:
        ReportError: it is none of this format, or damaged (``BadDefinitions``).
    """
    line = _line(value)
    if line is None:
        raise _bad(f"begins with {value[:40]!r}, a line of format {FORMAT} is expected")
    size, decompressor = line["bytes"], zlib.decompressobj()
    if size > BODY_BYTES:
        raise _bad(f"would have {size} bytes, {BODY_BYTES} at most are read")
    try:
        body = decompressor.decompress(value.partition(b"\n")[2], size + 1)
    except zlib.error as error:
        raise _bad(f"is damaged: {error}") from error
    if len(body) != size or _digest(body) != line["digest"]:
        raise _bad("is not what its digest says")
    return Kept(_head(line), body)


def _line(beginning: bytes) -> dict[str, Any] | None:
    try:
        line = orjson.loads(beginning[:HEAD_BYTES].partition(b"\n")[0])
    except orjson.JSONDecodeError:
        return None
    types = {"format": int, "catalogue": str, "revision": int, "etag": str, "bytes": int, "digest": str}
    if not isinstance(line, dict) or any(type(line.get(name)) is not kind for name, kind in types.items()):
        return None
    return line if line["format"] == FORMAT and line["bytes"] >= 0 else None


def _head(line: dict[str, Any]) -> Head:
    return Head(Edition(line["catalogue"], line["revision"]), line["etag"])


def _digest(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def _bad(what: str) -> ReportError:
    return ReportError(
        f"the copy of the definitions in the online store {what}",
        hint=f"The next answer of the registry replaces it; or delete the key {KEY.decode()}",
        reason=BAD,
    )
