"""The names of children, and the hashes in them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import orjson

# Letters and digits that spell no words and are hard to confuse; the same ones Kubernetes generates names from.
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
LONGEST_BASE = 57


def short_hash(value: Any, length: int = 10) -> str:
    """A hash of a JSON value, safe within names and labels, the same on every machine."""
    digest = hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).digest()
    number = int.from_bytes(digest)
    letters = []
    for _ in range(length):
        number, place = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[place])
    return "".join(letters)


def free_names(base: str, uid: str, is_taken: Callable[[str], bool]) -> Iterator[str]:
    """Names for new children of the owner ``uid``, one after another, skipping those taken, by whomever.

    They follow from the owner alone, so a creation repeated from a late copy meets the name it made and does no harm.
    """
    for ordinal in count():
        name = f"{base[:LONGEST_BASE]}-{short_hash([uid, ordinal], 5)}"
        if not is_taken(name):
            yield name
