"""The seam that downloads know: one object, read by byte ranges. Files, S3 and HTTP are behind it, a module each.

Every failure names the URI, without its secrets, and says whether a retry may help.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Final, NamedTuple, Protocol

CHUNK: Final = 1024 * 1024


class ObjectRange(NamedTuple):
    """What a read gives: the bytes from ``start`` on.

    ``size`` is the whole object's, None where the store does not say; ``tag`` changes when the object does; ``ranged``
    is False where the whole object is sent, whatever the range.
    """

    chunks: Iterator[bytes]
    size: int | None
    tag: str
    ranged: bool


class ObjectReader(Protocol):
    """A readable object. ``open`` may run in several threads at once."""

    def open(self, start: int, stop: int) -> AbstractContextManager[ObjectRange]:
        """The bytes from ``start`` up to, not including, ``stop``.

        Raises:
            RejectError: there is no such object, or access is denied.
            RetryError: the store cannot be reached, the connection broke off, or the object changed while it was read.
        """
