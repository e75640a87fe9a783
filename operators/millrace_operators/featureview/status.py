"""The status of a view: conditions and fields, from what was observed and planned. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from millrace_core.api import conditions
from millrace_core.api.conditions import ConditionDict, condition
from millrace_core.base import timestamps
from millrace_core.base.errors import MillraceError
from millrace_operators.featureview import progress
from millrace_operators.featureview.plan import ViewPlan
from millrace_operators.featureview.view import View


class StatusContext(NamedTuple):
    """What the conditions are made from.

    Args:
        obstacle: why Jobs cannot be made; None where they can.
        refused: why the spec that somebody wrote is not the one in effect.
        held: why the view is still there although it is being deleted.
    """

    view: View
    plan: ViewPlan
    now: datetime
    obstacle: MillraceError | None = None
    refused: MillraceError | None = None
    held: str = ""

    @property
    def suspended(self) -> bool:
        """Whether the author suspended runs."""
        materialization = self.view.spec.materialization
        return materialization is not None and materialization.suspend

    @property
    def quality(self) -> Sequence[Mapping[str, Any]]:
        """The results of the last run that made them; without rules only what was found of expressions."""
        results = self.plan.progress.quality or ()
        if self.view.spec.quality:
            return results
        names = {check.name for check in self.view.definition.error_checks}
        return [each for each in results if each.get("name") in names]


# Reasons with which a job refuses a source that differs from the definition.
_SOURCE_CHANGED: Final = ("ColumnNotFound", "WrongColumnType")
_NAMED: Final = 3

# Whether the condition holds (None is Unknown), reason and message.
ConditionState = tuple[bool | None, str, str]
Rule = Callable[[StatusContext], ConditionState | None]


def status(
    previous: Mapping[str, Any], context: StatusContext, spec: Mapping[str, Any], generation: int
) -> dict[str, Any]:
    """The whole status of a view that has a definition in effect.

    Args:
        spec: the one in effect.
        generation: of the object, whose spec is another one where it is refused.
    """
    accepted = condition(conditions.ACCEPTED, True, conditions.VALID, "the definition is valid")
    stated = [
        *([condition(conditions.DELETABLE, False, conditions.IN_USE, context.held)] if context.held else []),
        accepted if context.refused is None else conditions.rejected(conditions.ACCEPTED, context.refused),
        condition(conditions.MATERIALIZED, *_state(_MATERIALIZED, context)),
        condition(conditions.FRESH, *_state(_FRESH, context)),
        condition(conditions.QUALITY_OK, *_state(_QUALITY, context)),
    ]
    rendered = progress.render(context.plan.progress)
    return {
        "observedGeneration": generation,
        "definition": dict(spec),
        **rendered,
        "quality": list(context.quality[: progress.MOST_RESULTS]) or None,
        "handledCommand": context.plan.handled or None,
        "commandResult": context.plan.command_result,
        "conditions": _settled(previous, stated, generation, context.now),
    }


def rejected(previous: Mapping[str, Any], error: MillraceError, generation: int, now: datetime) -> dict[str, Any]:
    """The status of a view whose definition is wrong, and that had none before."""
    stated = [conditions.rejected(conditions.ACCEPTED, error)]
    waiting = "nothing runs until the definition is accepted"
    pending = (conditions.MATERIALIZED, conditions.FRESH, conditions.QUALITY_OK)
    stated += [condition(kind, None, conditions.PENDING, waiting) for kind in pending]
    return {
        **previous,
        "observedGeneration": generation,
        "conditions": _settled(previous, stated, generation, now),
    }


def purging(
    previous: Mapping[str, Any], message: str, generation: int, now: datetime, *, forced: str = ""
) -> dict[str, Any]:
    """The status of a view that goes.

    Args:
        forced: who still reads it, where it goes by force.
    """
    stated = [_let_go(previous, forced), condition(conditions.READY, False, conditions.DELETING, message)]
    kinds = [item["type"] for item in stated]
    kept = [item for item in previous.get("conditions") or () if item["type"] not in kinds]
    settled = conditions.settle(previous.get("conditions"), stated, generation=generation, now=now)
    return {**previous, "observedGeneration": generation, "conditions": [*kept, *settled]}


def _let_go(previous: Mapping[str, Any], forced: str) -> ConditionDict:
    found = conditions.find(previous.get("conditions"), conditions.DELETABLE)
    if found is not None and found["status"] == "True":  # what it said then
        return condition(conditions.DELETABLE, True, found["reason"], found["message"])
    if forced:
        return condition(conditions.DELETABLE, True, conditions.FORCED, f"the deletion is forced although {forced}")
    return condition(conditions.DELETABLE, True, conditions.UNUSED, "nobody reads the view")


def _settled(
    previous: Mapping[str, Any], stated: list[ConditionDict], generation: int, now: datetime
) -> list[ConditionDict]:
    ready = conditions.summary(stated)
    return conditions.settle(previous.get("conditions"), [*stated, ready], generation=generation, now=now)


def _state(rules: tuple[Rule, ...], context: StatusContext) -> ConditionState:
    """The state that the first rule gives that applies."""
    return next(state for rule in rules if (state := rule(context)) is not None)


def _offline(it: StatusContext) -> ConditionState | None:
    if it.plan.scheduled:
        return None
    return True, conditions.OFFLINE, "spec.online.enabled is false: the view is for training sets only"


def _obstructed(it: StatusContext) -> ConditionState | None:
    return (False, it.obstacle.reason, str(it.obstacle)) if it.obstacle else None


def _stuck(it: StatusContext) -> ConditionState | None:
    active = it.plan.active
    if active is None or active.failure is None:
        return None
    failure = active.failure
    if failure.passing:
        return None, conditions.RUNNING, f"Job {active.name}: {failure.message}"
    return False, failure.reason, failure.message


def _failed(it: StatusContext) -> ConditionState | None:
    last = it.plan.progress.last_run
    if last is None or last.succeeded:
        return None
    return False, last.reason or conditions.RUN_FAILED, f"Job {last.name}: {last.message or 'failed'}"


def _emptied(it: StatusContext) -> ConditionState | None:
    if not it.plan.emptied:
        return None
    job = it.plan.job.name if it.plan.job else it.plan.active.name if it.plan.active else ""
    what = f"Job {job} writes the view anew" if job else f"the view is not written anew: {it.plan.reason}"
    return False, conditions.STORE_EMPTIED, f"the online store has no record of the view any more; {what}"


def _nothing_stored(it: StatusContext) -> ConditionState | None:
    if not it.plan.emptied:
        return None
    return False, conditions.STORE_EMPTIED, "the online store has no record of the view any more"


def _suspended(it: StatusContext) -> ConditionState | None:
    if not it.suspended or not it.plan.gaps:
        return None
    return None, conditions.SUSPENDED, f"spec.materialization.suspend is true; {it.plan.gaps[0]} is missing"


def _running(it: StatusContext) -> ConditionState | None:
    job = it.plan.job.name if it.plan.job else it.plan.active.name if it.plan.active else ""
    if not it.plan.gaps or not job:
        return None
    return None, conditions.RUNNING, f"Job {job} is at work; missing: {it.plan.gaps[0]}"


def _pending(it: StatusContext) -> ConditionState | None:
    return (None, conditions.PENDING, it.plan.reason) if it.plan.gaps else None


def _not_begun(it: StatusContext) -> ConditionState | None:
    materialization = it.view.spec.materialization
    start = materialization.start_from if materialization else None
    if start is None or timestamps.parse(start, field="spec.materialization.startFrom") <= it.now:
        return None
    return None, conditions.PENDING, f"nothing is materialized before spec.materialization.startFrom, {start}"


def _covered(it: StatusContext) -> ConditionState:
    materialization = it.view.spec.materialization
    chosen = materialization is not None and materialization.start_from
    since = "spec.materialization.startFrom" if chosen else "the beginning of the source"
    return True, conditions.COVERED, f"nothing is missing since {since}"


def _watermark_suspended(it: StatusContext) -> ConditionState | None:
    if not it.suspended:
        return None
    return None, conditions.SUSPENDED, "spec.materialization.suspend is true: the watermark stands still"


def _behind(it: StatusContext) -> ConditionState | None:
    due, watermark = it.plan.stale_at, it.plan.progress.watermark
    if due is None or it.now < due:
        return None
    stands = f"the watermark is {timestamps.render(watermark)}" if watermark else "no run has succeeded"
    return False, conditions.BEHIND, f"{stands}; a run that was due before {timestamps.render(due)} is missing"


def _not_run(it: StatusContext) -> ConditionState | None:
    return None if it.plan.progress.watermark else (None, conditions.NOT_RUN, "no run has succeeded yet")


def _up_to_date(_: StatusContext) -> ConditionState:
    return True, conditions.UP_TO_DATE, "the watermark keeps up with the schedule"


def _failing(it: StatusContext, severity: str) -> list[Mapping[str, Any]]:
    return [result for result in it.quality if not result.get("passed") and result.get("severity") == severity]


def _named(results: list[Mapping[str, Any]]) -> str:
    more = f"; and {len(results) - _NAMED} more" if len(results) > _NAMED else ""
    return "; ".join(f"{each.get('name')}: {each.get('message')}" for each in results[:_NAMED]) + more


def _source_changed(it: StatusContext) -> ConditionState | None:
    """The source no longer has the columns or types of the definition. This is checked without any rule."""
    last = it.plan.progress.last_run
    if last is None or last.succeeded or last.reason not in _SOURCE_CHANGED:
        return None
    return False, last.reason, f"Job {last.name}: {last.message}"


def _no_rules(it: StatusContext) -> ConditionState | None:
    return None if it.view.spec.quality or it.quality else (True, conditions.NO_RULES, "spec.quality has no rules")


def _not_checked(it: StatusContext) -> ConditionState | None:
    if it.plan.progress.quality is not None:
        return None
    return None, conditions.NOT_RUN, "no run has checked the quality of its rows yet"


def _blocked(it: StatusContext) -> ConditionState | None:
    failing = _failing(it, "block")
    if not failing:
        return None
    return False, conditions.QUALITY_BLOCKED, f"the last good values stay; {_named(failing)}"


def _warned(it: StatusContext) -> ConditionState | None:
    failing, later = _failing(it, "warn"), _later(it)
    if not failing and later is None:
        return None
    return True, conditions.QUALITY_WARNINGS, "; ".join(filter(None, (later, _named(failing))))


def _later(it: StatusContext) -> str | None:
    """What is said of rows later than now, which are counted without any rule."""
    last = it.plan.progress.last_run
    if last is None or not last.later:
        return None
    rows = "1 row of the source is" if last.later == 1 else f"{last.later:,} rows of the source are"
    return f"{rows} later than now by more than 5 minutes, and not written before that time comes"


def _passed(it: StatusContext) -> ConditionState:
    return True, conditions.QUALITY_PASSED, f"{len(it.plan.progress.quality or ())} checks passed"


_MATERIALIZED: Final[tuple[Rule, ...]] = (
    _offline,
    _obstructed,  # no store: nothing below can be made true
    _stuck,  # a pod that cannot start
    _failed,  # until a later run succeeds
    _emptied,
    _suspended,
    _running,
    _pending,
    _not_begun,  # a mistyped year says nothing of itself
    _covered,
)
_FRESH: Final[tuple[Rule, ...]] = (_offline, _nothing_stored, _watermark_suspended, _behind, _not_run, _up_to_date)
_QUALITY: Final[tuple[Rule, ...]] = (
    _offline,
    _source_changed,
    _blocked,
    _warned,  # nothing is held back, so the condition is True
    _no_rules,
    _not_checked,
    _passed,
)
