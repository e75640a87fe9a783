"""One number of a query, as Prometheus answers it now. What is not one finite number is no measurement."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from millrace_core.base.errors import RejectError, ReportError, RetryError
from millrace_core.base.shown import shown
from millrace_core.base.timeouts import ANSWER_SECONDS
from millrace_operators.facts.fact import FactRequest
from millrace_operators.facts.http_answer import answer_of
from millrace_operators.facts.source import PAUSE, FactSource, NoReading, Reading

_OLDEST: Final = timedelta(minutes=2)
_WIDTH: Final = 300
# Types of errors that the query is not to blame for: Prometheus', and those of Mimir and Thanos.
_PASSING: Final = ("timeout", "canceled", "internal", "unavailable", "server_error", "too_many_requests")


@dataclass(frozen=True)
class PrometheusNumber(FactRequest[float]):
    """The number that a query of a metric has for an arm."""

    metric: str
    arm: str
    query: str

    def __str__(self) -> str:
        return f"{self.metric} of {self.arm}"


class Prometheus(FactSource):
    """Asks one query at the present moment.

    Args:
        url: base URL; empty: there is no Prometheus.
        now: the present moment.
    """

    name = "Prometheus"
    answers = PrometheusNumber
    pause = PAUSE
    # Of the moment for which the answer holds: a cache between may keep an old one.
    max_age = _OLDEST

    def __init__(self, url: str, now: Callable[[], datetime]) -> None:
        self._url = f"{url.rstrip('/')}/api/v1/query" if url else ""
        self._now = now

    async def read(self, request: PrometheusNumber) -> Reading[float] | NoReading:
        """One GET."""
        if not self._url:
            raise ReportError(
                "the operator knows no Prometheus",
                hint="Set MILLRACE_PROMETHEUS_URL (the chart's operator.prometheusUrl, or in the laptop mode "
                "millrace local up --prometheus URL)",
            )
        query = {"query": request.query, "timeout": f"{ANSWER_SECONDS:g}s"}
        status, body = await answer_of(self._url, query)
        return _reading(status, body, self._now())


def _reading(status: int, body: bytes, now: datetime) -> Reading[float] | NoReading:
    try:
        answer = json.loads(body)
        said = answer["status"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise RetryError(f"status {status}, and no answer of Prometheus' API: {shown(body[:_WIDTH])}") from None
    if said != "success":
        why = str(answer.get("error") or said)[:_WIDTH]
        if answer.get("errorType") in _PASSING:
            raise RetryError(f"no answer just now: {why}")
        raise RejectError(f"the query is refused: {why}")
    if answer.get("warnings"):
        raise RetryError(f"the answer is a part only: {str(answer['warnings'])[:_WIDTH]}")
    try:
        sample = _one(answer["data"]["resultType"], answer["data"]["result"])
        if sample is None:
            return NoReading(now)
        at, value = datetime.fromtimestamp(float(sample[0]), UTC), float(sample[1])
    except (ValueError, KeyError, TypeError, IndexError, OverflowError, OSError):
        raise RetryError(f"no answer of Prometheus' API: {shown(body[:_WIDTH])}") from None
    if not math.isfinite(value):
        raise RejectError(f"{value} came, which is no number", hint="0 / 0 is one: has the arm any traffic?")
    return Reading(value, at)


def _one(kind: str, result: Any) -> Any:
    """Time and value; None where there is no series."""
    if kind == "scalar":
        return result
    if kind != "vector":
        raise RejectError(f"a {kind} came; one number is expected", hint="Leave the range at the query's end out")
    if len(result) > 1:
        raise RejectError(f"{len(result)} series came; one is expected", hint="Let the query sum them up, as by sum()")
    return result[0]["value"] if result else None
