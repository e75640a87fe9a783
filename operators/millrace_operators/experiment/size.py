"""How many units the primary metric needs: planned from the spec once, and frozen, since what judges depends on it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from millrace_core.api.experiment import ExperimentSpec, FrozenStep
from millrace_core.api.experiment_metrics import Analysis, Metric, PlanStatus
from millrace_core.base import duration
from millrace_core.base.errors import RejectError
from millrace_core.base.lazy_import import lazy_import
from millrace_operators.experiment.observation import Observation
from millrace_operators.experiment.weights import weights_at

if TYPE_CHECKING:
    from millrace_core.experiments import planning
else:  # numpy and scipy, for experiments with statistics alone
    planning = lazy_import("millrace_core.experiments.planning")


def analysis_of(spec: ExperimentSpec) -> Analysis:
    """The spec's, or what it is by default."""
    return spec.analysis or Analysis()


def primary_of(spec: ExperimentSpec) -> Metric | None:
    """The metric that decides; None where there is none."""
    return next((metric for metric in spec.metrics or () if metric.role == "primary"), None)


def plan_of(spec: ExperimentSpec, steps: Sequence[FrozenStep] | None) -> PlanStatus | None:
    """The plan, for the split at the ramp's end and there for the challenger that gets least; None without a primary.

    Raises:
        RejectError: no size is enough, or a challenger gets nothing; of the field of the spec.
    """
    metric = primary_of(spec)
    if metric is None or metric.kind is None or metric.baseline is None or metric.mde is None:
        return None
    analysis = analysis_of(spec)
    split = weights_at(spec, steps, len(steps or [1]) - 1)
    least = min(split[arm.name] for arm in spec.arms if not arm.control)
    try:
        found = planning.plan(
            metric.kind,
            metric.baseline,
            metric.mde,
            variance=metric.variance,
            alpha=analysis.alpha,
            power_=analysis.power,
            method=analysis.method,
            arms=len(spec.arms),
            weight=least,
        )
    except RejectError as error:
        error.field = _field(spec, metric, error.field)
        raise
    need = found.need
    return PlanStatus(
        metric=metric.name,
        units=found.planned,
        total=need.total,
        method=analysis.method,
        alpha=analysis.alpha,
        srm=analysis.srm,
    )


def runtimes(observation: Observation) -> tuple[timedelta, timedelta]:
    """How long an experiment with a primary metric runs at least and at most."""
    analysis = analysis_of(observation.spec)
    least = duration.seconds(analysis.min_runtime, field="spec.analysis.minRuntime")
    most = duration.seconds(analysis.max_runtime, field="spec.analysis.maxRuntime")
    return timedelta(seconds=least), timedelta(seconds=max(least, most))


def _field(spec: ExperimentSpec, metric: Metric, name: str) -> str:
    if name == "weight":
        return "spec.steps" if spec.steps else "spec.arms"
    if name in ("alpha", "power"):
        return f"spec.analysis.{name}"
    return f"spec.metrics[{(spec.metrics or []).index(metric)}].{name}"
