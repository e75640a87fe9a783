"""What units say of the arms of a Bandit: the chance of each to be the best one. Pure, and drawn with a seed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from millrace_core.api.experiment_bandit import Bandit
from millrace_core.api.experiment_metrics import ArmStatus, Judgement, Metric
from millrace_core.base import duration
from millrace_core.base.lazy_import import lazy_import
from millrace_core.experiments.sums import ExperimentSums
from millrace_operators.experiment.observation import Observation
from millrace_operators.experiment.size import analysis_of, runtimes

if TYPE_CHECKING:
    from millrace_core.experiments import observed, reweighting
    from millrace_core.stats import results
else:  # numpy and scipy, for experiments with statistics alone
    observed, reweighting = (lazy_import(f"millrace_core.experiments.{name}") for name in ("observed", "reweighting"))
    results = lazy_import("millrace_core.stats.results")

BEST_FOUND: Final = "BestFound"
LEARNING: Final = "Learning"


def learnt(
    observation: Observation, primary: Metric, answer: ExperimentSums
) -> tuple[Judgement, tuple[ArmStatus, ...]]:
    """The verdict, and the arms as they are shown.

    Raises:
        RejectError: the sums are of no units at all.
    """
    status, bandit = observation.status, observation.spec.bandit or Bandit()
    kind, epochs = primary.kind or "mean", status.epochs or []
    weights = [{arm: float(weight) for arm, weight in epoch.weights.items()} for epoch in epochs]
    periods = [
        period
        for epoch, split in zip(epochs, weights, strict=True)
        for period in observed.epochs_of(answer, primary.name, kind, {epoch.number: split})
    ]
    every = duration.seconds(bandit.every, field="spec.bandit.every")
    found = reweighting.learn(
        kind,
        periods,
        [(epochs[-1].start - epoch.start).total_seconds() / every for epoch in epochs],
        decay=bandit.decay,
        draws=reweighting.seed(_uid(observation), status.bandit.number if status.bandit else 0),
        increase=primary.direction == "increase",
        least=analysis_of(observation.spec).min_units,
    )
    judgement = _judgement(observation, found).model_copy(update={"crossovers": answer.crossovers})
    return judgement, tuple(_arm(arm.name, found) for arm in observation.spec.arms)


def _uid(observation: Observation) -> str:
    return str(observation.document["metadata"].get("uid", observation.name))


def _judgement(observation: Observation, found: Any) -> Judgement:
    """Units that do not come as the weights say block every decision; an arm is the best from the least runtime on."""
    analysis, p = analysis_of(observation.spec), found.sample_ratio
    if p is not None and p < analysis.srm:
        message = (
            f"units did not come to the arms as the weights say (p = {p:.2g}, limit {analysis.srm:g}); weights stay"
        )
        return _said("Inconclusive", "SampleRatioMismatch", message, p)
    if isinstance(found.best, results.Inconclusive):
        verdict = "Continue" if found.best.reason == "TooFewUnits" else "Inconclusive"
        return _said(verdict, found.best.reason, found.best.message, p)
    arm, chance = max(found.best.items(), key=lambda item: item[1])
    started = observation.status.started_at
    ripe = started is not None and observation.now >= started + runtimes(observation)[0]
    if ripe and chance >= 1 - analysis.alpha:
        return _said("Promote", BEST_FOUND, f"{arm} is the best with a chance of {chance:.1%}", p, arm)
    return _said("Continue", LEARNING, f"{arm} is the best so far, with a chance of {chance:.1%}", p)


def _said(verdict: str, reason: str, message: str, p: float | None, arm: str | None = None) -> Judgement:
    return Judgement(verdict=verdict, reason=reason, message=message, arm=arm, sample_ratio=p)


def _arm(name: str, found: Any) -> ArmStatus:
    known = not isinstance(found.best, results.Inconclusive)
    return ArmStatus(
        name=name,
        units=found.units[name],
        value=found.values.get(name),
        p_best=float(f"{found.best[name]:.4g}") if known else None,
    )
