"""Watches: each follows one resource from a revision on, filtered, until its time is up or the client leaves."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from millrace_local.apiserver.selectors import Matches
from millrace_local.apiserver.store import Event

#: A client that falls this far behind is cut off; it lists anew.
BACKLOG = 20_000
BOOKMARK_SECONDS = 60.0

#: Writes one change as a watch event in the form the client asked for.
Encode = Callable[[str, Event], bytes]


class ConnectionCut(Exception):  # noqa: N818 - not an error, but the order to cut
    """Tells the server to cut the connection instead of answering, or of ending an answer."""


@dataclass(eq=False)
class Watcher:
    """One open watch."""

    namespace: str
    matches: Matches | None
    encode: Encode
    bookmark: Callable[[int], bytes] | None
    pending: deque[Event] = field(default_factory=deque)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    user_agent: str = ""
    closed: bool = False
    cut: bool = False

    def offer(self, event: Event) -> None:
        """Takes an event that may be of interest."""
        if self.closed or (self.namespace and event.entry.namespace != self.namespace):
            return
        if len(self.pending) >= BACKLOG:
            self.closed = True
        else:
            self.pending.append(event)
        self.wake.set()

    def close(self, *, cut: bool = False) -> None:
        """Ends the watch; ``cut`` without the end that the protocol wants."""
        self.closed = True
        self.cut = cut
        self.wake.set()

    def encoded(self, event: Event) -> bytes:
        """The event as this watch sees it; empty where it does not see it."""
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


class Hub:
    """All open watches; listens to the store."""

    def __init__(self) -> None:
        self._watchers: defaultdict[str, set[Watcher]] = defaultdict(set)
        self.revision: Callable[[], int] = lambda: 0
        #: Awaited before events are handed out; faults use it to make watches stale.
        self.hold: Callable[[str, Watcher], Awaitable[None]] | None = None

    def publish(self, event: Event) -> None:
        """Hands an event of the store to the watches of its resource."""
        for watcher in self._watchers.get(event.entry.resource, ()):
            watcher.offer(event)

    def drop(self, resource: str | None = None, *, cut: bool = False) -> int:
        """Ends all watches, or those of one resource; answers how many."""
        chosen = [w for name, found in self._watchers.items() if resource in (None, name) for w in found]
        for watcher in chosen:
            watcher.close(cut=cut)
        return len(chosen)

    def add(self, resource: str, watcher: Watcher) -> None:
        """Tells ``watcher`` of everything from now on; ``stream`` must follow, it takes the watcher out again."""
        self._watchers[resource].add(watcher)

    async def stream(
        self, resource: str, watcher: Watcher, initial: Iterable[bytes], seconds: float
    ) -> AsyncGenerator[bytes, None]:
        """The bytes of a watch, from its initial events to its end after ``seconds``."""
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


def _drain(pending: deque[Event]) -> Iterable[Event]:
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
