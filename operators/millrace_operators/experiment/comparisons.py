"""Metrics of a Shadow's copies: what a look comes to of what the challenger says beside the control. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from millrace_core.api.experiment import Arm
from millrace_core.api.experiment_metrics import ComparisonSource, Metric
from millrace_core.experiments.compared import ComparedOutput, ComparedPredictions
from millrace_operators.experiment.observation import Observation
from millrace_operators.facts.copies_compared import CopiesCompared

_FIELDS: Final = {
    "agreement": "agreement",
    "psi": "psi",
    "jensenShannon": "jensen_shannon",
    "wasserstein": "wasserstein",
    "meanDifference": "mean_difference",
}


def request(observation: Observation, source: ComparisonSource, arm: Arm, since: datetime) -> CopiesCompared:
    """What is asked for; metrics of one tolerance ask the same."""
    return CopiesCompared(
        observation.namespace,
        observation.spec.service,
        observation.control.deployment,
        arm.deployment,
        since,
        source.tolerance,
    )


def few(found: ComparedPredictions | None, least: int) -> str:
    """That there are not enough rows to say anything."""
    rows = found.rows if found is not None else 0
    return f"{rows} rows that both answered are in the log of predictions, {least} are expected (analysis.minUnits)"


def number(metric: Metric, found: ComparedPredictions) -> tuple[float | None, str]:
    """The metric's number, or why it has none."""
    source = metric.source.comparison
    if source is None:
        return None, f"{metric.name} is no comparison"
    there = {each.name: each for each in found.outputs}
    output: ComparedOutput | None = there.get(source.output)
    if output is None:
        return None, f"no output is called {source.output!r}; the log has {', '.join(sorted(there)) or 'none'}"
    value: float | None = getattr(output, _FIELDS[source.measure])
    if value is None:
        return None, f"the output {source.output!r} has labels, of which there is no {source.measure}"
    return value, ""
