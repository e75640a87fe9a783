"""Whether the API server serves a kind, for one whose CRD may just have been installed: the cache learns it late."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from millrace_kube.cached_client import CachedClient
from millrace_kube.errors import AbsentError
from millrace_kube.resources import Resource
from millrace_operators.facts.fact import FactRequest
from millrace_operators.facts.source import FactSource, NoReading, Reading


@dataclass(frozen=True)
class ServedKind(FactRequest[bool]):
    """A kind, by its resource; absent: it is not served."""

    may_be_absent: ClassVar[bool] = True

    resource: Resource

    def __str__(self) -> str:
        return f"whether {self.resource.plural}.{self.resource.group} are served"


class ServedKinds(FactSource):
    """Asks the API server's discovery, which everybody may."""

    name = "the API server"
    answers = ServedKind

    def __init__(self, cluster: CachedClient) -> None:
        self._cluster = cluster

    async def read(self, request: ServedKind) -> Reading[bool] | NoReading:
        """One GET of the kinds of its group and version."""
        resource = request.resource
        try:
            found = await self._cluster.client.request("GET", f"/apis/{resource.api_version}", resource)
        except AbsentError:
            found = {}
        now = self._cluster.now()
        served = any(item.get("name") == resource.plural for item in found.get("resources") or ())
        return Reading(True, now) if served else NoReading(now)
