"""The status of a view: what was observed and planned, as conditions and fields. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

from millrace.api import conditions
from millrace.api.conditions import ConditionDict, condition
from millrace.base import timestamps
from millrace.base.errors import MillraceError
from millrace.featureview import progress
from millrace.featureview.plan import Plan
from millrace.featureview.view import View


class Situation(NamedTuple):
    """What the conditions are about.

    Args:
        obstacle: why Jobs cannot be made at all, where they cannot.
    """

    view: View
    plan: Plan
    now: datetime
    obstacle: MillraceError | None = None

    @property
    def suspended(self) -> bool:
        """Whether the author suspended runs."""
        materialization = self.view.spec.materialization
        return materialization is not None and materialization.suspend


Verdict = tuple[bool | None, str, str]
Rule = Callable[[Situation], Verdict | None]


def status(previous: Mapping[str, Any], situation: Situation, generation: int) -> dict[str, Any]:
    """The whole status of an accepted view."""
    said = [
        condition(conditions.ACCEPTED, True, conditions.VALID, "the definition is valid"),
        condition(conditions.MATERIALIZED, *_verdict(_MATERIALIZED, situation)),
        condition(conditions.FRESH, *_verdict(_FRESH, situation)),
    ]
    return {
        "observedGeneration": generation,
        **progress.render(situation.plan.progress),
        "handledCommand": situation.plan.handled or None,
        "commandResult": situation.plan.command_result,
        "conditions": _settled(previous, said, generation, situation.now),
    }


def rejected(previous: Mapping[str, Any], error: MillraceError, generation: int, now: datetime) -> dict[str, Any]:
    """The status of a view whose definition is wrong: what was reached before stays on record."""
    said = [conditions.rejected(conditions.ACCEPTED, error)]
    waits = "nothing runs until the definition is accepted"
    said += [condition(kind, None, conditions.PENDING, waits) for kind in (conditions.MATERIALIZED, conditions.FRESH)]
    return {
        **previous,
        "observedGeneration": generation,
        "conditions": _settled(previous, said, generation, now),
    }


def purging(previous: Mapping[str, Any], message: str, generation: int, now: datetime) -> dict[str, Any]:
    """The status of a view that goes."""
    kept = [item for item in previous.get("conditions") or () if item["type"] != conditions.READY]
    ready = condition(conditions.READY, False, conditions.DELETING, message)
    settled = conditions.settle(previous.get("conditions"), [ready], generation=generation, now=now)
    return {**previous, "observedGeneration": generation, "conditions": [*kept, *settled]}


def _settled(
    previous: Mapping[str, Any], said: list[ConditionDict], generation: int, now: datetime
) -> list[ConditionDict]:
    ready = conditions.summary(said)
    return conditions.settle(previous.get("conditions"), [*said, ready], generation=generation, now=now)


def _verdict(rules: tuple[Rule, ...], situation: Situation) -> Verdict:
    """Of the first rule that has one."""
    return next(verdict for rule in rules if (verdict := rule(situation)) is not None)


def _offline(it: Situation) -> Verdict | None:
    if it.plan.scheduled:
        return None
    return True, conditions.OFFLINE, "spec.online.enabled is false: the view is for training sets only"


def _obstructed(it: Situation) -> Verdict | None:
    return (False, it.obstacle.reason, str(it.obstacle)) if it.obstacle else None


def _stuck(it: Situation) -> Verdict | None:
    active = it.plan.active
    return (False, active.failure.reason, active.failure.message) if active and active.failure else None


def _failed(it: Situation) -> Verdict | None:
    last = it.plan.progress.last_run
    if last is None or last.succeeded:
        return None
    return False, last.reason or conditions.RUN_FAILED, f"Job {last.name}: {last.message or 'failed'}"


def _suspended(it: Situation) -> Verdict | None:
    if not it.suspended or not it.plan.gaps:
        return None
    return None, conditions.SUSPENDED, f"spec.materialization.suspend is true; {it.plan.gaps[0]} is missing"


def _running(it: Situation) -> Verdict | None:
    job = it.plan.job.name if it.plan.job else it.plan.active.name if it.plan.active else ""
    if not it.plan.gaps or not job:
        return None
    return None, conditions.RUNNING, f"Job {job} is at work; missing: {it.plan.gaps[0]}"


def _pending(it: Situation) -> Verdict | None:
    return (None, conditions.PENDING, it.plan.reason) if it.plan.gaps else None


def _covered(_: Situation) -> Verdict:
    return True, conditions.COVERED, "nothing is missing since spec.materialization.startFrom"


def _standing_still(it: Situation) -> Verdict | None:
    if not it.suspended:
        return None
    return None, conditions.SUSPENDED, "spec.materialization.suspend is true: the watermark stands still"


def _behind(it: Situation) -> Verdict | None:
    due, watermark = it.plan.stale_at, it.plan.progress.watermark
    if due is None or it.now < due:
        return None
    stands = f"the watermark is {timestamps.render(watermark)}" if watermark else "no run has succeeded"
    return False, conditions.BEHIND, f"{stands}; a run that was due before {timestamps.render(due)} is missing"


def _not_run(it: Situation) -> Verdict | None:
    return None if it.plan.progress.watermark else (None, conditions.NOT_RUN, "no run has succeeded yet")


def _up_to_date(_: Situation) -> Verdict:
    return True, conditions.UP_TO_DATE, "the watermark keeps up with the schedule"


_MATERIALIZED: Final[tuple[Rule, ...]] = (
    _offline,
    _obstructed,  # no store: nothing below can be made true
    _stuck,  # a pod that cannot start says what has to be mended
    _failed,  # until a later run succeeds
    _suspended,
    _running,
    _pending,
    _covered,
)
_FRESH: Final[tuple[Rule, ...]] = (_offline, _standing_still, _behind, _not_run, _up_to_date)
