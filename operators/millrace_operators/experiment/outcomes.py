"""What units have done, judged: the primary metric as ``millrace experiment analyze`` does, guardrails one-sided.

Units, and not requests: of outcomes alone follows a verdict on a difference. What the looks before came to goes into
this one and is kept in the status, so that a p-value never rises again and no alpha is spent twice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from millrace_core.api.experiment import ExperimentStatus
from millrace_core.api.experiment_metrics import ArmStatus, Judgement, Measurement, Metric, PastLook, PlanStatus
from millrace_core.base.lazy_import import lazy_import
from millrace_core.experiments.sums import ExperimentSums
from millrace_operators.experiment.learning import learnt
from millrace_operators.experiment.observation import Observation
from millrace_operators.experiment.size import analysis_of
from millrace_operators.experiment.types import type_of

if TYPE_CHECKING:
    from millrace_core.experiments import judging, metric, observed
    from millrace_core.stats import results, sequential
else:  # numpy and scipy, for experiments with statistics alone
    judging, metric, observed = (
        lazy_import(f"millrace_core.experiments.{name}") for name in ("judging", "metric", "observed")
    )
    results, sequential = (lazy_import(f"millrace_core.stats.{name}") for name in ("results", "sequential"))

WITHIN: Final = "Within"
BEYOND: Final = "Beyond"
TOO_FEW: Final = "TooFewUnits"
# Looks of a group sequential test, as they are planned.
_LOOKS: Final = 5
# Units at which a guardrail's test is sharpest, where nobody has planned any.
_UNPLANNED: Final = 10_000
_DECIDED: Final = ("PrimaryBetter", "PrimaryWorse", "NoDifference")


@dataclass(frozen=True)
class OutcomeLook:
    """What a look at outcomes comes to.

    Attributes:
        measurements: of guardrails and secondary metrics.
        past: of all that are tested.
        primary: the verdict; None without a primary metric.
        arms: by the primary metric.
    """

    measurements: tuple[Measurement, ...] = ()
    past: tuple[PastLook, ...] = ()
    primary: Judgement | None = None
    arms: tuple[ArmStatus, ...] | None = None


def look_at_outcomes(observation: Observation, answer: ExperimentSums, arms: Sequence[str]) -> OutcomeLook:
    """The look.

    Args:
        observation: of the experiment.
        answer: of the gateway.
        arms: the challengers with traffic.

    Raises:
        RejectError: the sums are of no units at all.
    """
    before = (observation.status.analysis and observation.status.analysis.past) or []
    past = {(each.metric, each.arm): each for each in before}
    found = OutcomeLook()
    for each in observation.spec.metrics or ():
        if each.kind is None:
            continue
        if each.role == "primary" and type_of(observation.spec.type).reweights:
            judgement, shown = learnt(observation, each, answer)
            found = OutcomeLook(found.measurements, found.past, judgement, shown)
            continue
        epochs = observed.epochs_of(answer, each.name, each.kind, _weights(observation.status))
        if each.role == "primary" and observation.status.plan is not None:
            found = _with_primary(observation, each, epochs, past, found, answer.crossovers)
        elif each.role != "primary":
            measured = [_measured(observation, each, epochs, arm, past) for arm in arms]
            tested = [look for _, look in measured if look is not None]
            found = OutcomeLook(
                (*found.measurements, *(one for one, _ in measured)),
                (*found.past, *tested),
                found.primary,
                found.arms,
            )
    kept = {(each.metric, each.arm) for each in found.past}
    names = {each.name for each in observation.spec.metrics or ()}
    rest = tuple(each for key, each in past.items() if key not in kept and each.metric in names)
    return OutcomeLook(found.measurements, (*found.past, *rest), found.primary, found.arms)


def _weights(status: ExperimentStatus) -> dict[int, dict[str, float]]:
    """By number of the epoch, and arm."""
    return {
        epoch.number: {arm: float(weight) for arm, weight in epoch.weights.items()} for epoch in status.epochs or ()
    }


def _with_primary(
    observation: Observation,
    primary: Metric,
    epochs: Any,
    past: dict[tuple[str, str], PastLook],
    look: OutcomeLook,
    crossovers: int,
) -> OutcomeLook:
    plan = observation.status.plan
    if plan is None or primary.kind is None:
        return look
    control = observation.control.name
    looks = {
        arm.name: judging.PastLooks(each.p, tuple(each.fractions or ()))
        for arm in observation.challengers
        if (each := past.get((primary.name, arm.name))) is not None
    }
    between = _between_looks(plan, looks, epochs, control)
    found = judging.judge(
        epochs, control, _rules(observation, primary, plan, between=between), {} if between else looks
    )
    tested = [
        PastLook(metric=primary.name, arm=arm, p=each.look.p, fractions=list(each.fractions) or None)
        for arm, each in found.challengers.items()
        if each.look is not None and not between
    ]
    judgement = _judgement(observation, found, between=between)
    judgement = judgement.model_copy(update={"crossovers": crossovers})
    shown = not between and found.reason != "BeforeHorizon"
    arms = tuple(_arm(observation, arm.name, found, shown=shown) for arm in observation.spec.arms)
    return OutcomeLook(look.measurements, (*look.past, *tested), judgement, arms)


def _rules(observation: Observation, primary: Metric, plan: PlanStatus, *, between: bool) -> Any:
    return judging.Rules(
        kind=primary.kind or "mean",
        planned=plan.units,
        method="sequential" if between else plan.method,  # type: ignore[arg-type]
        direction=primary.direction,
        alpha=plan.alpha,
        min_units=analysis_of(observation.spec).min_units,
        sample_ratio=plan.srm,
    )


def _between_looks(plan: PlanStatus, looks: dict[str, Any], epochs: Any, control: str) -> bool:
    """Whether the next look of a group sequential test is not due: a fifth of the planned units each, of all pairs."""
    if plan.method != "groupSequential":
        return False
    arms = [arm for arm in epochs[-1].sums if arm != control]
    units = {arm: sum(metric.units(epoch.sums[arm]) for epoch in epochs) for arm in (control, *arms)}
    came = min(units[control] + units[arm] for arm in arms) / plan.units
    last = min((look.fractions[-1] for look in looks.values() if look.fractions), default=0.0)
    return min(math.floor(came * _LOOKS), _LOOKS) <= math.floor(last * _LOOKS)


def _judgement(observation: Observation, found: Any, *, between: bool) -> Judgement:
    before = observation.status.analysis.primary if observation.status.analysis else None
    untested = ("SampleRatioMismatch", "NoData", "TooFewUnits")
    if between and found.reason not in untested:
        if before is not None and before.reason in _DECIDED:
            return before.model_copy(update={"sample_ratio": found.sample_ratio})
        message = "the next of five looks is due when another fifth of the planned units has come"
        return Judgement(verdict="Continue", reason="BetweenLooks", message=message, sample_ratio=found.sample_ratio)
    return Judgement(
        verdict=found.verdict,
        reason=found.reason,
        message=found.message,
        arm=found.arm or None,
        sample_ratio=found.sample_ratio,
    )


def _arm(observation: Observation, name: str, found: Any, *, shown: bool) -> ArmStatus:
    """The arm as it is shown; between the looks of a test that has few, only its units."""
    units = found.units[name]
    if not shown:
        before = next((each for each in observation.status.arms or () if each.name == name), None)
        return before.model_copy(update={"units": units}) if before else ArmStatus(name=name, units=units)
    pairs = [each.pair for each in found.challengers.values() if isinstance(each.pair, metric.Pair)]
    if name == observation.control.name:
        return ArmStatus(name=name, units=units, value=pairs[0].control.value if pairs else None)
    each = found.challengers[name]
    if not isinstance(each.pair, metric.Pair) or each.look is None:
        return ArmStatus(name=name, units=units)
    ends = [each.look.interval.low, each.look.interval.high]
    lift = each.pair.lift
    return ArmStatus(
        name=name,
        units=units,
        value=each.pair.treatment.value,
        estimate=each.pair.effect.difference,
        ci=ends if all(map(math.isfinite, ends)) else None,
        p=float(f"{each.adjusted:.4g}"),
        lift=f"{lift.difference:+.1%}" if isinstance(lift, results.Effect) else None,
    )


def _measured(
    observation: Observation, of: Metric, epochs: Any, arm: str, past: dict[tuple[str, str], PastLook]
) -> tuple[Measurement, PastLook | None]:
    """A guardrail or secondary metric of one challenger."""
    control, least = observation.control.name, analysis_of(observation.spec).min_units
    pair = metric.compare(of.kind or "mean", epochs, control, arm)
    few = min(sum(metric.units(epoch.sums[name]) for epoch in epochs) for name in (control, arm))
    if few < least:
        said = f"{of.name} of {arm}: {few:,} of {least:,} units"
        return Measurement(metric=of.name, arm=arm, state=TOO_FEW, message=said), None
    if isinstance(pair, results.Inconclusive):
        # Shares without variance are alike, as where nobody did it: no harm is seen. A mean's arms may differ.
        state = WITHIN if of.kind == "proportion" else TOO_FEW
        return Measurement(metric=of.name, arm=arm, state=state, message=f"{of.name} of {arm}: {pair.message}"), None
    if of.role == "secondary":
        said = f"{of.name} of {arm}: {pair.effect.difference:+.4g} to {control}"
        return Measurement(metric=of.name, arm=arm, state=WITHIN, value=pair.treatment.value, message=said), None
    before = past.get((of.name, arm))
    look = _one_sided(observation, of, pair.effect, before.p if before else 1.0)
    tested = PastLook(metric=of.name, arm=arm, p=look.p)
    held = Measurement(metric=of.name, arm=arm, state=WITHIN, value=pair.treatment.value)
    if look.p > _alpha(observation):
        return held, tested
    said = f"{of.name} of {arm} is worse than that of {control}: {pair.effect.difference:+.4g} (p = {look.p:.2g})"
    limit = analysis_of(observation.spec).failure_limit
    return held.model_copy(update={"state": BEYOND, "failures": limit, "message": said}), tested


def _one_sided(observation: Observation, of: Metric, effect: Any, p: float) -> Any:
    """The test of harm at all looks together; harm is above 0."""
    plan = observation.status.plan
    sign = -1.0 if of.direction == "increase" else 1.0
    harm = results.Effect(sign * effect.difference, effect.error, effect.n, effect.freedom)
    sequence = sequential.OneSidedSequence(plan.units if plan else _UNPLANNED, _alpha(observation), of.margin or 0.0, p)
    sequence.update(harm)
    return sequence.get()


def _alpha(observation: Observation) -> float:
    """Of one guardrail and challenger: alpha is divided among all (Bonferroni)."""
    tested = [each for each in observation.spec.metrics or () if each.kind and each.role == "guardrail"]
    return analysis_of(observation.spec).alpha / max(len(tested) * len(observation.challengers), 1)
