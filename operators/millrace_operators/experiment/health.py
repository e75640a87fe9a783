"""What an Experiment's metrics say: in a word, in days, in a sentence, and as conditions. Derived, never typed."""

from __future__ import annotations

import math
from typing import Any, Final

from millrace_core.api import conditions
from millrace_core.api.conditions import ConditionDict, condition
from millrace_core.api.experiment import ExperimentStatus
from millrace_core.base import timestamps
from millrace_operators.experiment.guardrails import guardrails
from millrace_operators.experiment.looks import NO_DATA, no_data_since
from millrace_operators.experiment.observation import LIVE, Observation
from millrace_operators.experiment.outcomes import BEYOND
from millrace_operators.experiment.primary import NO_DIFFERENCE, SAMPLE_RATIO, is_judged, judgement
from millrace_operators.experiment.size import runtimes

HEALTHY: Final = "healthy"
NOT_LOOKED: Final = "waiting for the first look"
_DAY: Final = 86400.0
_ENDED: Final = {"Promote": "shipped", "Rollback": "rolled back", "Pass": "passed"}


def with_health(observation: Observation, status: ExperimentStatus) -> ExperimentStatus:
    """The status with what people read of it; of an experiment without metrics as it is."""
    if not observation.spec.metrics or status.started_at is None:
        return status
    after = observation.after(status)
    live = status.phase in LIVE
    found: dict[str, Any] = {"health": _health(after)} if live else {}
    status = status.model_copy(update={**found, "days_left": _days_left(after) if live else None})
    return status.model_copy(update={"summary": _sentence(observation.after(status))})


def _health(observation: Observation) -> str:
    found = judgement(observation)
    if observation.status.analysis is None:
        return NOT_LOOKED
    if any(each.state == BEYOND for each in guardrails(observation)):
        return "guardrail"
    if no_data_since(observation):
        return "no data"
    return "sample ratio" if found is not None and found.reason == SAMPLE_RATIO else HEALTHY


def _days_left(observation: Observation) -> int | None:
    """Until the planned units have come at the pace so far, but not before the least runtime or after the greatest."""
    status = observation.status
    plan, analysis, started = status.plan, status.analysis, status.started_at
    if plan is None or analysis is None or started is None or not status.arms:
        return None
    units = {arm.name: arm.units for arm in status.arms}
    control = observation.control.name
    came = min(units[control] + units[arm] for arm in units if arm != control)
    elapsed = (analysis.looked_at - started).total_seconds()
    if came == 0 or elapsed <= 0:
        return None
    least, most = (time.total_seconds() - elapsed for time in runtimes(observation))
    decided = analysis.primary is not None and analysis.primary.verdict in ("Promote", "Rollback")
    by_units = 0.0 if decided else (plan.units - came) / came * elapsed
    return max(math.ceil(min(max(by_units, least), most) / _DAY), 0)


def _sentence(observation: Observation) -> str:
    """The first of these that there is."""
    status, found = observation.status, judgement(observation)
    beyond = next((each.message for each in guardrails(observation) if each.state == BEYOND), None)
    since, days = no_data_since(observation), status.days_left or 0
    reason, verdict, message = (found.reason, found.verdict, found.message) if found else ("", "", "")
    said = {
        _ended(observation): status.decision is not None,
        f"unhealthy: {beyond}": beyond is not None,
        f"no data since {timestamps.render(since)}" if since else "": since is not None,
        f"unhealthy: sample ratio: {message}": reason == SAMPLE_RATIO,
        f"no difference worth more days: {message}": reason == NO_DIFFERENCE,
        f"about {days} day{'s' if days > 1 else ''} left": days > 0,
        f"ship now: {message}": verdict == "Promote",
        f"roll back now: {message}": verdict == "Rollback",
        NOT_LOOKED: status.analysis is None,
        message or "the guardrails hold": True,
    }
    return next(sentence for sentence, holds in said.items() if holds)


def _ended(observation: Observation) -> str:
    decision = observation.status.decision
    if decision is None:
        return ""
    return f"{_ENDED.get(decision.verdict, 'no decision')}: {decision.reason}"


def checks(observation: Observation) -> list[ConditionDict]:
    """MetricsAvailable, SampleRatioOK and GuardrailsOK; none of an experiment without metrics."""
    if not observation.spec.metrics:
        return []
    judged = is_judged(observation)
    if observation.status.analysis is None:
        message = "the metrics have not been looked at yet"
        kinds = [conditions.METRICS_AVAILABLE, *([conditions.SAMPLE_RATIO_OK] if judged else ())]
        return [condition(kind, None, "NotLookedYet", message) for kind in (*kinds, conditions.GUARDRAILS_OK)]
    return [
        _available(observation),
        *([_sample_ratio(observation)] if judged else ()),
        _guardrails(observation),
    ]


def _available(observation: Observation) -> ConditionDict:
    measured = (observation.status.analysis and observation.status.analysis.measurements) or ()
    blind = dict.fromkeys(each.message or each.metric for each in measured if each.state == NO_DATA)
    if blind:
        return condition(conditions.METRICS_AVAILABLE, False, NO_DATA, "; ".join(blind))
    return condition(conditions.METRICS_AVAILABLE, True, "AllKnown", "every metric had data at the last look")


def _sample_ratio(observation: Observation) -> ConditionDict:
    found = judgement(observation)
    if found is None or found.sample_ratio is None:
        return condition(conditions.SAMPLE_RATIO_OK, None, "NoUnits", "no units have come yet")
    if found.reason == SAMPLE_RATIO:
        return condition(conditions.SAMPLE_RATIO_OK, False, SAMPLE_RATIO, found.message)
    return condition(conditions.SAMPLE_RATIO_OK, True, "AsWeighted", "units come to the arms as the weights say")


def _guardrails(observation: Observation) -> ConditionDict:
    found = guardrails(observation)
    beyond = [each.message or each.metric for each in found if each.state == BEYOND]
    if beyond:
        return condition(conditions.GUARDRAILS_OK, False, "BeyondLimit", "; ".join(beyond))
    if any(each.state == NO_DATA for each in found):
        return condition(conditions.GUARDRAILS_OK, None, NO_DATA, "what decides has no data")
    return condition(conditions.GUARDRAILS_OK, True, "WithinLimits", "every guardrail is within its limits")
