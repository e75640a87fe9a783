"""Slots of a cluster: which of the 16,384 parts a key belongs to.

Source: https://valkey.io/topics/cluster-spec/ (CRC16 of the XMODEM kind over the hash tag).
"""

from __future__ import annotations

from binascii import crc_hqx
from typing import Final

SLOTS: Final = 16384


def slot(key: bytes) -> int:
    """The slot of a key: of what its first braces enclose, if that is anything, else of all of it."""
    begin = key.find(b"{")
    if begin >= 0:
        end = key.find(b"}", begin + 1)
        if end > begin + 1:
            key = key[begin + 1 : end]
    return crc_hqx(key, 0) % SLOTS
