"""What an Experiment's metrics say in a word, and as conditions. Derived from the last look, never typed."""

from __future__ import annotations

from typing import Final

from millrace_core.api import conditions
from millrace_core.api.conditions import ConditionDict, condition
from millrace_operators.experiment.guardrails import guardrails
from millrace_operators.experiment.looks import BEYOND, NO_DATA, no_data_since
from millrace_operators.experiment.observation import LIVE, Observation

HEALTHY: Final = "healthy"
NOT_LOOKED: Final = "waiting for the first look"


def health(observation: Observation) -> str | None:
    """One word; None of an experiment without metrics, or before its start. At the end the last word stays."""
    if not observation.spec.metrics or not observation.status.started_at:
        return None
    if observation.phase not in LIVE:
        return observation.status.health
    if observation.status.analysis is None:
        return NOT_LOOKED
    if any(each.state == BEYOND for each in guardrails(observation)):
        return "guardrail"
    return "no data" if no_data_since(observation) else HEALTHY


def checks(observation: Observation) -> list[ConditionDict]:
    """MetricsAvailable and GuardrailsOK; none of an experiment without metrics."""
    if not observation.spec.metrics:
        return []
    if observation.status.analysis is None:
        message = "the metrics have not been looked at yet"
        kinds = (conditions.METRICS_AVAILABLE, conditions.GUARDRAILS_OK)
        return [condition(kind, None, "NotLookedYet", message) for kind in kinds]
    return [_available(observation), _guardrails(observation)]


def _available(observation: Observation) -> ConditionDict:
    measured = (observation.status.analysis and observation.status.analysis.measurements) or ()
    blind = [each.message or each.metric for each in measured if each.state == NO_DATA]
    if blind:
        return condition(conditions.METRICS_AVAILABLE, False, "NoData", "; ".join(blind))
    return condition(conditions.METRICS_AVAILABLE, True, "AllKnown", "every metric had data at the last look")


def _guardrails(observation: Observation) -> ConditionDict:
    found = guardrails(observation)
    beyond = [each.message or each.metric for each in found if each.state == BEYOND]
    if beyond:
        return condition(conditions.GUARDRAILS_OK, False, "BeyondLimit", "; ".join(beyond))
    if any(each.state == NO_DATA for each in found):
        return condition(conditions.GUARDRAILS_OK, None, "NoData", "a guardrail has no data")
    return condition(conditions.GUARDRAILS_OK, True, "WithinLimits", "every guardrail is within its limits")
