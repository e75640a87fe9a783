"""A verdict about an Experiment, and the two ways in which one can end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from millrace_core.api.experiment import Decision
from millrace_operators.experiment.observed import PROMOTING, ROLLING_BACK

PROMOTE: Final = "Promote"
ROLLBACK: Final = "Rollback"
INCONCLUSIVE: Final = "Inconclusive"

# The last phase, by verdict.
FINAL_PHASE: Final[Mapping[str, str]] = {PROMOTE: "Succeeded", ROLLBACK: "Failed", INCONCLUSIVE: "Inconclusive"}


@dataclass(frozen=True)
class Move:
    """What happens next.

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


def promote(arm: str, reason: str, message: str) -> Move:
    """All traffic to ``arm``, which becomes the champion."""
    decision = Decision(verdict=PROMOTE, reason=message, arm=arm)
    return Move(reason, message, {"phase": PROMOTING, "decision": decision, "paused_at": None})


def roll_back(verdict: str, reason: str, message: str) -> Move:
    """All traffic to the control; ``verdict`` is ROLLBACK or INCONCLUSIVE."""
    decision = Decision(verdict=verdict, reason=message)
    changes = {"phase": ROLLING_BACK, "decision": decision, "paused_at": None}
    return Move(reason, message, changes, warning=True)
