"""ABTest: holds its weights, or the last step's, until its primary metric decides or a command ends it."""

from __future__ import annotations

from millrace_operators.experiment.types.base import ExperimentType


class ABTest(ExperimentType):
    """It waits for a challenger that is not ready, at weight 0, as long as it takes."""
