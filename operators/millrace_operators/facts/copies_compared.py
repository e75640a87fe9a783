"""What a shadow says beside what is answered, as the gateway finds it in the log of predictions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from millrace_core.base import timestamps
from millrace_core.experiments.compared import ComparedPredictions
from millrace_operators.facts.fact import FactRequest
from millrace_operators.facts.gateway_source import GatewaySource
from millrace_operators.facts.source import NoReading, Reading


@dataclass(frozen=True)
class CopiesCompared(FactRequest[ComparedPredictions]):
    """Two deployments over the requests that both have had since then; absent: there is none yet.

    Attributes:
        tolerance: how far apart numbers may be and agree.
    """

    namespace: str
    service: str
    control: str
    shadow: str
    since: datetime
    tolerance: float

    def __str__(self) -> str:
        return f"what {self.shadow} says beside {self.control}"


class LoggedPredictions(GatewaySource):
    """Comparisons of what is in the log of predictions."""

    answers = CopiesCompared

    async def read(self, request: CopiesCompared) -> Reading[ComparedPredictions] | NoReading:
        """One GET."""
        path = "v1", "predictions", request.namespace, request.service, "comparison"
        query = {
            "control": request.control,
            "shadow": request.shadow,
            "since": timestamps.render(request.since),
            "tolerance": repr(request.tolerance),
        }
        found = await self._ask(*path, form=ComparedPredictions, query=query)
        return NoReading(self._now()) if found is None else Reading(found, found.as_of)
