"""``POST /outcomes``: logged first, then counted; an answer says what became of each outcome."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from millrace_core.base.errors import NotFoundError, RetryError
from millrace_core.evidence.outcome import Outcome
from millrace_core.experiments import outcome_request
from millrace_core.experiments.outcome_request import OutcomeRequest, Refused
from millrace_data.online import experiment_sums
from millrace_services.gateway.definitions import Definitions
from millrace_services.gateway.experiments.group_commit import GroupCommit
from millrace_services.gateway.experiments.recorder import PENDING, UNKNOWN
from millrace_services.web.errors import status_of
from millrace_services.web.hot import Answer, Call

_STATUS: Final = {
    experiment_sums.ACCEPTED: "accepted",
    experiment_sums.DUPLICATE: "duplicate",
    experiment_sums.UNEXPOSED: "unexposed",
    PENDING: "pending",
    experiment_sums.DROPPED: "pending",
    UNKNOWN: "unknown",
}
REFUSED: Final = "refused"
STATUSES: Final = (*dict.fromkeys(_STATUS.values()), REFUSED)
_SHOWN: Final = 1000


@dataclass
class Outcomes:
    """Answers ``POST /outcomes``.

    Args:
        log: where they are logged.
        counts: of outcomes, by what became of them.
        now: the present moment in microseconds.
        tolerance: how much later than now they may be, microseconds.
    """

    definitions: Definitions
    namespace: str
    log: GroupCommit[Outcome]
    counts: MutableMapping[str, int]
    now: Callable[[], int]
    tolerance: int

    async def handle(self, call: Call) -> Answer:
        """One request. Raises what ``millrace_services.web.errors`` maps to statuses."""
        request = self._parse(call)
        if any(isinstance(each.error, NotFoundError) for each in request.refused):
            # The experiment may have been applied a moment ago.
            try:
                if await self.definitions.look_again():
                    request = self._parse(call)
            except RetryError:
                if not request.taken:
                    raise
        became: list[str] = []
        if request.taken:
            applied = await self.log.add([outcome for _, outcome in request.taken])
            became = [_STATUS[each] for each in await applied]
        for each in became:
            self.counts[each] += 1
        self.counts[REFUSED] += len(request.refused)
        if request.single:
            return _of_one(request, became)
        return _of_many(request, became)

    def _parse(self, call: Call) -> OutcomeRequest:
        known = self.definitions.experiments
        return outcome_request.parse(call.body, known, self.namespace, self.now(), self.tolerance)


def _of_one(request: OutcomeRequest, became: Sequence[str]) -> Answer:
    if request.refused:
        raise request.refused[0].error
    return Answer(200, orjson.dumps({"status": became[0]}))


def _of_many(request: OutcomeRequest, became: Sequence[str]) -> Answer:
    found = Counter(became)
    document: dict[str, Any] = {status: found[status] for status in STATUSES}
    document[REFUSED] = len(request.refused)
    results: list[dict[str, Any]] = [
        {"index": place, "status": each}
        for place, each in zip(request.places, became, strict=True)
        if each != _STATUS[experiment_sums.ACCEPTED]
    ]
    results += [_told(each) for each in request.refused]
    document["results"] = sorted(results, key=lambda each: each["index"])[:_SHOWN]
    if request.refused and not became:
        first = request.refused[0].error
        document |= {"error": f"no outcome fits; the first: {first}", "reason": first.reason, "field": first.field}
        return Answer(status_of(first), orjson.dumps(document))
    return Answer(200, orjson.dumps(document))


def _told(refused: Refused) -> dict[str, Any]:
    error = refused.error
    return {
        "index": refused.place,
        "status": REFUSED,
        "field": error.field,
        "reason": error.reason,
        "error": error.advice(),
    }
