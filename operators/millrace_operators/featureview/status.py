"""The status of a view: what was observed and planned, as conditions and fields. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

from millrace_core.api import conditions
from millrace_core.api.conditions import ConditionDict, condition
from millrace_core.base import timestamps
from millrace_core.base.errors import MillraceError
from millrace_operators.featureview import progress
from millrace_operators.featureview.plan import Plan
from millrace_operators.featureview.view import View


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


# A job's reasons for refusing a source that is not as the definition says.
_SOURCE_CHANGED: Final = ("ColumnNotFound", "WrongColumnType")
_NAMED: Final = 3

Verdict = tuple[bool | None, str, str]
Rule = Callable[[Situation], Verdict | None]


def status(previous: Mapping[str, Any], situation: Situation, generation: int) -> dict[str, Any]:
    """The whole status of an accepted view."""
    said = [
        condition(conditions.ACCEPTED, True, conditions.VALID, "the definition is valid"),
        condition(conditions.MATERIALIZED, *_verdict(_MATERIALIZED, situation)),
        condition(conditions.FRESH, *_verdict(_FRESH, situation)),
        condition(conditions.QUALITY_OK, *_verdict(_QUALITY, situation)),
    ]
    rendered = progress.render(situation.plan.progress)
    return {
        "observedGeneration": generation,
        **rendered,
        "quality": rendered["quality"] if situation.view.spec.quality else None,
        "handledCommand": situation.plan.handled or None,
        "commandResult": situation.plan.command_result,
        "conditions": _settled(previous, said, generation, situation.now),
    }


def rejected(previous: Mapping[str, Any], error: MillraceError, generation: int, now: datetime) -> dict[str, Any]:
    """The status of a view whose definition is wrong: what was reached before stays on record."""
    said = [conditions.rejected(conditions.ACCEPTED, error)]
    waits = "nothing runs until the definition is accepted"
    pending = (conditions.MATERIALIZED, conditions.FRESH, conditions.QUALITY_OK)
    said += [condition(kind, None, conditions.PENDING, waits) for kind in pending]
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


def _failing(it: Situation, severity: str) -> list[Mapping[str, Any]]:
    results = it.plan.progress.quality or ()
    return [result for result in results if not result.get("passed") and result.get("severity") == severity]


def _named(results: list[Mapping[str, Any]]) -> str:
    more = f"; and {len(results) - _NAMED} more" if len(results) > _NAMED else ""
    return "; ".join(f"{each.get('name')}: {each.get('message')}" for each in results[:_NAMED]) + more


def _source_changed(it: Situation) -> Verdict | None:
    """The source no longer holds what the definition says, which no rule needs to ask for."""
    last = it.plan.progress.last_run
    if last is None or last.succeeded or last.reason not in _SOURCE_CHANGED:
        return None
    return False, last.reason, f"Job {last.name}: {last.message}"


def _no_rules(it: Situation) -> Verdict | None:
    return None if it.view.spec.quality else (True, conditions.NO_RULES, "spec.quality asks for nothing")


def _not_checked(it: Situation) -> Verdict | None:
    if it.plan.progress.quality is not None:
        return None
    return None, conditions.NOT_RUN, "no run has checked the quality of its rows yet"


def _blocked(it: Situation) -> Verdict | None:
    failing = _failing(it, "block")
    if not failing:
        return None
    return False, conditions.QUALITY_BLOCKED, f"the last good values stay; {_named(failing)}"


def _warned(it: Situation) -> Verdict | None:
    failing = _failing(it, "warn")
    return (True, conditions.QUALITY_WARNINGS, _named(failing)) if failing else None


def _passed(it: Situation) -> Verdict:
    return True, conditions.QUALITY_PASSED, f"{len(it.plan.progress.quality or ())} checks passed"


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
_QUALITY: Final[tuple[Rule, ...]] = (
    _offline,
    _source_changed,
    _no_rules,
    _not_checked,
    _blocked,
    _warned,  # nothing that it holds back, so nothing is wrong with the view
    _passed,
)
