"""How what is new takes the place of what serves: what a user may say of it, and how far it is."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from millrace_core.api.base import ApiModel, Duration, Moment, Rule, StatusModel

OnSuccess = Literal["Promote", "Pause"]


class BlueGreen(ApiModel):
    """A flip of all traffic at once: how long before it is previewed, and how long after it the old one is kept."""

    preview_for: Duration = Field(
        default="0s",
        description="How long the new one is ready behind <service>-preview, without live traffic, before all traffic "
        "flips to it; 0s: it flips as soon as it is ready.",
    )
    keep_for: Duration = Field(
        default="10m",
        description="How long after the flip the old one is kept as it is, so that traffic can flip back at once.",
    )

    rules: ClassVar = ()


class Rollout(ApiModel):
    """How a new revision takes the traffic from the one that serves."""

    strategy: Literal["RollingUpdate", "BlueGreen"] = Field(
        default="RollingUpdate",
        description="RollingUpdate: the new revision takes the traffic once all its pods are ready, and the old one "
        "goes. BlueGreen: it is first previewed behind <service>-preview, takes all traffic at once, and the old one "
        "is kept for a while; the commands promote and rollback move the traffic by hand.",
    )
    blue_green: BlueGreen | None = Field(
        default=None, description="With the strategy BlueGreen: how long is previewed, and how long is kept."
    )
    on_success: OnSuccess = Field(
        default="Promote",
        description="With the strategy BlueGreen: what happens when a revision was previewed for previewFor. Promote: "
        "traffic flips to it; Pause: it waits for a promote command.",
    )

    rules: ClassVar = (
        Rule(
            "self.strategy == 'BlueGreen' || !has(self.blueGreen)",
            "spec.rollout.blueGreen needs spec.rollout.strategy BlueGreen",
        ),
        Rule(
            "self.strategy == 'BlueGreen' || self.onSuccess == 'Promote'",
            "spec.rollout.onSuccess needs spec.rollout.strategy BlueGreen: a RollingUpdate waits for nobody",
        ),
    )


class RolloutStatus(StatusModel):
    """How far a BlueGreen rollout is."""

    phase: str = Field(
        description="Starting (pods of the new revision are not ready), Previewing, AwaitingPromotion, "
        "KeepingPrevious, RolledBack or Complete."
    )
    message: str = Field(description="The same in a sentence, with what comes next.")
    preview: str | None = Field(
        default=None, description="The revision that <service>-preview leads to; absent while nothing is previewed."
    )
    ready_since: Moment | None = Field(default=None, description="Since when all pods of that revision are ready.")
    promoted: str | None = Field(
        default=None, description="The revision that a command promoted, until it has the traffic."
    )
    previous: str | None = Field(
        default=None, description="The revision before the one that serves, while it is kept for a rollback."
    )
    rolled_back: str | None = Field(
        default=None,
        description="The revision that a command took back; it gets no traffic until it is promoted, or the spec asks "
        "for another one.",
    )
    keep_until: Moment | None = Field(
        default=None, description="Until when pods of the previous, or of the rolled back, revision are kept."
    )
