"""The gateway's sums of an experiment as the epochs of one metric, which ``judging`` and ``metric`` take."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from millrace_core.experiments.metric import Epoch, Kind, Sums, no_sums
from millrace_core.experiments.sums import ExperimentSums, MetricSums
from millrace_core.stats.sums import Counts, Moments, Pairs


def epochs_of(
    answer: ExperimentSums, metric: str, kind: Kind, weights: Mapping[int, Mapping[str, float]]
) -> list[Epoch]:
    """One epoch for each in which units came; a single one without units where none came.

    Units without an outcome count as 0, also in a ratio's denominator. What came in an epoch that ``weights`` does not
    have yet is left for the next look, and what came in one that it has no more is not counted.

    Args:
        answer: of the gateway.
        metric: its name.
        kind: of it.
        weights: of traffic by number of the epoch, oldest first, and arm; at least one.

    Raises:
        RejectError: the sums are of no units at all, such as more successes than units.
    """
    of_metric = answer.metrics.get(metric, {})
    found = []
    for number, by_arm in weights.items():
        exposed, outcomes = answer.exposures.get(number, {}), of_metric.get(number, {})
        if any(exposed.get(arm, 0) for arm in by_arm):
            sums = {arm: _sums(kind, exposed.get(arm, 0), outcomes.get(arm)) for arm in by_arm}
            found.append(Epoch(sums, by_arm))
    *_, last = weights.values()
    return found or [Epoch({arm: no_sums(kind) for arm in last}, last)]


def _sums(kind: Kind, units: int, of: MetricSums | None) -> Sums:
    if of is None:
        return _silent(kind, units)
    if kind == "proportion":
        return Counts(units, int(of.sum))
    y = Moments(units, Fraction(of.sum), Fraction(of.sum_squares))
    if kind == "mean":
        return y
    x = Moments(units, Fraction(of.sum_other or 0), Fraction(of.sum_other_squares or 0))
    return Pairs(y, x, Fraction(of.sum_products or 0))


def _silent(kind: Kind, units: int) -> Sums:
    """Units that did nothing."""
    if kind == "proportion":
        return Counts(units)
    return Pairs(Moments(units), Moments(units)) if kind == "ratio" else Moments(units)
