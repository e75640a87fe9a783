"""``POST /assign``: the arm of a unit, or of many. Who is given one is exposed, which is on disk before the answer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from millrace_core.base.errors import MillraceError, NotFoundError, RejectError, TooLargeError
from millrace_core.base.shown import shown
from millrace_core.evidence.outcome import Exposure
from millrace_core.experiments.assignment import bucket
from millrace_core.experiments.outcome_request import checked_unit, text
from millrace_core.experiments.published import PublishedExperiment
from millrace_services.gateway.definitions import Definitions
from millrace_services.gateway.experiments.group_commit import GroupCommit
from millrace_services.gateway.experiments.store import SumsStore
from millrace_services.web.hot import Answer, Call

logger = logging.getLogger(__name__)

MOST: Final = 10_000
# Units that are known to be exposed, so that they are not logged each time.
_REMEMBERED: Final = 200_000
_FIELDS: Final = frozenset(("experiment", "unit", "units"))

ASSIGNED: Final = "Assigned"
HELD_OUT: Final = "HeldOut"
OVERRIDDEN: Final = "Overridden"
NOT_RUNNING: Final = "NotRunning"


class Remembered:
    """The arms of the units that came last, in two halves, of which the older is forgotten."""

    def __init__(self, most: int = _REMEMBERED) -> None:
        self._half = most // 2
        self._young: dict[tuple[str, str], str] = {}
        self._old: dict[tuple[str, str], str] = {}

    def get(self, key: tuple[str, str]) -> str | None:
        """The arm."""
        found = self._young.get(key)
        return found if found is not None else self._old.get(key)

    def put(self, key: tuple[str, str], arm: str) -> None:
        """Remembers it."""
        self._young[key] = arm
        if len(self._young) >= self._half:
            self._old, self._young = self._young, {}


@dataclass
class Assigning:
    """Answers ``POST /assign``.

    Where weights go to and fro, a unit keeps the arm that it was given first: it is known here, or else by the store.
    While the store does not answer, a unit that only it knows is given an arm as if it were new. If that is another
    one, it is a crossover, which counts in its first arm.

    Args:
        store: that knows which units other gateways have exposed.
        exposures: where they are logged.
        counts: of units, by reason.
        now: the present moment in microseconds.
        known: whose exposure is on disk.
    """

    definitions: Definitions
    namespace: str
    store: SumsStore
    exposures: GroupCommit[Exposure]
    counts: MutableMapping[str, int]
    now: Callable[[], int]
    known: Remembered = field(default_factory=Remembered)

    async def handle(self, call: Call) -> Answer:
        """One request. Raises what ``millrace_services.web.errors`` maps to statuses."""
        try:
            document = orjson.loads(call.body)
        except orjson.JSONDecodeError as error:
            raise RejectError(f"the body is not JSON: {error}") from error
        experiment, units, single = await self._read(document)
        overridden = overridden_by(experiment, call)
        kept = await self.kept(experiment, units)
        found, exposed = self._assign(experiment, units, overridden, kept)
        if exposed:
            await self.exposures.add(exposed)
            for each in exposed:
                self.known.put((experiment.identity, each.unit), each.arm)
        about = {
            "experiment": f"{experiment.namespace}/{experiment.name}",
            "phase": experiment.phase,
            "epoch": experiment.epoch,
        }
        return Answer(200, orjson.dumps({**about, **found[0]} if single else {**about, "assignments": found}))

    async def _read(self, document: Any) -> tuple[PublishedExperiment, Sequence[str], bool]:
        if not isinstance(document, dict):
            raise RejectError(f"the body is {shown(document, 40)}, an object is expected")
        for name in document:
            if name not in _FIELDS:
                raise RejectError("the fields are experiment, and unit or units", field=shown(name, 80).strip("'"))
        single = "unit" in document
        if single == ("units" in document):
            raise RejectError("one of unit and units is expected", field="unit")
        units = [checked_unit(document["unit"], "unit")] if single else _units(document["units"])
        reference = text(document, "experiment", 127)
        try:
            experiment = self.definitions.experiments.get(reference, self.namespace)
        except NotFoundError:
            # It may have been applied a moment ago.
            if not await self.definitions.look_again():
                raise
            experiment = self.definitions.experiments.get(reference, self.namespace)
        return experiment, units, single

    async def kept(self, experiment: PublishedExperiment, units: Sequence[str]) -> Mapping[str, str]:
        """The arms that units were given first, where they keep them."""
        if experiment.assignment is None or not experiment.assignment.keeps or not experiment.assigns:
            return {}
        known = {unit: arm for unit in units if (arm := self.known.get((experiment.identity, unit))) is not None}
        if len(known) == len(units):
            return known
        try:
            return known | await self.store.arms(experiment, [unit for unit in units if unit not in known])
        except MillraceError as error:
            logger.warning("units are given arms as if they were new, as the store does not know them: %s", error)
            return known

    def _assign(
        self, experiment: PublishedExperiment, units: Sequence[str], overridden: str | None, kept: Mapping[str, str]
    ) -> tuple[list[Mapping[str, Any]], list[Exposure]]:
        found: list[Mapping[str, Any]] = []
        exposed: list[Exposure] = []
        assignment = experiment.assignment
        if assignment is None or not experiment.assigns:
            self.counts[NOT_RUNNING] += len(units)
            told = {"arm": experiment.control, "bucket": None, "holdout": False, "reason": NOT_RUNNING}
            return [{"unit": unit, **told} for unit in units], exposed
        now, by_unit = self.now(), experiment.overridden
        for unit in units:
            arm = overridden or (by_unit.get((experiment.header, unit)) if by_unit else None)
            if arm is not None:
                at, holdout, reason = bucket(assignment.salt, unit), False, OVERRIDDEN
            else:
                arm, at, holdout = assignment.of(unit)
                arm = arm if holdout else kept.get(unit, arm)
                reason = HELD_OUT if holdout else ASSIGNED
                if not holdout and self.known.get((experiment.identity, unit)) != arm:
                    exposed.append(exposure_of(experiment, unit, arm, at, now))
            self.counts[reason] += 1
            found.append({"unit": unit, "arm": arm, "bucket": at, "holdout": holdout, "reason": reason})
        return found, exposed


def exposure_of(experiment: PublishedExperiment, unit: str, arm: str, at: int, now: int) -> Exposure:
    """The exposure of a unit of bucket ``at``, to an experiment that assigns."""
    epoch = experiment.epoch
    if epoch is None:
        raise AssertionError
    return Exposure(experiment.namespace, experiment.name, experiment.uid, unit, arm, epoch, at, now)


def _units(units: Any) -> list[str]:
    if not isinstance(units, list):
        raise RejectError(f"a list of units is expected, {shown(units, 40)} came", field="units")
    if len(units) > MOST:
        raise TooLargeError(
            f"{len(units):,} units came, {MOST:,} at once are the most", hint="Send several batches", field="units"
        )
    return [checked_unit(unit, f"units[{index}]") for index, unit in enumerate(units)]


def overridden_by(experiment: PublishedExperiment, call: Call) -> str | None:
    """The arm that the request's own headers ask for."""
    if not experiment.overridden:
        return None
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in call.scope["headers"]}
    return next((arm for (name, value), arm in experiment.overridden.items() if headers.get(name) == value), None)
