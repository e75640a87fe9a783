"""``python -m tests.simulate``: what the statistics of experiments promise, tried on simulated experiments.

- False positives: A/A experiments of proportions, means and ratios, peeked at every interval: at most alpha, and three
  Monte Carlo standard errors.
- Power: experiments with the effect that was planned for, of the size that is planned: at least the planned power.
- Coverage: the interval of every look holds the true effect in 1 - alpha of the experiments, at all looks together.
- Regret of a bandit beside an even split.
- Canaries with a guardrail, from start to end: harm is taken back within three looks, and what does none is promoted.

Many experiments are computed at once, by the formulas that decide: sums of units per look in, evidence and intervals
out. A few are judged one by one by ``judge`` itself, look by look, which has to say the same.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np

from millrace_core.experiments import reweighting
from millrace_core.experiments.judging import PastLooks, Rules, judge
from millrace_core.experiments.metric import Epoch, Kind, Sums
from millrace_core.stats import group_sequential, power, sequential
from millrace_core.stats.power import LOOKS, Method
from millrace_core.stats.results import Inconclusive
from millrace_core.stats.sums import Counts, Moments, Pairs
from tests.simulate.canaries import canary
from tests.simulate.many import METRICS, Floats, Looks, Metric, effects, simulate

ALPHA: Final = 0.05
POWER: Final = 0.8
# Intervals at which is looked: twice a day for two weeks.
PEEKS: Final = 28
# Relative, of the baseline.
_EFFECT: Final = 0.1


@dataclass
class Rates:
    """Of experiments: found a difference at some look, and held the true effect at every look."""

    experiments: int = 0
    found: int = 0
    held: int = 0


def tried(metric: Metric, method: Method, experiments: int, per_look: int, looks: int, effect: float) -> Rates:
    """Experiments of so many looks, which together are all units that are planned."""
    rates = Rates()
    planned = 2 * per_look * looks
    fractions = [(look + 1) / looks for look in range(looks)]
    limits = np.array(group_sequential.bounds(fractions, ALPHA)) if method == "groupSequential" else np.zeros(looks)
    rho2 = sequential.mixture(planned, ALPHA)
    for portion in simulate(metric, experiments, per_look, looks, effect, seed=looks + per_look):
        difference, error = effects(metric.kind, portion)
        half = sequential.half_width(error, 2 * portion.n, rho2, ALPHA) if method == "sequential" else limits * error
        if method == "fixed":
            half = 1.959963984540054 * error
        rates.experiments += len(difference)
        rates.found += int((np.abs(difference) >= half).any(axis=1).sum())
        rates.held += int((np.abs(difference - effect) <= half).all(axis=1).sum())
    return rates


def line(name: str, value: float, limit: float, *, most: bool) -> bool:
    """Prints a rate beside its limit; whether it keeps it."""
    kept = value <= limit if most else value >= limit
    print(f"  {name:<48} {value:7.4f} ({'at most' if most else 'at least'} {limit:.4f}){'' if kept else ' MISSED'}")
    return kept


def room(rate: float, count: int) -> float:
    """Three Monte Carlo standard errors."""
    return 3 * math.sqrt(rate * (1 - rate) / count)


def false_positives(experiments: int) -> bool:
    """A/A experiments under every kind, peeked at every interval, and their coverage."""
    kept = True
    for name, metric in METRICS.items():
        for method, looks in (("sequential", PEEKS), ("groupSequential", LOOKS), ("fixed", 1)):
            rates = tried(metric, method, experiments, 4200 // looks, looks, 0.0)  # type: ignore[arg-type]
            limit = ALPHA + room(ALPHA, experiments)
            kept &= line(
                f"{name}, {method}, {looks} looks: false positives", rates.found / experiments, limit, most=True
            )
        effect = _EFFECT * metric.baseline
        rates = tried(metric, "sequential", experiments // 2, 4200 // PEEKS, PEEKS, effect)
        limit = 1 - ALPHA - room(ALPHA, experiments // 2)
        kept &= line(f"{name}, sequential, {PEEKS} looks: coverage", rates.held / rates.experiments, limit, most=False)
    return kept


def powers(experiments: int) -> bool:
    """The power at the size that is planned, with the effect that it is planned for."""
    kept = True
    for name, metric in METRICS.items():
        effect = 4 * _EFFECT * metric.baseline
        for method, looks in (("sequential", PEEKS), ("groupSequential", LOOKS), ("fixed", 1)):
            size = power.size(
                metric.variances(metric.baseline + effect), effect, alpha=ALPHA, power=POWER, method=method
            )  # type: ignore[arg-type]
            per_look = math.ceil(size.treatment / looks)
            found = tried(metric, method, experiments, per_look, looks, effect).found / experiments  # type: ignore[arg-type]
            limit = POWER - room(POWER, experiments)
            kept &= line(f"{name}, {method}: power at {size.treatment:,} per arm", found, limit, most=False)
    return kept


def judged(experiments: int) -> bool:
    """A/A experiments that ``judge`` itself decides, look by look: it finds what the formulas find."""
    kept = True
    for name, metric in METRICS.items():
        looks, per_look = 10, 200
        rules = Rules(metric.kind, 2 * looks * per_look, sample_ratio=1e-9)
        rho2 = sequential.mixture(rules.planned, ALPHA)
        differ = 0
        for portion in simulate(metric, experiments, per_look, looks, 0.0, seed=3):
            difference, error = effects(metric.kind, portion)
            found = np.abs(difference) >= sequential.half_width(error, 2 * portion.n, rho2, ALPHA)
            for one in range(len(difference)):
                differ += _decides(portion, one, rules) != bool(found[one].any())
        kept &= line(f"{name}: verdicts of judge that differ", differ, 0, most=True)
    return kept


def _decides(portion: Looks, one: int, rules: Rules) -> bool:
    past: dict[str, PastLooks] = {}
    for look in range(len(portion.n)):
        arms = {
            name: _sums(rules.kind, int(portion.n[look]), sums, one, look)
            for name, sums in zip(("control", "v2"), portion.sums, strict=True)
        }
        verdict = judge([Epoch(arms, dict.fromkeys(arms, 1.0))], "control", rules, past)
        if verdict.verdict in ("Promote", "Rollback"):
            return True
        seen = verdict.challengers["v2"].look
        past = {"v2": PastLooks(seen.p)} if seen else {}
    return False


def _sums(kind: Kind, n: int, sums: dict[str, Floats], one: int, look: int) -> Sums:
    of = {name: Fraction(float(each[one, look])) for name, each in sums.items()}
    if kind == "proportion":
        return Counts(n, int(of["y"]))
    y = Moments(n, of["y"], of["yy"])
    return y if kind == "mean" else Pairs(y, Moments(n, of["x"], of["xx"]), of["xy"])


def regret(runs: int) -> bool:
    """Clicks that are lost beside always taking the best of three arms, by a bandit and by an even split."""
    rates = {"a": 0.10, "b": 0.12, "c": 0.15}
    lost: dict[str, list[float]] = {"bandit": [], "even": []}
    for run in range(runs):
        random = np.random.default_rng(run)
        weights, total = {"a": 34, "b": 33, "c": 33}, 0.0
        periods: list[Epoch] = []
        for period in range(40):
            # Days that are better and worse for all arms, of which none is to be blamed.
            day = 1 + 0.3 * math.sin(period / 3)
            came = random.multinomial(500, [weight / 100 for weight in weights.values()])
            units = dict(zip(rates, map(int, came), strict=True))
            sums = {name: Counts(n, int(random.binomial(n, rates[name] * day))) for name, n in units.items()}
            periods.append(Epoch(sums, {name: float(weight) for name, weight in weights.items()}))
            total += sum(n * (max(rates.values()) - rates[name]) * day for name, n in units.items())
            ages = [float(age) for age in range(period, -1, -1)]
            learnt = reweighting.learn("proportion", periods, ages, decay=0.98, draws=(run, period))
            if not isinstance(learnt.best, Inconclusive):
                weights = reweighting.reweighted(weights, learnt.best, 0.05)
        lost["bandit"].append(total)
        lost["even"].append(
            sum(500 * (1 + 0.3 * math.sin(period / 3)) for period in range(40))
            * (max(rates.values()) - sum(rates.values()) / 3)
        )
    share = float(np.mean(lost["bandit"]) / np.mean(lost["even"]))
    worse = sum(a >= b for a, b in zip(lost["bandit"], lost["even"], strict=True))
    kept = line(f"bandit of 3 arms, {runs} runs: regret beside even", share, 1.0, most=True)
    return line("runs in which it is above the even split's", worse / runs, 0.05, most=True) and kept


def canaries(runs: int) -> bool:
    """Of requests 1% fail, and of a harmful challenger's 2%."""
    harmful = [canary(0.02, run) for run in range(runs)]
    harmless = [canary(0.01, run) for run in range(runs)]
    soon = sum(phase == "Failed" and looks <= 3 for phase, looks in harmful) / runs
    kept = line("harmful canaries rolled back within three looks", soon, 0.99, most=False)
    shipped = sum(phase == "Succeeded" for phase, _ in harmless) / runs
    return line("harmless canaries promoted", shipped, 0.95, most=False) and kept


def main(arguments: list[str]) -> int:
    """Prints the rates; returns 1 where a limit is missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulate", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a twentieth of the experiments")
    options = parser.parse_args(arguments)
    experiments, several, runs = (500, 20, 10) if options.quick else (10_000, 200, 200)
    kept = True
    for title, part in (
        (f"{experiments:,} A/A experiments each, alpha {ALPHA}", lambda: false_positives(experiments)),
        (
            f"{experiments // 2:,} experiments each with the planned effect, power {POWER}",
            lambda: powers(experiments // 2),
        ),
        (f"{several} A/A experiments each, judged one by one", lambda: judged(several)),
        ("Bandit", lambda: regret(runs)),
        (f"{runs // 2} canaries each", lambda: canaries(runs // 2)),
    ):
        began = time.perf_counter()
        print(title, flush=True)
        kept &= part()
        print(f"  {time.perf_counter() - began:.0f} s", flush=True)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
