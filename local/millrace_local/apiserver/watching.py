"""Watches: each follows one resource from a revision on, filtered, until its timeout or until the client leaves."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from millrace_local.apiserver.selectors import Matches
from millrace_local.apiserver.store import WatchEvent

#: A watch with this many unsent events ends; its client lists again.
BACKLOG = 20_000
BOOKMARK_SECONDS = 60.0

#: Encodes one change as a watch event in the client's representation.
Encode = Callable[[str, WatchEvent], bytes]


class ConnectionCut(Exception):  # noqa: N818 - not an error, but the order to cut
    """Tells the server to cut the connection: instead of a response, or in the middle of one."""


@dataclass(eq=False)
class Watcher:
    """One open watch: its filter, its encoding and the events not sent yet."""

    namespace: str
    matches: Matches | None
    encode: Encode
    bookmark: Callable[[int], bytes] | None
    pending: deque[WatchEvent] = field(default_factory=deque)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    user_agent: str = ""
    closed: bool = False
    cut: bool = False

    def offer(self, event: WatchEvent) -> None:
        """Queues an event if it may concern this watch."""
        if self.closed or (self.namespace and event.entry.namespace != self.namespace):
            return
        if len(self.pending) >= BACKLOG:
            self.closed = True
        else:
            self.pending.append(event)
        self.wake.set()

    def close(self, *, cut: bool = False) -> None:
        """Ends the watch; with ``cut`` without a proper end of the response."""
        self.closed = True
        self.cut = cut
        self.wake.set()

    def encoded(self, event: WatchEvent) -> bytes:
        """The event as this watch reports it; empty if the filter hides it."""
        kind = event.type
        if self.matches is not None:
            now = self.matches(event.entry)
            before = event.old is not None and self.matches(event.old)
            if kind == "DELETED":
                return self.encode("DELETED", event) if before else b""
            if not now and not before:
                return b""
            kind = "ADDED" if not before else "MODIFIED" if now else "DELETED"
        return self.encode(kind, event)


class WatchHub:
    """All open watches; passes the store's events to them."""

    def __init__(self) -> None:
        self._watchers: defaultdict[str, set[Watcher]] = defaultdict(set)
        self.revision: Callable[[], int] = lambda: 0
        #: Awaited before events are sent; fault rules make watches stale by it.
        self.hold: Callable[[str, Watcher], Awaitable[None]] | None = None

    def publish(self, event: WatchEvent) -> None:
        """Queues an event for the watches of its resource."""
        for watcher in self._watchers.get(event.entry.resource, ()):
            watcher.offer(event)

    def drop(self, resource: str | None = None, *, cut: bool = False) -> int:
        """Ends all watches, or those of one resource; returns how many."""
        chosen = [w for name, found in self._watchers.items() if resource in (None, name) for w in found]
        for watcher in chosen:
            watcher.close(cut=cut)
        return len(chosen)

    def add(self, resource: str, watcher: Watcher) -> None:
        """Queues all events from now on for ``watcher``, until its ``stream`` ends."""
        self._watchers[resource].add(watcher)

    async def stream(
        self, resource: str, watcher: Watcher, initial: Iterable[bytes], seconds: float
    ) -> AsyncGenerator[bytes, None]:
        """The bytes of a watch: the initial events, then the queued ones, for ``seconds``."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        try:
            for piece in initial:
                yield piece
            while not watcher.closed:
                if watcher.pending and self.hold is not None:
                    await self.hold(resource, watcher)
                pieces = [p for p in map(watcher.encoded, _drain(watcher.pending)) if p]
                if pieces:
                    yield b"".join(pieces)
                    continue
                remaining = end - loop.time()
                if remaining <= 0:
                    break
                woken = await _wait(watcher.wake, min(remaining, BOOKMARK_SECONDS))
                if not woken and watcher.bookmark and not watcher.pending:
                    yield watcher.bookmark(self.revision())
            if watcher.cut:
                raise ConnectionCut
        finally:
            self._watchers[resource].discard(watcher)


def _drain(pending: deque[WatchEvent]) -> Iterable[WatchEvent]:
    while pending:
        yield pending.popleft()


async def _wait(wake: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await wake.wait()
    except TimeoutError:
        return False
    wake.clear()
    return True
