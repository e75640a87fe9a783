"""What the units of an experiment have done so far, as the gateway sums it up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

from pydantic import ValidationError

from millrace_core.base.bearer import OPEN, Bearer
from millrace_core.base.errors import ReportError, RetryError
from millrace_core.base.shown import shown
from millrace_core.experiments.sums import ExperimentSums
from millrace_operators.facts.fact import FactRequest
from millrace_operators.facts.http_answer import answer_of, said_of
from millrace_operators.facts.source import PAUSE, FactSource, NoReading, Reading

_WIDTH: Final = 500


@dataclass(frozen=True)
class OutcomeSums(FactRequest[ExperimentSums]):
    """Units and sums of all metrics, by arm and epoch; absent: the gateway does not know the experiment."""

    namespace: str
    experiment: str

    def __str__(self) -> str:
        return f"what the units of {self.experiment} do"


class Outcomes(FactSource):
    """Asks the gateway.

    Args:
        url: base URL of it; empty: there is none.
        now: the present moment.
        bearer: what is sent to it.
    """

    name = "the gateway"
    answers = OutcomeSums
    pause = PAUSE
    max_age = timedelta(minutes=2)

    def __init__(self, url: str, now: Callable[[], datetime], bearer: Bearer = OPEN) -> None:
        self._url = f"{url.rstrip('/')}/experiments" if url else ""
        self._now = now
        self._bearer = bearer

    async def read(self, request: OutcomeSums) -> Reading[ExperimentSums] | NoReading:
        """One GET."""
        if not self._url:
            raise ReportError("the operator knows no gateway", hint="Set MILLRACE_GATEWAY_URL")
        url = f"{self._url}/{quote(request.namespace)}/{quote(request.experiment)}/sums"
        status, body = await answer_of(url, headers=self._bearer.headers())
        if status == HTTPStatus.NOT_FOUND:
            return NoReading(self._now())
        if status != HTTPStatus.OK:
            raise RetryError(f"status {status}: {said_of(body)}")
        try:
            sums = ExperimentSums.model_validate_json(body)
        except ValidationError as error:
            raise RetryError(f"an answer that is none: {shown(str(error)[:_WIDTH])}") from None
        if not sums.whole:
            raise RetryError("the store does not have all that the logs have; it is being rebuilt")
        return Reading(sums, sums.as_of)
