"""What the gateway knows of views, deployments and experiments: the newest that a registry gave, come what may.

It starts by the registry's answer or, where there is none, by the copy in the online store, and refuses answers that
would put less in the place of what it has (``millrace_core.features.online.edition``).
"""

from __future__ import annotations

import asyncio
import logging
from math import nan
from time import monotonic
from typing import Final, Protocol

import httpx

from millrace_core.base.bearer import OPEN, Bearer
from millrace_core.base.errors import RetryError
from millrace_core.experiments.published import Experiments, experiments
from millrace_core.features.online.edition import CATALOGUE, REVISION, Edition, refusal
from millrace_core.features.online.kept_definitions import Head, Kept
from millrace_core.features.online.published import Snapshot, snapshot

logger = logging.getLogger(__name__)

# A request for a view that is not known yet asks the registry at once, but not more often than this.
_SECONDS_BETWEEN_EARLY_LOOKS: Final = 0.2
# Until it has definitions the gateway serves nothing, and it often starts beside the registry.
_SECONDS_BETWEEN_FIRST_LOOKS: Final = 0.2
# So long a start waits for the registry, whose address may be gone without a word, before it takes the copy.
_FIRST_ANSWER_SECONDS: Final = 1.0
_NOT_MODIFIED: Final = 304


class Copy(Protocol):
    """A copy for the time in which there is no registry; it never fails."""

    async def load(self) -> Kept | None:
        """The copy; None where there is none."""

    async def take(self, head: Head, body: bytes) -> None:
        """Takes what the registry gave."""

    async def see_to(self) -> None:
        """Keeps what was taken."""


class Definitions:
    """Keeps ``current`` as new as the registry; while the registry is down the last good one stays."""

    def __init__(self, client: httpx.AsyncClient, every: float, copy: Copy, bearer: Bearer = OPEN) -> None:
        self.current = Snapshot()
        self.experiments = Experiments()
        self.loaded = False
        self._client = client
        self._every = every
        self._copy = copy
        self._bearer = bearer
        self._edition = Edition()
        self._given: bytes | None = None
        self._failure = ""
        self._confirmed = nan
        self._looked = 0.0
        self._lock = asyncio.Lock()
        self._first = asyncio.Event()

    @property
    def age(self) -> float:
        """Seconds since the registry last said that ``current`` is its newest; NaN before it did."""
        return monotonic() - self._confirmed

    async def first_look(self) -> None:
        """Waits until there is something to answer by, or until it is clear that there is nothing just now."""
        await self._first.wait()

    async def run(self) -> None:
        """Looks for changes until cancelled."""
        asking = asyncio.create_task(self.refresh())
        try:
            await asyncio.wait({asking}, timeout=_FIRST_ANSWER_SECONDS)
            await self._load()
            self._first.set()
            await asking
        finally:
            asking.cancel()
        while True:
            await self._keep()
            await asyncio.sleep(self._every if self.loaded else min(self._every, _SECONDS_BETWEEN_FIRST_LOOKS))
            await self.refresh()
            await self._load()

    async def look_again(self) -> bool:
        """Asks the registry, a moment after it was last asked at the earliest; says whether the snapshot changed.

        Calls that wait at once share one question, which begins after each of them, so its answer has all that was
        saved before they came.

        Raises:
            RetryError: the registry gives no answer, so what is not known here may exist all the same.
        """
        before, came = self.current, monotonic()
        await asyncio.sleep(max(0.0, self._looked + _SECONDS_BETWEEN_EARLY_LOOKS - came))
        await self.refresh(unless_since=came)
        if self._failure and self.current is before:
            raise RetryError(
                "the gateway knows of no such definition, and the registry gives no newer ones just now",
                reason="DefinitionsUnavailable",
                delay=2,
            )
        return self.current is not before

    async def refresh(self, unless_since: float | None = None) -> None:
        """Asks the registry once; a failure is logged when it begins, when it is another, when it ends.

        Args:
            unless_since: by ``monotonic``; where a question began after it, its answer is waited for instead.
        """
        async with self._lock:
            if unless_since is not None and self._looked > unless_since:
                return
            self._looked = monotonic()
            try:
                refused = await self._fetch()
            except Exception as error:  # whatever came: nobody waits for ``run``, so nobody would see that it ended
                refused = repr(error)
            before, self._failure = self._failure, refused
            if refused:
                if refused != before:
                    logger.warning("the registry gives no definitions, the last good ones stay: %s", refused)
                return
            if before:
                logger.info("the registry gives definitions again")
            self._confirmed = monotonic()
            self.loaded = True

    async def _fetch(self) -> str:
        """Takes the registry's answer; why not, where it must not be taken."""
        answer = await self._ask(self.current.etag)
        came = _edition(answer)
        if answer.status_code == _NOT_MODIFIED:
            if came.catalogue == self._edition.catalogue:
                self._edition = max(self._edition, came)
                return ""
            # The same definitions, but of another catalogue, with which they are kept from now on.
            answer = await self._ask("")
            came = _edition(answer)
        answer.raise_for_status()
        # Expressions are parsed and bound there.
        found, its_experiments = await asyncio.to_thread(_compiled, answer.content, answer.headers.get("etag", ""))
        refused = refusal(self._edition, came, empty=found.empty)
        if not refused:
            self.current, self._edition, self._given = found, came, answer.content
            self.experiments = its_experiments
        return refused

    async def _ask(self, etag: str) -> httpx.Response:
        known = {"if-none-match": etag} if etag else {}
        return await self._client.get("/v1/definitions", headers={**known, **self._bearer.headers()})

    async def _load(self) -> None:
        """Takes the copy where nothing else is known."""
        if self.loaded:
            return
        kept = await self._copy.load()
        if kept is None or self.loaded:
            return
        try:
            found, its_experiments = await asyncio.to_thread(_compiled, kept.body, kept.head.etag)
        except (ValueError, KeyError, TypeError) as error:
            logger.warning("the copy of the definitions cannot be used: %r", error)
            return
        if self.loaded:  # meanwhile, by the registry
            return
        self.current, self.experiments = found, its_experiments
        self._edition = kept.head.edition
        self.loaded = True
        logger.info("the definitions are those of the copy until the registry gives newer ones")

    async def _keep(self) -> None:
        if self._given is not None:
            given, self._given = self._given, None
            await self._copy.take(Head(self._edition, self.current.etag), given)
        await self._copy.see_to()


def _compiled(body: bytes, etag: str) -> tuple[Snapshot, Experiments]:
    return snapshot(body, etag), experiments(body)


def _edition(answer: httpx.Response) -> Edition:
    """Of which edition an answer is; that of no catalogue where it does not say so."""
    revision = answer.headers.get(REVISION, "")
    return Edition(answer.headers.get(CATALOGUE, ""), int(revision)) if revision.isdecimal() else Edition()
