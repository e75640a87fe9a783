"""Which known objects the watches have not told of: tells a watch that runs behind, or has a hole, from a quiet one.

kopf says neither when its lists are complete nor what has gone since its last one. So every object that became known
another way (by a list of our own, by the answer to a write) is expected in the watch; where it does not come, the kind
is listed again. A watch that stands still is thereby replaced by lists, as often as something is written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from millrace_kube.cache import Place
from millrace_kube.resources import Resource

# How long after a watch began anew its kind is listed again: long enough for the watch to have caught up.
SETTLE: Final = 1.0


class Sightings:
    """Calls ``suspect`` with a resource whose watch may have missed something.

    Args:
        patience: seconds that a healthy watch may take to tell of a change.
    """

    def __init__(self, suspect: Callable[[Resource], None], patience: float) -> None:
        self._suspect = suspect
        self._patience = patience
        self._unseen: dict[Resource, dict[Place, float]] = {}
        self._timers: dict[Resource, asyncio.TimerHandle] = {}
        self._relists: dict[Resource, asyncio.TimerHandle] = {}

    def expect(self, resource: Resource, place: Place) -> None:
        """The object is known as it is now; the watch should tell of it."""
        loop = asyncio.get_running_loop()
        self._unseen.setdefault(resource, {}).setdefault(place, loop.time())
        if resource not in self._timers:
            self._timers[resource] = loop.call_later(self._patience, self._check, resource)

    def saw(self, resource: Resource, place: Place) -> None:
        """The watch told of the object, or the object is known to be gone."""
        self._unseen.get(resource, {}).pop(place, None)

    def began(self, resource: Resource) -> None:
        """A watch began anew; it does not tell what has gone meanwhile."""
        if resource not in self._relists:
            self._relists[resource] = asyncio.get_running_loop().call_later(SETTLE, self._relist, resource)

    def listed(self, resource: Resource, since: float) -> None:
        """A list that was asked for at ``since`` (the loop's time) has confirmed everything known before."""
        unseen = self._unseen.get(resource, {})
        self._unseen[resource] = {place: known for place, known in unseen.items() if known >= since}

    def close(self) -> None:
        """Voids all timers."""
        for timer in (*self._timers.values(), *self._relists.values()):
            timer.cancel()

    def _relist(self, resource: Resource) -> None:
        del self._relists[resource]
        self._suspect(resource)

    def _check(self, resource: Resource) -> None:
        del self._timers[resource]
        unseen = self._unseen.get(resource)
        if not unseen:
            return
        loop = asyncio.get_running_loop()
        oldest = min(unseen.values())
        if oldest + self._patience <= loop.time():
            self._suspect(resource)
        self._timers[resource] = loop.call_at(max(oldest, loop.time()) + self._patience, self._check, resource)
