"""What the units of an experiment have done so far, as the gateway sums it up."""

from __future__ import annotations

from dataclasses import dataclass

from millrace_core.base.errors import RetryError
from millrace_core.experiments.sums import ExperimentSums
from millrace_operators.facts.fact import FactRequest
from millrace_operators.facts.gateway_source import GatewaySource
from millrace_operators.facts.source import NoReading, Reading


@dataclass(frozen=True)
class OutcomeSums(FactRequest[ExperimentSums]):
    """Units and sums of all metrics, by arm and epoch; absent: the gateway does not know the experiment."""

    namespace: str
    experiment: str

    def __str__(self) -> str:
        return f"what the units of {self.experiment} do"


class Outcomes(GatewaySource):
    """Sums of exposures and outcomes."""

    answers = OutcomeSums

    async def read(self, request: OutcomeSums) -> Reading[ExperimentSums] | NoReading:
        """One GET."""
        sums = await self._ask("experiments", request.namespace, request.experiment, "sums", form=ExperimentSums)
        if sums is None:
            return NoReading(self._now())
        if not sums.whole:
            raise RetryError("the store does not have all that the logs have; it is being rebuilt")
        return Reading(sums, sums.as_of)
