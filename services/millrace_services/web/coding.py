"""Content codings of bodies (RFC 9110 8.4): gzip and deflate.

Both are undone up to a limit and no further, whatever the body claims or hides.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Final

from millrace_core.base.errors import RejectError
from millrace_core.base.shown import shown
from millrace_services.web.errors import Header, MediaTypeError
from millrace_services.web.hot import too_large
from millrace_services.web.settings import ServerSettings

GZIP: Final = b"gzip"
_ENCODING: Final = b"content-encoding"
_ZLIB_OR_GZIP: Final = 32 + zlib.MAX_WBITS
_AS_GZIP: Final = 16 + zlib.MAX_WBITS
_CODINGS: Final = frozenset({b"gzip", b"x-gzip", b"deflate"})
# Members of one body; files that were appended to have several, and each costs a call.
_MOST_MEMBERS: Final = 1024
_FASTEST: Final = 1


def decoded(body: bytes, coding: bytes, settings: ServerSettings) -> bytes:
    """A body as it was before ``Content-Encoding``; never more of it than ``settings.max_body_bytes`` is written.

    Raises:
        MediaTypeError: the coding is not known. RejectError: the body is not of that coding, or is cut off.
        TooLargeError: it has more bytes.
    """
    coding = coding.strip().lower()
    if coding in (b"", b"identity"):
        return body
    if coding not in _CODINGS:
        raise MediaTypeError(
            f"Content-Encoding: {shown(coding.decode('latin-1'), 40)} came, gzip or deflate is expected, once",
            field="Content-Encoding",
        )
    parts: list[bytes] = []
    left, rest = settings.max_body_bytes, body
    for _ in range(_MOST_MEMBERS):
        reader = zlib.decompressobj(_ZLIB_OR_GZIP)
        try:
            part = reader.decompress(rest, left + 1)
        except zlib.error as error:
            raise RejectError(f"the body is not {coding.decode()}: {error}", field="Content-Encoding") from error
        left -= len(part)
        if left < 0:
            raise too_large(settings)
        parts.append(part)
        if not reader.eof:
            raise RejectError(f"the body is {coding.decode()} that is cut off", field="Content-Encoding")
        rest = reader.unused_data
        if not rest:
            return b"".join(parts)
    raise RejectError(f"the body is {coding.decode()} of more than {_MOST_MEMBERS} members", field="Content-Encoding")


def refusal(headers: Iterable[Header]) -> MediaTypeError | None:
    """Why a server that undoes no coding does not take a request with these headers; None where it does."""
    for name, value in headers:
        if name == _ENCODING and value.strip().lower() not in (b"", b"identity"):
            came = shown(value.decode("latin-1"), 40)
            return MediaTypeError(
                f"Content-Encoding: {came} came, and this server takes bodies as they are",
                hint="Send it without a coding",
                field="Content-Encoding",
            )
    return None


def takes_gzip(accepted: bytes) -> bool:
    """Whether the header ``Accept-Encoding`` asks for gzip."""
    for each in accepted.lower().split(b","):
        name, _, weight = each.partition(b";")
        if name.strip() in (b"gzip", b"x-gzip"):
            return weight.replace(b" ", b"").strip() not in (b"q=0", b"q=0.0", b"q=0.00", b"q=0.000")
    return False


def gzipped(body: bytes) -> bytes:
    """The body as gzip, by the fastest of its ways."""
    return zlib.compress(body, _FASTEST, _AS_GZIP)
