"""BlueGreen: previews its challenger without traffic, flips all of it at once, promotes if nothing takes it back."""

from __future__ import annotations

from typing import ClassVar

from millrace_core.api.experiment import ExperimentSpec, ExperimentStatus, FrozenStep
from millrace_core.api.rollout import BlueGreen as Times
from millrace_operators.experiment.observation import RUNNING, Observation
from millrace_operators.experiment.types.canary import Canary
from millrace_operators.experiment.verdict import Verdict


class BlueGreen(Canary):
    """A ramp of two steps, nothing and all; so whatever takes a canary back takes this back too, until it ends."""

    asks_before_steps: ClassVar[bool] = True

    def frozen_steps(self, spec: ExperimentSpec) -> list[FrozenStep] | None:
        """No traffic for ``previewFor``, then all of it for ``keepFor``."""
        times = spec.blue_green or Times()
        return [FrozenStep(weight=0, hold=times.preview_for), FrozenStep(weight=100, hold=times.keep_for)]

    def previewed(self, spec: ExperimentSpec, status: ExperimentStatus) -> str | None:
        """The challenger, before the flip."""
        return None if status.step_index else next(arm.name for arm in spec.arms if not arm.control)

    def promoted_by_command(self, observation: Observation, arm: str) -> Verdict | None:
        """Before the flip the challenger gets the traffic, and the control is kept; after it all is over."""
        status = observation.status
        if status.step_index or arm != observation.challengers[0].name:
            return None
        message = f"all traffic flips to {arm} by command; an abort takes it back at once"
        changes = {"phase": RUNNING, "paused_at": None, "step_index": 1, "step_started_at": observation.now}
        return Verdict("FlippedByCommand", message, changes)
