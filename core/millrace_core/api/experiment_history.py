"""What an Experiment went through: stretches in which results may be compared, and how it ended."""

from __future__ import annotations

from pydantic import Field

from millrace_core.api.base import Moment, StatusModel


class Epoch(StatusModel):
    """A stretch of time in which weights, ramp and the arms' revisions are the same, between two reweightings."""

    number: int = Field(description="Its number, counted from 0 and kept when older ones are dropped.")
    start: Moment = Field(description="When it began: what it says was in force.")
    weights: dict[str, int] = Field(description="The weights, in percent, by arm.")
    revisions: dict[str, str] | None = Field(
        default=None, description="The revision of the ModelDeployment that served, by arm."
    )
    reason: str | None = Field(
        default=None, description="Why it began: WeightsChanged, Reweighted, StepsChanged or RevisionChanged."
    )


class FinalDecision(StatusModel):
    """How the experiment ended, and why."""

    verdict: str = Field(description="Promote, Rollback, Inconclusive, or Pass of a Shadow that nothing took back.")
    reason: str = Field(description="Why.")
    arm: str | None = Field(default=None, description="The arm that was promoted.")
