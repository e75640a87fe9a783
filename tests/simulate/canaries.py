"""Whole canaries with a guardrail, by the operator's own policy: requests fail by chance at a known rate."""

from __future__ import annotations

from typing import Any

import numpy as np

from millrace_operators.facts.fact import Fact, Known
from tests import builders
from tests.operators.experiment.life import Life

STEPS = [{"weight": 5, "hold": "3m"}, {"weight": 25, "hold": "3m"}, {"weight": 50, "hold": "3m"}, {"weight": 100}]
GUARDRAIL = {"name": "errors", "role": "guardrail", "abortAbove": 0.014, "source": {"prometheus": "{{deployment}}"}}
# Of the whole service, in an interval of a minute.
_REQUESTS = 120_000


def canary(rate: float, seed: int) -> tuple[str, int]:
    """The last phase of a canary whose requests fail at this rate, and how many looks it took."""
    random = np.random.default_rng(seed)
    built = builders.canary("ramp", "shop", "v1", "v2", STEPS).having("spec.metrics", [GUARDRAIL])
    life = Life(built.having("metadata.namespace", "default").build())
    looks = 0

    def measure(_: Any) -> Fact[float]:
        nonlocal looks
        looks += 1
        weights = (life.status.weights and life.status.weights.applied) or {}
        requests = _REQUESTS * weights["challenger"] // 100
        return Known(float(random.binomial(requests, rate)) / requests, "Prometheus", life.now)

    life.measure = measure
    life.finish()
    return str(life.phase), looks
