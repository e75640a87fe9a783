"""Status writes whose answer did not come: whether they took effect shows when the object is seen again.

A connection may break, and a time limit pass, after the API server has written. Then the next turn finds the status as
it should be and has nothing to write, and nobody would tell what the write was to be told with.
"""

from __future__ import annotations

from typing import Any, Final

from millrace_kube.resources import Object

_MOST_REMEMBERED: Final = 1000


class UnsureWrites:
    """For each object the status writes that were tried on one version of it, with their Events."""

    def __init__(self) -> None:
        self._tries: dict[str, tuple[str, list[tuple[dict[str, Any], list[Object]]]]] = {}

    def begin(self, observed: Object, status: dict[str, Any], events: list[Object]) -> None:
        """``status`` is about to be written on condition that the object is as ``observed``."""
        uid, version = observed["metadata"]["uid"], observed["metadata"]["resourceVersion"]
        tried_on, tries = self._tries.pop(uid, (version, []))
        self._tries[uid] = (version, [*(tries if tried_on == version else []), (status, events)])
        if len(self._tries) > _MOST_REMEMBERED:
            del self._tries[next(iter(self._tries))]

    def forget(self, observed: Object) -> None:
        """The answer came."""
        self._tries.pop(observed["metadata"]["uid"], None)

    def happened(self, observed: Object) -> list[Object]:
        """The Events of a write that took effect, as a newer version of the object shows; given once."""
        uid, version = observed["metadata"]["uid"], observed["metadata"]["resourceVersion"]
        tried_on, tries = self._tries.get(uid, (version, []))
        if tried_on == version:
            return []
        del self._tries[uid]
        return next((events for status, events in tries if status == (observed.get("status") or {})), [])
