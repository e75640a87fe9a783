"""Which ids are kept: a hash of the id decides, so that records that share it are kept or dropped together."""

from __future__ import annotations

import hashlib
from typing import Final

_WHOLE: Final = 1 << 64


def keeps(identity: str, fraction: float) -> bool:
    """Whether the records of an id are kept, where ``fraction`` (0 to 1) of all ids are.

    What a smaller fraction keeps, a larger one keeps too.
    """
    if fraction >= 1:
        return True
    found = hashlib.blake2b(identity.encode(), digest_size=8).digest()
    return int.from_bytes(found, "big") < fraction * _WHOLE
