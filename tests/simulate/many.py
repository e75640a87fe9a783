"""Experiments that are simulated many at once: sums of units at every look, and the effects that they show."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from millrace_core.experiments.metric import Kind

Floats = np.ndarray[Any, np.dtype[np.float64]]

# Experiments that are simulated together, for the sake of memory.
_TOGETHER: Final = 250
_RATE: Final = 0.1


@dataclass(frozen=True)
class Looks:
    """Sums of both arms at every look: arrays of (experiments, looks), of units so far."""

    n: Floats
    sums: tuple[dict[str, Floats], dict[str, Floats]]


@dataclass(frozen=True)
class Metric:
    """A metric that is simulated: baseline, variance of a unit, and units of an arm from a generator."""

    kind: Kind
    baseline: float
    variances: Callable[[float], tuple[float, float]]
    draw: Callable[[np.random.Generator, tuple[int, ...], float], dict[str, Floats]]


def _clicks(random: np.random.Generator, shape: tuple[int, ...], value: float) -> dict[str, Floats]:
    return {"y": (random.random(shape) < value).astype(np.float64)}


def _amounts(random: np.random.Generator, shape: tuple[int, ...], value: float) -> dict[str, Floats]:
    """Skewed, as revenue is: exponential, with a variance of the squared mean of the control."""
    return {"y": random.exponential(1.0, shape) + value - 1.0}


def _visits(random: np.random.Generator, shape: tuple[int, ...], value: float) -> dict[str, Floats]:
    """Clicks per visit of units that come once or more: visits of a unit are alike."""
    visits = 1.0 + random.poisson(2.0, shape)
    rate = random.beta(4 * value, 4 * (1 - value), shape)
    return {"y": random.binomial(visits.astype(np.int64), rate).astype(np.float64), "x": visits}


def _ratio_variance(value: float) -> float:
    """Of y - R x over the squared mean of x: binomial, and what visits of a unit share (beta with 4 prior visits)."""
    mean, square = 3.0, 11.0
    spread = value * (1 - value)
    return (mean * spread + (square - mean) * spread / 5) / mean**2


METRICS: Final = {
    "proportion": Metric("proportion", _RATE, lambda v: (_RATE * (1 - _RATE), v * (1 - v)), _clicks),
    "mean": Metric("mean", 1.0, lambda _: (1.0, 1.0), _amounts),
    "ratio": Metric("ratio", _RATE, lambda v: (_ratio_variance(_RATE), _ratio_variance(v)), _visits),
}


def simulate(metric: Metric, experiments: int, per_look: int, looks: int, effect: float, seed: int) -> Iterator[Looks]:
    """Experiments in portions, with even arms."""
    random = np.random.default_rng(seed)
    for first in range(0, experiments, _TOGETHER):
        count = min(_TOGETHER, experiments - first)
        arms = []
        for value in (metric.baseline, metric.baseline + effect):
            units = metric.draw(random, (count, looks, per_look), value)
            products = {"y": units["y"], "yy": units["y"] ** 2}
            if "x" in units:
                products |= {"x": units["x"], "xx": units["x"] ** 2, "xy": units["x"] * units["y"]}
            arms.append({name: each.sum(axis=2).cumsum(axis=1) for name, each in products.items()})
        yield Looks(np.arange(1, looks + 1) * float(per_look), (arms[0], arms[1]))


def estimates(kind: Kind, n: Floats, sums: dict[str, Floats]) -> tuple[Floats, Floats]:
    """Value and squared standard error of an arm at every look."""
    mean = sums["y"] / n
    variance = (sums["yy"] - n * mean**2) / (n - 1)
    if kind == "proportion":
        return mean, mean * (1 - mean) / n
    if kind == "mean":
        return mean, variance / n
    base = sums["x"] / n
    of_base, both = (sums["xx"] - n * base**2) / (n - 1), (sums["xy"] - n * mean * base) / (n - 1)
    ratio = mean / base
    return ratio, (variance - 2 * ratio * both + ratio**2 * of_base) / base**2 / n


def effects(kind: Kind, looks: Looks) -> tuple[Floats, Floats]:
    """Difference and standard error at every look."""
    (a, a_error), (b, b_error) = (estimates(kind, looks.n, sums) for sums in looks.sums)
    return b - a, np.sqrt(a_error + b_error)
