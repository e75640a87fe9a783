"""Whether an object exists, and what it is, as the API server has it now: for what no cache is believed in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from millrace_kube.cached_client import CachedClient
from millrace_kube.resources import Object, Resource
from millrace_kube.watched import EVERYTHING, WATCHED
from millrace_operators.facts.fact import FactRequest
from millrace_operators.facts.source import FactSource, NoReading, Reading


@dataclass(frozen=True)
class LiveObject(FactRequest[Object]):
    """An object by its name; absent: there is none."""

    may_be_absent: ClassVar[bool] = True

    resource: Resource
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"whether {self.resource.kind} {self.name} exists"


class LiveObjects(FactSource):
    """Reads one object; the cache learns of it where it holds all of that kind."""

    name = "the API server"
    answers = LiveObject

    def __init__(self, cluster: CachedClient) -> None:
        self._cluster = cluster

    async def read(self, request: LiveObject) -> Reading[Object] | NoReading:
        """One GET."""
        place = request.resource, request.namespace, request.name
        whole = WATCHED.get(request.resource, EVERYTHING) == EVERYTHING
        found = await (self._cluster.live(*place) if whole else self._cluster.client.get(*place))
        now = self._cluster.now()
        return NoReading(now) if found is None else Reading(found, now)
