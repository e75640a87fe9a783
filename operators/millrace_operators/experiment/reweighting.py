"""The rule of the policy that reweights a Bandit: when, and what follows. It rests on the last look alone."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from millrace_core.api.experiment import Weights
from millrace_core.api.experiment_bandit import Bandit, BanditStatus
from millrace_core.base import duration
from millrace_core.base.lazy_import import lazy_import
from millrace_operators.experiment.looks import looked_at_step
from millrace_operators.experiment.observation import RUNNING, Observation
from millrace_operators.experiment.primary import judgement
from millrace_operators.experiment.types import type_of
from millrace_operators.experiment.verdict import Verdict

if TYPE_CHECKING:
    from millrace_core.experiments import reweighting
else:  # numpy and scipy, for experiments with statistics alone
    reweighting = lazy_import("millrace_core.experiments.reweighting")

REWEIGHTED: Final = "Reweighted"


def reweighting_due(observation: Observation) -> Verdict | None:
    """A look has come since the last reweighting is ``every`` old, and it says how likely each arm is the best one."""
    found, chances = judgement(observation), _chances(observation)
    if chances is None or found is None or observation.phase != RUNNING or not _due(observation):
        return None
    bandit, before = observation.spec.bandit or Bandit(), observation.status.bandit
    weights = reweighting.reweighted(_current(observation), chances, bandit.floor)
    after = BanditStatus(number=before.number + 1 if before else 1, reweighted_at=observation.now, weights=weights)
    split = ", ".join(f"{arm} {percent}%" for arm, percent in weights.items())
    return Verdict(REWEIGHTED, f"{split}: {found.message}", {"bandit": after})


def _due(observation: Observation) -> bool:
    status = observation.status
    last = status.bandit.reweighted_at if status.bandit else status.started_at
    if last is None or status.analysis is None or not looked_at_step(observation):
        return False
    every = duration.seconds((observation.spec.bandit or Bandit()).every, field="spec.bandit.every")
    return status.analysis.looked_at >= last + timedelta(seconds=every)


def _chances(observation: Observation) -> dict[str, float] | None:
    """Of every arm; None of another type, and where the last look could not say."""
    if not type_of(observation.spec.type).reweights:
        return None
    known = {arm.name: arm.p_best for arm in observation.status.arms or () if arm.p_best is not None}
    return known if known.keys() == {arm.name for arm in observation.spec.arms} else None


def _current(observation: Observation) -> dict[str, int]:
    own = type_of(observation.spec.type).own_weights(observation.spec, observation.status)
    weights = own or (observation.status.weights or Weights()).desired or {}
    return dict(weights)
