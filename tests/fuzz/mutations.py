"""Bytes near to real ones: edits of seeds, such as a fuzzer makes them."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from typing import Any, Final

from hypothesis import strategies as st

from tests.fuzz.structures import edited

_NUMBERS: Final = [0, 1, -1, 2, 7, 8, 255, 2**15, 2**31 - 1, -(2**31), 2**32 - 1, 2**40, 2**62, 2**63 - 1, -(2**63)]
_WORDS: Final = [
    *(struct.pack("<q", number) for number in _NUMBERS),
    *(struct.pack("<I", number % 2**32) for number in _NUMBERS),
    *(str(number).encode() for number in _NUMBERS),
    *(b"\xff", b"\xed\xa0\x80", b"\0", b'"', b"[", b"{}", b"null", b"true", b"NaN", b"1e999", b"18446744073709551616"),
    *(b'"\\ud800"', b'"9999-99-99T99:99:99Z"', b'"Mars/Base"', b"[" * 1010 + b"]" * 1010, b"*a", b"&a", b"<<: ", b"\t"),
    *(b"9" * 4500, b"(" * 600, b"a" * 1200, b",1" * 400),
]


def mutated(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """A seed with a few edits, of its bytes or, where it is or ends with JSON, of its tree; or any bytes at all."""
    place = st.integers(0, 2**16)
    edit = st.tuples(st.sampled_from(["put", "insert", "cut", "double", "flip"]), place, place, st.sampled_from(_WORDS))
    edits = st.lists(edit, min_size=1, max_size=6)
    near = st.tuples(st.sampled_from(list(seeds)), edits).map(lambda drawn: _edited(*drawn))
    trees = [_trees(head, documents) for head, documents in _json(seeds)]
    return st.one_of(near, near, near, *trees[:1] * 3, *trees[1:], st.binary(max_size=200))


def _json(seeds: Sequence[bytes]) -> Iterator[tuple[bytes, list[Any]]]:
    """The documents among the seeds, by the line that stands before them, which is empty for most."""
    found: dict[bytes, list[Any]] = {}
    for seed in seeds:
        first, newline, rest = seed.partition(b"\n")
        for head, text in ((b"", seed), (first + newline, rest)):
            try:
                document = json.loads(text)
            except ValueError:
                continue
            found.setdefault(head, []).append(document)
            break
    yield from found.items()


def _trees(head: bytes, documents: Sequence[Any]) -> st.SearchStrategy[bytes]:
    return edited(documents).map(lambda body: head + body)


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
