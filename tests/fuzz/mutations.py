"""Bytes near to real ones: edits of seeds, such as a fuzzer makes them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from hypothesis import strategies as st

_NUMBERS: Final = [0, 1, -1, 2, 7, 8, 255, 2**15, 2**31 - 1, -(2**31), 2**32 - 1, 2**40, 2**62, 2**63 - 1, -(2**63)]
_WORDS: Final = [
    *(struct.pack("<q", number) for number in _NUMBERS),
    *(struct.pack("<I", number % 2**32) for number in _NUMBERS),
    *(str(number).encode() for number in _NUMBERS),
    *(b"\xff", b"\xed\xa0\x80", b"\0", b'"', b"[", b"{}", b"null", b"true", b"NaN", b"1e999", b"18446744073709551616"),
    *(b'"\\ud800"', b'"9999-99-99T99:99:99Z"', b'"Mars/Base"', b"[" * 1010 + b"]" * 1010, b"*a", b"&a", b"<<: ", b"\t"),
]


def mutated(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """A seed with a few edits; or any bytes at all."""
    place = st.integers(0, 2**16)
    edit = st.tuples(st.sampled_from(["put", "insert", "cut", "double", "flip"]), place, place, st.sampled_from(_WORDS))
    edits = st.lists(edit, min_size=1, max_size=6)
    near = st.tuples(st.sampled_from(list(seeds)), edits).map(lambda drawn: _edited(*drawn))
    return st.one_of(near, near, near, st.binary(max_size=200))


def _edited(body: bytes, edits: list[tuple[str, int, int, bytes]]) -> bytes:
    for kind, first, length, word in edits:
        at = first % (len(body) + 1)
        piece = body[at : at + length % 64]
        if kind == "put":
            body = body[:at] + word + body[at + len(word) :]
        elif kind == "insert":
            body = body[:at] + word + body[at:]
        elif kind == "cut":
            body = body[:at] + body[at + len(piece) :]
        elif kind == "double":
            body = body[:at] + piece * 2 + body[at:]
        elif at < len(body):
            body = body[:at] + bytes([body[at] ^ 1 << length % 8]) + body[at + 1 :]
    return body
