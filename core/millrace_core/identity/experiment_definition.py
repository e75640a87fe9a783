"""Definition of an experiment: what its results compare.

It is the SHA-256 digest of the type, the service, and the arms: their names, the deployments behind them, and which
one is the control. The order of the arms does not matter. These are frozen once the experiment is Ready, since a
sum of units that were given one arm, or of outcomes, means nothing once the arm is another. It does not change with
weights, steps, overrides or what the experiment does at its end: these say how traffic is led to the arms. A rerun is a
new object, whatever its definition; two experiments of one definition compare the same things at two times.
"""

from __future__ import annotations

from millrace_core.api.experiment import ExperimentSpec
from millrace_core.api.names import digest


def experiment_definition(spec: ExperimentSpec) -> str:
    """``sha256:`` and 64 hex digits."""
    arms = sorted([arm.name, arm.deployment, arm.control] for arm in spec.arms)
    return f"sha256:{digest({'type': spec.type, 'service': spec.service, 'arms': arms})}"
