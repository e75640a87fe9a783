"""The rules of the policy that rest on the primary metric: a split that differs, a decision, the end of the time."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from millrace_core.api.experiment_metrics import Judgement
from millrace_operators.experiment.observation import RUNNING, Observation
from millrace_operators.experiment.size import analysis_of, runtimes
from millrace_operators.experiment.types import type_of
from millrace_operators.experiment.verdict import INCONCLUSIVE, ROLLBACK, Verdict, pause, roll_back, won

SAMPLE_RATIO: Final = "SampleRatioMismatch"
NO_DIFFERENCE: Final = "NoDifference"


def out_of_time(observation: Observation) -> Verdict | None:
    """After the longest runtime nothing more is waited for, unless the last look decides."""
    times, found = decided_between(observation), judgement(observation)
    if times is None or observation.now < times[1] or (found is not None and found.verdict in ("Promote", "Rollback")):
        return None
    said = f": {found.message}" if found else ""
    return _inconclusive(observation, "MaxRuntime", f"{analysis_of(observation.spec).max_runtime} are over{said}")


def split_differs(observation: Observation) -> Verdict | None:
    """No result counts, and no step is taken, while units do not come as the weights say."""
    found = judgement(observation)
    if observation.phase != RUNNING or found is None or found.reason != SAMPLE_RATIO:
        return None
    return Verdict(SAMPLE_RATIO, found.message, warning=True)


def primary_decided(observation: Observation) -> Verdict | None:
    """The last look found a difference, or that there is none worth more units; one after the least runtime counts."""
    times, found, analysis = decided_between(observation), judgement(observation), observation.status.analysis
    if times is None or found is None or analysis is None or analysis.looked_at < times[0]:
        return None
    if found.verdict == "Promote" and found.arm in observation.ready:
        return won(observation, found.arm, found.reason, found.message)
    if found.verdict == "Rollback":
        if observation.spec.on_failure == "Rollback":
            return roll_back(ROLLBACK, found.reason, found.message)
        return pause(observation, found.reason, found.message, warning=True)
    return _inconclusive(observation, found.reason, found.message) if found.reason == NO_DIFFERENCE else None


def judgement(observation: Observation) -> Judgement | None:
    """What the last look said of the primary metric."""
    analysis = observation.status.analysis
    return analysis.primary if analysis and is_judged(observation) else None


def is_judged(observation: Observation) -> bool:
    """Whether the primary metric decides: of an ABTest once its size is planned, of a Bandit always."""
    return observation.status.plan is not None or type_of(observation.spec.type).reweights


def decided_between(observation: Observation) -> tuple[datetime, datetime] | None:
    """The least and the greatest runtime, as times; None where nothing is decided by a primary metric."""
    started = observation.status.started_at
    if not is_judged(observation) or started is None or observation.phase != RUNNING:
        return None
    least, most = runtimes(observation)
    return started + least, started + most


def _inconclusive(observation: Observation, reason: str, message: str) -> Verdict:
    if observation.spec.on_inconclusive == "KeepControl":
        return roll_back(INCONCLUSIVE, reason, message)
    return pause(observation, reason, message, warning=True)
