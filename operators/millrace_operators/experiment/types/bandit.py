"""Bandit: its arms begin alike, and get traffic by their chance of being the best one, again and again."""

from __future__ import annotations

from typing import ClassVar

from millrace_core.api.experiment import ExperimentSpec, ExperimentStatus
from millrace_operators.experiment.types.base import ExperimentType


class Bandit(ExperimentType):
    """Like an ABTest it waits for arms that are not ready, and is paused where its metric has no data."""

    reweights: ClassVar[bool] = True

    def own_weights(self, spec: ExperimentSpec, status: ExperimentStatus) -> dict[str, int] | None:
        """Those of the last reweighting; before the first, all alike and the control has what is left."""
        if status.bandit is not None:
            return dict(status.bandit.weights)
        each, left = divmod(100, len(spec.arms))
        return {arm.name: each + (left if arm.control else 0) for arm in spec.arms}
