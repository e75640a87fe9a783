"""Bodies of ``POST /outcomes``: each outcome checked, those that fit beside those that do not, and why."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any, Final, NamedTuple

import orjson

from millrace_core.base import timestamps
from millrace_core.base.errors import MillraceError, RejectError, TooLargeError
from millrace_core.base.shown import came, shown
from millrace_core.evidence.outcome import Outcome
from millrace_core.experiments.published import Experiments, PublishedExperiment

MOST: Final = 10_000
MOST_UNIT: Final = 256
# Squares of sums of them are still doubles.
LARGEST: Final = 1e100
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_FIELDS: Final = ("experiment", "unit", "metric", "value", "time", "id")
_ALL: Final = itemgetter(*_FIELDS)


class Refused(NamedTuple):
    """An outcome that is not taken; ``place`` is where it stands in the batch."""

    place: int
    error: MillraceError


class OutcomeRequest(NamedTuple):
    """A parsed body.

    Attributes:
        single: whether it is one outcome and no batch.
        taken: those that fit, each with its experiment.
        places: of each of them its place in the batch.
    """

    single: bool
    taken: list[tuple[PublishedExperiment, Outcome]]
    places: list[int]
    refused: list[Refused]


def parse(body: bytes, experiments: Experiments, namespace: str, now: int, tolerance: int) -> OutcomeRequest:
    """Reads a body.

    Args:
        namespace: of experiments that are named without one.
        now: the present moment in microseconds.
        tolerance: how much later than now outcomes may be, in microseconds.

    Raises:
        RejectError: it is none. TooLargeError: it holds more than ``MOST`` outcomes.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RejectError(f"the body is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise RejectError(f"the body is {shown(document, 40)}, an object is expected")
    single = "outcomes" not in document
    items = [document] if single else document["outcomes"]
    if not isinstance(items, list):
        raise RejectError(f"{shown(items, 40)} came, a list of outcomes is expected", field="outcomes")
    if not single and len(document) > 1:
        other = next(name for name in document if name != "outcomes")
        raise RejectError("a batch holds outcomes alone", field=shown(other, 80).strip("'"))
    if len(items) > MOST:
        raise TooLargeError(
            f"{len(items):,} outcomes came, {MOST:,} at once are the most",
            hint="Send several batches",
            field="outcomes",
        )
    found = OutcomeRequest(single, [], [], [])
    known = _Known({}, {})
    for index, item in enumerate(items):
        try:
            outcome = _fitting(item, known, now) or _one(item, experiments, known, namespace, now, tolerance)
        except MillraceError as error:
            if not single:
                error = _within(error, index)
            found.refused.append(Refused(index, error))
            continue
        found.taken.append(outcome)
        found.places.append(index)
    return found


def _within(error: MillraceError, index: int) -> MillraceError:
    where = f"outcomes[{index}]"
    return type(error)(
        error.message,
        hint=error.hint,
        field=f"{where}.{error.field}" if error.field else where,
        reason=error.reason,
    )


class _Known(NamedTuple):
    """What rows of a batch have in common, worked out once: experiments, and times."""

    experiments: dict[Any, PublishedExperiment | MillraceError]
    times: dict[str, int]


def _fitting(item: Any, known: _Known, now: int) -> tuple[PublishedExperiment, Outcome] | None:
    """What ``_one`` gives of a plain outcome whose experiment and time were met before: most are, and it is faster."""
    try:
        reference, unit, outcome, value, said, identity = _ALL(item)
        experiment, time = known.experiments[reference], known.times[said]
        if not isinstance(experiment, PublishedExperiment):
            return None
        fits = (
            type(unit) is str
            and 0 < len(unit) <= MOST_UNIT
            and "\0" not in unit
            and outcome in experiment.outcomes
            and type(value) in (int, float)
            and -LARGEST <= value <= LARGEST
            and _ID.fullmatch(identity) is not None
            and len(item) == len(_FIELDS)
        )
    except (KeyError, TypeError, IndexError):
        return None
    if not fits:
        return None
    namespace, name, uid = experiment.namespace, experiment.name, experiment.uid
    return experiment, Outcome(namespace, name, uid, unit, outcome, float(value), time, identity, now)


def _one(
    item: Any, experiments: Experiments, known: _Known, namespace: str, now: int, tolerance: int
) -> tuple[PublishedExperiment, Outcome]:
    if not isinstance(item, dict):
        raise RejectError(f"{shown(item, 40)} came, an object is expected")
    if not item.keys() <= {*_FIELDS}:
        name = next(name for name in item if name not in _FIELDS)
        raise RejectError(f"the fields are {', '.join(sorted(_FIELDS))}", field=shown(name, 80).strip("'"))
    experiment = _experiment(text(item, "experiment", 127), experiments, known.experiments, namespace)
    unit = checked_unit(item.get("unit"), "unit")
    outcome = text(item, "metric", 63)
    if outcome not in experiment.outcomes:
        there = ", ".join(sorted(experiment.outcomes))
        raise RejectError(
            f"{shown(outcome, 80)} is no outcome of the experiment {experiment.name}",
            hint=f"Its spec.metrics name {there}" if there else "None of its spec.metrics has source.outcome",
            field="metric",
        )
    identity = text(item, "id", 128)
    if _ID.fullmatch(identity) is None:
        raise RejectError("1 to 128 of A-Z, a-z, 0-9, '.', '_', ':' and '-' are expected", field="id")
    said = text(item, "time", 64)
    time = known.times.get(said)
    if time is None:
        time = known.times[said] = _time(said, now, tolerance)
    return experiment, Outcome(
        experiment.namespace, experiment.name, experiment.uid, unit, outcome, _value(item), time, identity, now
    )


def _experiment(
    reference: str, experiments: Experiments, known: dict[Any, PublishedExperiment | MillraceError], namespace: str
) -> PublishedExperiment:
    found = known.get(reference)
    if found is None:
        try:
            found = experiments.get(reference, namespace)
            if not found.began:
                raise RejectError(
                    f"the experiment {found.name} has not begun: its phase is {found.phase}",
                    hint="Send outcomes of units that POST /assign has given an arm",
                    field="experiment",
                    reason="NotStarted",
                )
        except MillraceError as error:
            found = error
        known[reference] = found
    if isinstance(found, MillraceError):
        raise found
    return found


def text(item: Mapping[str, Any], field: str, most: int) -> str:
    """A text of 1 to ``most`` characters.

    Raises:
        RejectError: it is none.
    """
    value = item.get(field)
    if not isinstance(value, str) or not 0 < len(value) <= most:
        raise RejectError(f"a text of 1 to {most} characters is expected, {came(value, 80)}", field=field)
    return value


def checked_unit(value: Any, field: str) -> str:
    """A unit, as ``/assign`` and ``/outcomes`` take it.

    Raises:
        RejectError: it is none.
    """
    if not isinstance(value, str) or not 0 < len(value) <= MOST_UNIT or "\0" in value:
        raise RejectError(
            f"a unit is a text of 1 to {MOST_UNIT} characters without NUL, {came(value, 80)}", field=field
        )
    return value


def _value(item: Mapping[str, Any]) -> float:
    value = item.get("value")
    if type(value) not in (int, float):
        raise RejectError(f"a number is expected, {came(value, 80)}", field="value")
    number = float(value)  # type: ignore[arg-type]
    if not math.isfinite(number) or abs(number) > LARGEST:
        raise RejectError(f"a finite number of at most {LARGEST:g} is expected, {shown(value, 80)} came", field="value")
    return number


def _time(value: str, now: int, tolerance: int) -> int:
    moment = (timestamps.parse(value, field="time") - _EPOCH) // _MICROSECOND
    if moment > now + tolerance:
        raise RejectError(
            f"{value} is {(moment - now) / 1e6:.0f} s from now",
            hint="An outcome has come about already; look at the sender's clock and time zone",
            field="time",
        )
    if moment < 0:
        raise RejectError(f"{value} is before 1970", field="time")
    return moment
