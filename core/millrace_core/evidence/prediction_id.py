"""The id of a prediction: the client's own where it is one, else made here."""

from __future__ import annotations

import random
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
    if header is not None and _ID.fullmatch(header):
        return header
    if request_id is not None and _ID.fullmatch(request_id):
        return request_id
    return made(time.time_ns() // 1_000_000, random.getrandbits(74))


def made(milliseconds: int, bits: int) -> str:
    """A UUIDv7 (RFC 9562, 5.7) of a moment since 1970 and 74 random bits. Takes no lock and keeps no state."""
    value = (milliseconds << 16 | 0x7000 | bits >> 62) << 64 | 1 << 63 | bits & (1 << 62) - 1
    text = value.to_bytes(16, "big").hex()  # a third of what formatting numbers takes
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
