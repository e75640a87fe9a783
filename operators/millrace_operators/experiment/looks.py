"""Looks at an Experiment's metrics: when one is due, what it asks for, and what the answers come to. Pure.

A look's result is written to the status with what follows from it, so that nothing but the status is needed after a
restart. Whatever is not a number is no data: an outage, NaN, no series, several, or an answer that is too old.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Final

from millrace_core.api.experiment import Arm, ExperimentSpec, ExperimentStatus
from millrace_core.api.experiment_metrics import Analysis, AnalysisStatus, Measurement, Metric
from millrace_core.base import duration
from millrace_operators.experiment.observation import LIVE, Observation
from millrace_operators.experiment.schedule import hold_began_at
from millrace_operators.facts.fact import NOT_GATHERED, Fact, Failed, Known, describe
from millrace_operators.facts.prometheus import PrometheusNumber

WITHIN: Final = "Within"
BEYOND: Final = "Beyond"
NO_DATA: Final = "NoData"
GUARDRAIL: Final = "guardrail"

_SOON: Final = timedelta(seconds=1)
_PLACEHOLDER: Final = re.compile(r"\{\{(\w+)\}\}")


def analysis_of(spec: ExperimentSpec) -> Analysis:
    """The spec's, or what it is by default."""
    return spec.analysis or Analysis()


def next_look_at(observation: Observation) -> datetime | None:
    """When the metrics are to be looked at; None while they are not.

    A look counts what happened in the interval before it, so the first one after a change of the weights, or of an
    arm's revision, comes when this and the time that the change took are over.
    """
    since, analysis = _measured_since(observation), observation.status.analysis
    if since is None or observation.phase not in LIVE or not observation.mesh or not measured_arms(observation):
        return None
    return max(since, analysis.looked_at if analysis else since) + _interval(observation.spec)


def looked_at_step(observation: Observation) -> bool:
    """Whether the last look counts only what happened since the current step is in force."""
    since, analysis = _measured_since(observation), observation.status.analysis
    return since is not None and analysis is not None and analysis.looked_at >= since + _interval(observation.spec)


def look_times(observation: Observation) -> list[datetime]:
    """When to look at it again for the sake of its metrics."""
    due, blind = next_look_at(observation), no_data_since(observation)
    given_up = blind + max_hold(observation) if blind is not None else None
    # One that is due and has no answers yet: what it asks for was not known when facts were gathered.
    due = observation.now + _SOON if due is not None and due <= observation.now else due
    return [time for time in (due, given_up) if time is not None]


def measured_arms(observation: Observation) -> list[Arm]:
    """The challengers that there is something to measure of: those with traffic."""
    weights = (observation.status.weights and observation.status.weights.applied) or {}
    return [arm for arm in observation.challengers if observation.spec.metrics and weights.get(arm.name, 0) > 0]


def no_data_since(observation: Observation) -> datetime | None:
    """Since when a guardrail has no data; None where all have, or none is any more."""
    analysis = observation.status.analysis
    return analysis.no_data_since if analysis and observation.spec.metrics else None


def max_hold(observation: Observation) -> timedelta:
    """How long that may last."""
    return timedelta(seconds=duration.seconds(analysis_of(observation.spec).max_hold, field="spec.analysis.maxHold"))


def asked(observation: Observation) -> dict[tuple[str, str], PrometheusNumber]:
    """What a look that is due has to know, by metric and arm; empty where none is."""
    due = next_look_at(observation)
    if due is None or observation.now < due:
        return {}
    return {
        (metric.name, arm.name): PrometheusNumber(metric.name, arm.name, _query(observation, metric, arm))
        for metric in observation.spec.metrics or ()
        for arm in measured_arms(observation)
    }


def with_look(observation: Observation) -> ExperimentStatus:
    """The status with what a look comes to that is due and whose answers are there; else as it is."""
    status, requests = observation.status, asked(observation)
    facts = {key: observation.facts.get(request) for key, request in requests.items()}
    if not facts or any(isinstance(fact, Failed) and fact.reason == NOT_GATHERED for fact in facts.values()):
        return status
    before = {(each.metric, each.arm): each for each in (status.analysis and status.analysis.measurements) or ()}
    metrics = {metric.name: metric for metric in observation.spec.metrics or ()}
    measured = [_measurement(metrics[key[0]], requests[key], fact, before.get(key)) for key, fact in facts.items()]
    blind = any(each.state == NO_DATA and metrics[each.metric].role == GUARDRAIL for each in measured)
    since = (status.analysis.no_data_since if status.analysis else None) or observation.now
    analysis = AnalysisStatus(looked_at=observation.now, no_data_since=since if blind else None, measurements=measured)
    return status.model_copy(update={"analysis": analysis})


def without_failures(status: ExperimentStatus) -> AnalysisStatus | None:
    """The last look, with nothing held against anyone: a person has seen it and wants to go on."""
    analysis = status.analysis
    if analysis is None:
        return None
    measured = [each.model_copy(update={"failures": 0}) for each in analysis.measurements or ()]
    return analysis.model_copy(update={"no_data_since": None, "measurements": measured or None})


def _measurement(
    metric: Metric, request: PrometheusNumber, fact: Fact[float], before: Measurement | None
) -> Measurement:
    failures, message = before.failures if before else 0, None
    value = fact.value if isinstance(fact, Known) else None
    if value is None:
        # What it had shown before an outage is neither forgotten nor made worse.
        state, message = NO_DATA, describe(request, fact)
    elif limit := _limit(metric, value):
        state, failures, message = BEYOND, failures + 1, f"{request} is {value:g}, {limit}"
    else:
        state, failures = WITHIN, 0
    return Measurement(
        metric=request.metric, arm=request.arm, state=state, value=value, failures=failures, message=message
    )


def _limit(metric: Metric, value: float) -> str:
    """The limit that the value is beyond, in words; empty: none."""
    if metric.abort_above is not None and value > metric.abort_above:
        return f"above {metric.abort_above:g}"
    if metric.abort_below is not None and value < metric.abort_below:
        return f"below {metric.abort_below:g}"
    return ""


def _query(observation: Observation, metric: Metric, arm: Arm) -> str:
    values = {
        "service": observation.spec.service,
        "namespace": observation.namespace,
        "deployment": arm.deployment,
        "arm": arm.name,
        "interval": f"{_interval(observation.spec).total_seconds():.0f}s",
    }
    return _PLACEHOLDER.sub(lambda found: values[found[1]], metric.source.prometheus)


def _measured_since(observation: Observation) -> datetime | None:
    """Since when traffic is as it is now, and every proxy knows; None while the route is being changed."""
    began, epochs = hold_began_at(observation), observation.status.epochs
    if began is None:
        return None
    return max(began, epochs[-1].start if epochs else began) + observation.settle


def _interval(spec: ExperimentSpec) -> timedelta:
    return timedelta(seconds=duration.seconds(analysis_of(spec).interval, field="spec.analysis.interval"))
