"""A verdict about an Experiment, and the ways in which one can stop or end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from millrace_core.api.experiment_history import FinalDecision
from millrace_operators.experiment.observation import PAUSED, PROMOTING, ROLLING_BACK, Observation

PROMOTE: Final = "Promote"
ROLLBACK: Final = "Rollback"
INCONCLUSIVE: Final = "Inconclusive"
PASS: Final = "Pass"  # noqa: S105 a verdict

# The last phase, by the verdict of the final decision.
FINAL_PHASE: Final[Mapping[str, str]] = {
    PROMOTE: "Succeeded",
    PASS: "Succeeded",
    ROLLBACK: "Failed",
    INCONCLUSIVE: "Inconclusive",
}


@dataclass(frozen=True)
class Verdict:
    """What happens next to an Experiment, and why.

    Attributes:
        reason: a CamelCase constant.
        message: a sentence.
        changes: fields of the status (by their Python names) that change; empty: all stays as it is.
        warning: whether a person should look.
    """

    reason: str
    message: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    warning: bool = False


def promote(arm: str, reason: str, message: str) -> Verdict:
    """All traffic to ``arm``, which becomes the champion."""
    decision = FinalDecision(verdict=PROMOTE, reason=message, arm=arm)
    return Verdict(reason, message, {"phase": PROMOTING, "decision": decision, "paused_at": None})


def won(observation: Observation, arm: str, reason: str, message: str) -> Verdict:
    """``arm`` is to be promoted, or a person is to do it, as ``spec.onSuccess`` says."""
    if observation.spec.on_success == "Promote":
        return promote(arm, reason, message)
    return pause(observation, reason, f"{message}; promote it or abort by a command")


def roll_back(verdict: str, reason: str, message: str) -> Verdict:
    """All traffic to the control; ``verdict`` is ROLLBACK or INCONCLUSIVE."""
    decision = FinalDecision(verdict=verdict, reason=message)
    changes = {"phase": ROLLING_BACK, "decision": decision, "paused_at": None}
    return Verdict(reason, message, changes, warning=True)


def passed(reason: str, message: str) -> Verdict:
    """The end, with all traffic at the control, where nothing spoke against the challenger."""
    changes = {"phase": ROLLING_BACK, "decision": FinalDecision(verdict=PASS, reason=message), "paused_at": None}
    return Verdict(reason, message, changes)


def pause(observation: Observation, reason: str, message: str, *, warning: bool = False) -> Verdict:
    """No step is taken until a resume command; the hold's clock stands still."""
    return Verdict(reason, message, {"phase": PAUSED, "paused_at": observation.now}, warning)
