"""The id of a prediction: the client's own where it is one, else made here."""

from __future__ import annotations

import os
import re
import time
from typing import Final

HEADER: Final = "x-request-id"
ANSWER_HEADER: Final = "x-millrace-prediction-id"

_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def chosen(header: str | None, request_id: str | None = None) -> str:
    """The first of the two that is an id, else a new one.

    Args:
        header: the value of ``x-request-id``; None: there is none.
        request_id: the ``id`` of a request of the Open Inference Protocol v2.
    """
    for given in (header, request_id):
        if given is not None and _ID.fullmatch(given):
            return given
    return made(time.time_ns() // 1_000_000, os.urandom(10))


def made(milliseconds: int, random: bytes) -> str:
    """A UUIDv7 (RFC 9562, 5.7) of a moment since 1970 and 10 random bytes. Takes no lock and keeps no state."""
    value = (milliseconds & (1 << 48) - 1) << 80 | int.from_bytes(random[:10], "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
