"""What the gateway knows of views and deployments: a snapshot of the registry, kept while the registry is down."""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import Final

import httpx

from millrace_core.features.online.published import Snapshot, snapshot

logger = logging.getLogger(__name__)

# A request for a view that is not known yet asks the registry at once, but not more often than this.
_SECONDS_BETWEEN_EARLY_LOOKS: Final = 0.2
# Until it has definitions the gateway serves nothing, and it often starts beside the registry.
_SECONDS_BETWEEN_FIRST_LOOKS: Final = 0.2
_NOT_MODIFIED: Final = 304


class Definitions:
    """Keeps ``current`` as new as the registry; while the registry is down the last good one stays."""

    def __init__(self, client: httpx.AsyncClient, every: float) -> None:
        self.current = Snapshot()
        self.loaded = False
        self._client = client
        self._every = every
        self._failing = False
        self._looked = 0.0
        self._lock = asyncio.Lock()

    async def run(self) -> None:
        """Looks for changes until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(self._every if self.loaded else min(self._every, _SECONDS_BETWEEN_FIRST_LOOKS))

    async def look_again(self) -> bool:
        """Asks the registry now, unless that was done a moment ago; says whether the snapshot changed."""
        if monotonic() - self._looked < _SECONDS_BETWEEN_EARLY_LOOKS:
            return False
        before = self.current
        await self.refresh()
        return self.current is not before

    async def refresh(self) -> None:
        """Asks the registry once; a failure is logged when it begins and when it ends, and changes nothing."""
        async with self._lock:
            self._looked = monotonic()
            try:
                await self._fetch()
            except Exception as error:  # whatever came: nobody waits for ``run``, so nobody would see that it ended
                if not self._failing:
                    logger.warning("the registry gives no definitions (%r); the last good ones stay", error)
                self._failing = True
                return
            if self._failing:
                logger.info("the registry gives definitions again")
            self._failing = False
            self.loaded = True

    async def _fetch(self) -> None:
        known = {"if-none-match": self.current.etag} if self.current.etag else {}
        answer = await self._client.get("/v1/definitions", headers=known)
        if answer.status_code == _NOT_MODIFIED:
            return
        answer.raise_for_status()
        self.current = snapshot(answer.content, answer.headers.get("etag", ""))
