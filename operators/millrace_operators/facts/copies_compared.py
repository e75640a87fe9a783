"""What a shadow says beside what is answered, as the gateway finds it in the log of predictions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from urllib.parse import quote

from pydantic import ValidationError

from millrace_core.base import timestamps
from millrace_core.base.bearer import OPEN, Bearer
from millrace_core.base.errors import ReportError, RetryError
from millrace_core.base.shown import shown
from millrace_core.experiments.compared import ComparedPredictions
from millrace_operators.facts.fact import FactRequest
from millrace_operators.facts.http_answer import answer_of, said_of
from millrace_operators.facts.source import PAUSE, FactSource, NoReading, Reading


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


class LoggedPredictions(FactSource):
    """Asks the gateway.

    Args:
        url: base URL of it; empty: there is none.
        now: the present moment.
        bearer: what is sent to it.
    """

    name = "the gateway"
    answers = CopiesCompared
    pause = PAUSE
    max_age = timedelta(minutes=2)

    def __init__(self, url: str, now: Callable[[], datetime], bearer: Bearer = OPEN) -> None:
        self._url = f"{url.rstrip('/')}/v1/predictions" if url else ""
        self._now = now
        self._bearer = bearer

    async def read(self, request: CopiesCompared) -> Reading[ComparedPredictions] | NoReading:
        """One GET."""
        if not self._url:
            raise ReportError("the operator knows no gateway", hint="Set MILLRACE_GATEWAY_URL")
        url = f"{self._url}/{quote(request.namespace)}/{quote(request.service)}/comparison"
        query = {
            "control": request.control,
            "shadow": request.shadow,
            "since": timestamps.render(request.since),
            "tolerance": repr(request.tolerance),
        }
        status, body = await answer_of(url, query, headers=self._bearer.headers())
        if status == HTTPStatus.NOT_FOUND:
            return NoReading(self._now())
        if status != HTTPStatus.OK:
            raise RetryError(f"status {status}: {said_of(body)}")
        try:
            found = ComparedPredictions.model_validate_json(body)
        except ValidationError as error:
            raise RetryError(f"an answer that is none: {shown(str(error)[:500])}") from None
        return Reading(found, found.as_of)
