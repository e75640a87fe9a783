"""What makes two predictions of one model the same: the bits of inputs, and the rows that features came from. Pure.

Bits, not values: -0.0 and 0.0 are told apart, as a model may divide by them, and so are NaNs with other bits. Equal
numbers have equal bits otherwise, so nothing is lost by it but hits among such values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Final

import numpy as np
import orjson

from millrace_core.evidence.record import FeatureValues
from millrace_services.inference.tensors import Array

# Of a key in bytes: no two that differ have been found to have one, so keys stand for what they are made of.
SIZE: Final = 32
# About what a text takes beside its reference.
_TEXT_BYTES: Final = 64


def key_of(feeds: Mapping[str, Array], outputs: Sequence[str], rows_read: bytes = b"") -> bytes:
    """The key of a prediction.

    Every part has its length before it, so that no two lists of parts make one text.

    Args:
        feeds: inputs by name, in any order; arrays of numbers, or of objects that are ``str`` or ``bytes``.
        outputs: the names asked for, in their order.
        rows_read: what tells the rows of features from others of the same values.
    """
    made = blake2b(digest_size=SIZE)
    made.update(_parts([rows_read, *(name.encode() for name in outputs)]))
    for name in sorted(feeds):
        array = feeds[name]
        kind = f"{array.dtype.str}{array.shape}"
        made.update(_parts([name.encode(), kind.encode()]))
        if array.dtype.kind == "O":
            made.update(_parts([_text(value) for value in array.flat]))
        else:
            made.update(array.tobytes())
    return made.digest()


def rows_read(features: FeatureValues) -> bytes:
    """Which rows features came from, by their event times: a newer one has an answer of its own also where its values
    are those of the row before."""
    return orjson.dumps([features.times, features.statuses])


def weight(feeds: Mapping[str, Array]) -> int:
    """About how many bytes a key is made of."""
    return sum(array.nbytes + (_TEXT_BYTES * array.size if array.dtype.kind == "O" else 0) for array in feeds.values())


def _parts(parts: Sequence[bytes]) -> bytes:
    lengths = np.array([len(parts), *map(len, parts)], "<u8").tobytes()
    return b"".join((lengths, *parts))


def _text(value: str | bytes) -> bytes:
    """Text and bytes of one form have keys of their own."""
    return b"b" + value if isinstance(value, bytes) else b"s" + value.encode("utf-8", "surrogatepass")
