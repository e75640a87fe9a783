"""Looks at an Experiment's metrics: when one is due, what it asks for, and what the answers come to. Pure.

A look's result is written to the status with what follows from it, so that nothing but the status is needed after a
restart. Whatever is not a number is no data: an outage, NaN, no series, several, or an answer that is too old.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from millrace_core.api.experiment import Arm, ExperimentSpec, ExperimentStatus, Weights
from millrace_core.api.experiment_metrics import AnalysisStatus, Measurement, Metric
from millrace_core.base import duration
from millrace_core.base.errors import RejectError
from millrace_core.experiments.compared import ComparedPredictions
from millrace_operators.experiment import comparisons
from millrace_operators.experiment.observation import LIVE, Observation
from millrace_operators.experiment.outcomes import BEYOND, TOO_FEW, WITHIN, OutcomeLook, look_at_outcomes
from millrace_operators.experiment.primary import decided_between
from millrace_operators.experiment.schedule import hold_began_at
from millrace_operators.experiment.size import analysis_of
from millrace_operators.facts.fact import NOT_GATHERED, Absent, Fact, FactRequest, Failed, Known, describe
from millrace_operators.facts.outcome_sums import OutcomeSums
from millrace_operators.facts.prometheus import PrometheusNumber

NO_DATA: Final = "NoData"
# Roles without whose data nothing goes on.
DECIDING: Final = ("guardrail", "primary")

_SOON: Final = timedelta(seconds=1)
_PLACEHOLDER: Final = re.compile(r"\{\{(\w+)\}\}")
# Of a metric and an arm.
_Key = tuple[str, str]


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
    # At the least runtime nothing is decided: the next look does it.
    times = [due, given_up, *(decided_between(observation) or ())[1:]]
    return [time for time in times if time is not None]


def measured_arms(observation: Observation) -> list[Arm]:
    """The challengers that there is something to measure of: those with traffic, or with copies of it."""
    weights = observation.status.weights or Weights()
    given = [*((weights.applied or {}).items()), *((weights.mirrored or {}).items())]
    reached = {name for name, percent in given if percent > 0}
    return [arm for arm in observation.challengers if observation.spec.metrics and arm.name in reached]


def no_data_since(observation: Observation) -> datetime | None:
    """Since when what decides has no data; None where it has, or there is no metric any more."""
    analysis = observation.status.analysis
    return analysis.no_data_since if analysis and observation.spec.metrics else None


def max_hold(observation: Observation) -> timedelta:
    """How long that may last."""
    return timedelta(seconds=duration.seconds(analysis_of(observation.spec).max_hold, field="spec.analysis.maxHold"))


def fact_requests(observation: Observation) -> dict[_Key, FactRequest[Any]]:
    """What a look that is due has to know, by metric and arm; empty where none is."""
    due = next_look_at(observation)
    if due is None or observation.now < due:
        return {}
    return {
        (metric.name, arm.name): _request(observation, metric, arm)
        for metric in observation.spec.metrics or ()
        for arm in measured_arms(observation)
    }


def with_look(observation: Observation) -> ExperimentStatus:
    """The status with what a look comes to that is due and whose answers are there; else as it is."""
    status, requests = observation.status, fact_requests(observation)
    facts = {key: observation.facts.get(request) for key, request in requests.items()}
    if not facts or any(isinstance(fact, Failed) and fact.reason == NOT_GATHERED for fact in facts.values()):
        return status
    metrics = {metric.name: metric for metric in observation.spec.metrics or ()}
    numbers = {key: fact for key, fact in facts.items() if metrics[key[0]].kind is None}
    units = {key: fact for key, fact in facts.items() if metrics[key[0]].kind is not None}
    outcomes = _outcomes(observation, units)
    measured = [*_numbers(observation, metrics, requests, numbers), *outcomes.measurements]
    blind = any(each.state == NO_DATA and metrics[each.metric].role in DECIDING for each in measured)
    since = (status.analysis.no_data_since if status.analysis else None) or observation.now
    analysis = AnalysisStatus(
        looked_at=observation.now,
        no_data_since=since if blind else None,
        measurements=measured or None,
        past=list(outcomes.past) or None,
        primary=outcomes.primary,
    )
    arms = list(outcomes.arms) if outcomes.arms is not None else None
    return status.model_copy(update={"analysis": analysis, "arms": arms})


def without_failures(status: ExperimentStatus) -> AnalysisStatus | None:
    """The last look, with nothing held against anyone: a person has seen it and wants to go on."""
    analysis = status.analysis
    if analysis is None:
        return None
    measured = [each.model_copy(update={"failures": 0}) for each in analysis.measurements or ()]
    return analysis.model_copy(update={"no_data_since": None, "measurements": measured or None})


def _outcomes(observation: Observation, facts: Mapping[_Key, Fact[Any]]) -> OutcomeLook:
    """What units say; where they say nothing, all that is known of before is kept."""
    status = observation.status
    analysis = status.analysis
    if not facts:
        return OutcomeLook()
    fact, arms = next(iter(facts.values())), [arm.name for arm in measured_arms(observation)]
    request = OutcomeSums(observation.namespace, observation.name)
    try:
        if isinstance(fact, Known):
            return look_at_outcomes(observation, fact.value, arms)
        why = describe(request, fact)
    except RejectError as error:
        why = f"{request} is not known: {error}"
    before = {(each.metric, each.arm): each.failures for each in (analysis and analysis.measurements) or ()}
    none = tuple(
        Measurement(metric=metric, arm=arm, state=NO_DATA, failures=before.get((metric, arm), 0), message=why)
        for metric, arm in facts
    )
    past = tuple((analysis and analysis.past) or ())
    arms_before = tuple(status.arms) if status.arms is not None else None
    return OutcomeLook(none, past, analysis.primary if analysis else None, arms_before)


def _numbers(
    observation: Observation,
    metrics: Mapping[str, Metric],
    requests: Mapping[_Key, FactRequest[Any]],
    facts: Mapping[_Key, Fact[Any]],
) -> list[Measurement]:
    """What Prometheus says."""
    analysis = observation.status.analysis
    before = {(each.metric, each.arm): each.failures for each in (analysis and analysis.measurements) or ()}
    least = analysis_of(observation.spec).min_units
    return [
        _compared(metrics[key[0]], key[1], requests[key], fact, before.get(key, 0), least)
        if metrics[key[0]].source.comparison
        else _measurement(metrics[key[0]], key[1], requests[key], fact, before.get(key, 0))
        for key, fact in facts.items()
    ]


def _measurement(metric: Metric, arm: str, request: FactRequest[Any], fact: Fact[float], failures: int) -> Measurement:
    value = fact.value if isinstance(fact, Known) else None
    message = None
    if value is None:
        # What it had shown before an outage is neither forgotten nor made worse.
        state, message = NO_DATA, describe(request, fact)
    elif limit := _limit(metric, value):
        state, failures, message = BEYOND, failures + 1, f"{request} is {value:g}, {limit}"
    else:
        state, failures = WITHIN, 0
    return Measurement(metric=metric.name, arm=arm, state=state, value=value, failures=failures, message=message)


def _compared(
    metric: Metric, arm: str, request: FactRequest[Any], fact: Fact[Any], failures: int, least: int
) -> Measurement:
    """Of a comparison; without enough rows nothing goes on, and nothing is held against anybody."""
    of = Measurement(metric=metric.name, arm=arm, state=NO_DATA, failures=failures)
    if not isinstance(fact, Known | Absent):
        return of.model_copy(update={"message": describe(request, fact)})
    found: ComparedPredictions | None = fact.value if isinstance(fact, Known) else None
    named = f"{metric.name} of {arm}"
    if found is None or found.rows < least:
        return of.model_copy(update={"state": TOO_FEW, "message": f"{named}: {comparisons.few(found, least)}"})
    value, why = comparisons.number(metric, found)
    if value is None:
        return of.model_copy(update={"message": f"{named}: {why}"})
    if limit := _limit(metric, value):
        beyond = {
            "state": BEYOND,
            "value": value,
            "failures": failures + 1,
            "message": f"{named} is {value:g}, {limit}",
        }
        return of.model_copy(update=beyond)
    return of.model_copy(update={"state": WITHIN, "value": value, "failures": 0})


def _limit(metric: Metric, value: float) -> str:
    """The limit that the value is beyond, in words; empty: none."""
    if metric.abort_above is not None and value > metric.abort_above:
        return f"above {metric.abort_above:g}"
    if metric.abort_below is not None and value < metric.abort_below:
        return f"below {metric.abort_below:g}"
    return ""


def _request(observation: Observation, metric: Metric, arm: Arm) -> FactRequest[Any]:
    if metric.kind:
        return OutcomeSums(observation.namespace, observation.name)
    source, since = metric.source.comparison, _measured_since(observation)
    if source is None or since is None:
        return _number(observation, metric, arm)
    return comparisons.request(observation, source, arm, since)


def _number(observation: Observation, metric: Metric, arm: Arm) -> PrometheusNumber:
    values = {
        "service": observation.spec.service,
        "namespace": observation.namespace,
        "deployment": arm.deployment,
        "arm": arm.name,
        "interval": f"{_interval(observation.spec).total_seconds():.0f}s",
    }
    query = _PLACEHOLDER.sub(lambda found: values[found[1]], metric.source.prometheus or "")
    return PrometheusNumber(metric.name, arm.name, query)


def _measured_since(observation: Observation) -> datetime | None:
    """Since when traffic is as it is now, and every proxy knows; None while the route is being changed."""
    began, epochs = hold_began_at(observation), observation.status.epochs
    if began is None:
        return None
    return max(began, epochs[-1].start if epochs else began) + observation.settle


def _interval(spec: ExperimentSpec) -> timedelta:
    return timedelta(seconds=duration.seconds(analysis_of(spec).interval, field="spec.analysis.interval"))
