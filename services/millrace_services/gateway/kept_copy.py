"""The copy of the definitions in the online store: every gateway writes it, and starts by it without a registry."""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import Final, Protocol

from millrace_core.base.errors import MillraceError
from millrace_core.features.online import kept_definitions
from millrace_core.features.online.kept_definitions import Head, Kept

logger = logging.getLogger(__name__)

# How often it is looked at whether the store still has the copy: it may have lost or evicted it, or refused it before.
_SECONDS_BETWEEN_LOOKS: Final = 30.0


class CopyStore(Protocol):
    """Where the copy is; raises ``MillraceError``."""

    async def kept_head(self) -> Head | None:
        """What the stored copy says of itself."""

    async def kept(self) -> Kept | None:
        """The stored copy."""

    async def keep(self, copy: bytes) -> None:
        """Stores a copy."""


class KeptCopy:
    """Keeps the copy as new as what the registry gave. It never fails: without a copy everything else works."""

    def __init__(self, store: CopyStore) -> None:
        self._store = store
        self._head: Head | None = None
        self._encoded = b""
        self._look_at = 0.0
        self._unreadable = False
        self._failing = False

    async def load(self) -> Kept | None:
        """The stored copy; None where there is none that can be read."""
        try:
            found = await self._store.kept()
        except MillraceError as error:
            self._unreadable = error.reason == kept_definitions.BAD
            self._failed("gives", error)
            return None
        self._failing = False
        return found

    async def take(self, head: Head, body: bytes) -> None:
        """Takes what the registry gave, to store it with the next ``see_to``."""
        self._head, self._encoded, self._look_at = head, b"", 0.0
        try:
            # Compressing holds no lock, and takes a tenth of a second for ten megabytes.
            self._encoded = await asyncio.to_thread(kept_definitions.encode, head, body)
        except MillraceError as error:
            self._failed("keeps", error)

    async def see_to(self) -> None:
        """Stores the copy that was taken, and from time to time looks whether it is still there.

        One of a later revision, by a gateway that asked later, stays.
        """
        if not self._encoded or self._head is None or monotonic() < self._look_at:
            return
        self._look_at = monotonic() + _SECONDS_BETWEEN_LOOKS
        try:
            there = None if self._unreadable else await self._store.kept_head()
            if there is None or not _serves(there, self._head):
                await self._store.keep(self._encoded)
        except MillraceError as error:
            self._failed("keeps", error)
            return
        self._unreadable = self._failing = False

    def _failed(self, verb: str, error: MillraceError) -> None:
        if not self._failing:
            logger.warning("the online store %s no copy of the definitions: %s", verb, error)
        self._failing = True


def _serves(there: Head, ours: Head) -> bool:
    """Whether the stored copy is the same, or a later one of the same catalogue."""
    if there.edition.catalogue != ours.edition.catalogue:
        return False
    return there.etag == ours.etag or there.edition.revision > ours.edition.revision
