"""A mesh asks for the arm of a request's unit, before it chooses the route.

The form is that of Envoy's HTTP authorization (``envoy.extensions.filters.http.ext_authz.v3.HttpService``): the
request's method and chosen headers, without its body; a header of the answer becomes one of the request. An answer that
is neither 200 nor 5xx would be the client's own, so each is 200, whoever asks and whatever is wrong. One without an arm
leaves the request to the weights.

A mesh waits for some milliseconds only, which the disk may take alone. So the answer does not wait for the exposure to
be on disk, as ``/assign`` does, while the log takes what comes: a unit of which a crash loses it is exposed again by
its next request.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, MutableMapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from millrace_core.api import names
from millrace_core.base.errors import MillraceError
from millrace_core.evidence.outcome import Exposure
from millrace_core.experiments.outcome_request import MOST_UNIT
from millrace_core.experiments.published import PublishedExperiment
from millrace_services.gateway.experiments.assigning import (
    ASSIGNED,
    HELD_OUT,
    NOT_RUNNING,
    OVERRIDDEN,
    Assigning,
    exposure_of,
    overridden_by,
)
from millrace_services.web.errors import Header
from millrace_services.web.hot import Answer, Call

logger = logging.getLogger(__name__)

# Units whose exposure is not on disk; beyond them no more is given an arm.
MOST_PENDING: Final = 10_000

# Why an answer has no arm, beside those of ``/assign``: the client names one itself; there is no unit; the caller is
# not let in; exposures cannot be logged.
NAMED: Final = "Named"
NO_UNIT: Final = "NoUnit"
REFUSED: Final = "Refused"
NO_LOG: Final = "NoLog"
REASONS: Final = (ASSIGNED, HELD_OUT, OVERRIDDEN, NOT_RUNNING, NAMED, NO_UNIT, REFUSED, NO_LOG)

_ARM: Final = names.ARM_HEADER.encode()
_UNIT: Final = names.UNIT_HEADER.encode()
_SERVICE: Final = names.SERVICE_HEADER.encode()
_NO_ARM: Final = Answer(200, b"", ())

# An experiment's identity, a unit, its arm.
Key = tuple[str, str, str]


class Verdict(NamedTuple):
    """What was found, and why; ``arm`` is None where the weights decide."""

    reason: str
    arm: str | None = None


@dataclass
class Checks:
    """Answers ``/assign/check``.

    Args:
        assigning: ``/assign``; None while the log is not open.
        counts: of answers, by reason.
        refuses: why a caller with these headers is not let in.
    """

    counts: MutableMapping[str, int]
    refuses: Callable[[Iterable[Header]], MillraceError | None]
    assigning: Assigning | None = None
    _pending: dict[Key, asyncio.Task[bool]] = field(default_factory=dict)
    _failing: bool = False

    def __post_init__(self) -> None:
        for reason in REASONS:
            self.counts[reason] = 0

    async def handle(self, call: Call) -> Answer:
        """One request. It raises nothing."""
        verdict = await self._verdict(call)
        self.counts[verdict.reason] += 1
        return _NO_ARM if verdict.arm is None else Answer(200, b"", ((_ARM, verdict.arm.encode()),))

    async def _verdict(self, call: Call) -> Verdict:
        if self.refuses(call.scope["headers"]) is not None:
            return Verdict(REFUSED)
        if self.assigning is None:
            return Verdict(NO_LOG)
        experiment = _experiment(self.assigning, call)
        return Verdict(NOT_RUNNING) if experiment is None else await self._asked(self.assigning, experiment, call)

    async def _asked(self, assigning: Assigning, experiment: PublishedExperiment, call: Call) -> Verdict:
        if call.header(_ARM) is not None:
            return Verdict(NAMED)
        unit = _unit(experiment, call)
        if not unit:
            return Verdict(NO_UNIT)
        by_unit = experiment.overridden.get((experiment.header, unit)) if experiment.overridden else None
        if by_unit or overridden_by(experiment, call):
            return Verdict(OVERRIDDEN)  # which the route knows, too
        return await self._assigned(assigning, experiment, unit)

    async def _assigned(self, assigning: Assigning, experiment: PublishedExperiment, unit: str) -> Verdict:
        assignment = experiment.assignment
        if assignment is None:
            return Verdict(NOT_RUNNING)
        arm, at, holdout = assignment.of(unit)
        if holdout:
            return Verdict(HELD_OUT, arm)
        if assignment.keeps:
            arm = (await assigning.kept(experiment, [unit])).get(unit, arm)
        if assigning.known.get((experiment.identity, unit)) == arm:
            return Verdict(ASSIGNED, arm)
        key = experiment.identity, unit, arm
        logging_it = self._pending.get(key)
        if logging_it is None:
            if len(self._pending) >= MOST_PENDING:
                return Verdict(NO_LOG)
            exposure = exposure_of(experiment, unit, arm, at, assigning.now())
            logging_it = self._pending[key] = asyncio.create_task(self._log(assigning, key, exposure))
        # The caller may go, while others wait for the same.
        logged = not self._failing or await asyncio.shield(logging_it)
        return Verdict(ASSIGNED, arm) if logged else Verdict(NO_LOG)

    async def _log(self, assigning: Assigning, key: Key, exposure: Exposure) -> bool:
        identity, unit, arm = key
        try:
            await assigning.exposures.add([exposure])
        except Exception as error:  # nobody else would hear of it
            if not self._failing:
                logger.warning("the mesh is told no arms of units that are new: %s", error)
            self._failing = True
            return False
        finally:
            del self._pending[key]
        if self._failing:
            logger.info("the mesh is told the arms of all units again")
        self._failing = False
        assigning.known.put((identity, unit), arm)
        return True


def _experiment(assigning: Assigning, call: Call) -> PublishedExperiment | None:
    namespace, _, service = (call.header(_SERVICE) or b"").decode("latin-1").partition("/")
    return assigning.definitions.experiments.assigning.get((namespace, service))


def _unit(experiment: PublishedExperiment, call: Call) -> str | None:
    """The unit that the request names, if ``/assign`` took it, too."""
    named = call.header(_UNIT)
    if named is None:
        named = call.header(experiment.header.encode())
    if not named:
        return None
    try:
        unit = named.decode()
    except UnicodeDecodeError:
        return None
    return unit if len(unit) <= MOST_UNIT else None
