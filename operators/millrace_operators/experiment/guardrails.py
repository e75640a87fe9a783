"""The rules of the policy that rest on the last look at the metrics: harm, no data, and steps that wait for a look."""

from __future__ import annotations

from typing import Final

from millrace_core.api.experiment_metrics import Measurement
from millrace_core.base import timestamps
from millrace_operators.experiment.looks import (
    DECIDING,
    NO_DATA,
    looked_at_step,
    max_hold,
    measured_arms,
    no_data_since,
)
from millrace_operators.experiment.observation import HOLDING, LIVE, PAUSED, RUNNING, Observation
from millrace_operators.experiment.outcomes import BEYOND, TOO_FEW
from millrace_operators.experiment.schedule import next_step_at
from millrace_operators.experiment.size import analysis_of
from millrace_operators.experiment.types import type_of
from millrace_operators.experiment.verdict import INCONCLUSIVE, ROLLBACK, Verdict, pause, roll_back

NO_DATA_REASON: Final = "NoData"


def harmful(observation: Observation) -> Verdict | None:
    """A guardrail was beyond its limit at so many looks in a row. It ends a paused experiment too: traffic is split."""
    limit = analysis_of(observation.spec).failure_limit
    found = next((each for each in guardrails(observation) if each.failures >= limit), None)
    if found is None or observation.phase not in LIVE:
        return None
    message = found.message or found.metric
    if all(metric.kind is None for metric in observation.spec.metrics or () if metric.name == found.metric):
        message = f"{message}, at {found.failures} looks in a row"
    if observation.spec.on_failure == "Rollback":
        return roll_back(ROLLBACK, "GuardrailViolated", message)
    return None if observation.phase == PAUSED else pause(observation, "GuardrailViolated", message, warning=True)


def without_data(observation: Observation) -> Verdict | None:
    """What decides has no data: nothing moves. What lasts too long is given up, as its type does it."""
    if observation.phase not in (RUNNING, HOLDING):
        return None
    since = no_data_since(observation)
    if since is None:
        return _data_again(observation)
    names = "; ".join(each.message or each.metric for each in guardrails(observation) if each.state == NO_DATA)
    message = f"no data since {timestamps.render(since)}: {names}"
    if observation.now >= since + max_hold(observation):
        if type_of(observation.spec.type).rolls_back_without_data:
            return roll_back(INCONCLUSIVE, NO_DATA_REASON, message)
        return pause(observation, NO_DATA_REASON, message, warning=True)
    if observation.phase == HOLDING:
        return Verdict(NO_DATA_REASON, message)
    return Verdict(NO_DATA_REASON, message, {"phase": HOLDING}, warning=True)


def _data_again(observation: Observation) -> Verdict | None:
    if observation.phase != HOLDING:
        return None
    message = "there are data again; the step's hold begins anew"
    return Verdict("DataAgain", message, {"phase": RUNNING, "step_started_at": observation.now})


def step_waits_for_look(observation: Observation) -> Verdict | None:
    """Elapsed holds do not skip the look, and nothing goes on while a guardrail is beyond its limit."""
    due = next_step_at(observation)
    if not measured_arms(observation) or due is None or observation.now < due:
        return None
    failing = next((each for each in guardrails(observation) if each.state in (BEYOND, TOO_FEW)), None)
    if failing is not None:
        reason = "GuardrailFailing" if failing.state == BEYOND else TOO_FEW
        return Verdict(reason, f"{failing.message}; the next step waits")
    if not looked_at_step(observation):
        return Verdict("AwaitingLook", "the next step waits for a look at the metrics")
    return None


def guardrails(observation: Observation) -> list[Measurement]:
    """What the last look came to, of guardrails and of a primary metric that has no data."""
    names = {metric.name for metric in observation.spec.metrics or () if metric.role in DECIDING}
    analysis = observation.status.analysis
    return [each for each in (analysis and analysis.measurements) or () if each.metric in names]
