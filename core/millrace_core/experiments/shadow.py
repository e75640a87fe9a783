"""What a shadow said beside what was answered: pairs of outputs of the same requests, compared.

A shadow's answers reach nobody, so there are no outcomes of them. What can be said is how often both agree, how far
apart their outputs are as distributions, and how fast and how reliable the shadow is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from millrace_core.base.errors import RejectError
from millrace_core.stats import distance

# Bins of numbers: deciles of the control's, as drift has them.
_BINS: Final = 10


@dataclass(frozen=True)
class OutputComparison:
    """One output of a model, by the control and by the shadow.

    Attributes:
        name: of the output.
        pairs: rows that both have.
        agreement: the share of them in which both say the same: labels that are equal, numbers within the tolerance.
        psi: population stability index of the shadow's values over the control's.
        jensen_shannon: distance of both as distributions, from 0 (the same) to 1.
        wasserstein: first Wasserstein distance, in the output's own unit; None of labels.
        mean_difference: shadow minus control; None of labels.
    """

    name: str
    pairs: int
    agreement: float
    psi: float
    jensen_shannon: float
    wasserstein: float | None = None
    mean_difference: float | None = None


def compare_output(name: str, control: Sequence[Any], shadow: Sequence[Any], tolerance: float) -> OutputComparison:
    """Compares one output row by row.

    Args:
        control, shadow: values of the same rows, in one order: floats, labels (text, whole numbers, booleans), or
            lists of them, such as probabilities, of which each element counts in the distributions.
        tolerance: how far apart two floats may be and agree, absolute below 1 and relative above.

    Raises:
        RejectError: there are no rows, or not as many of one as of the other; or the tolerance is below 0.
    """
    if len(control) != len(shadow) or not control:
        raise RejectError(f"as many rows of both are expected, {len(control)} and {len(shadow)} came", field=name)
    if not tolerance >= 0:
        raise RejectError(f"a number of 0 or more is expected, {tolerance} came", field="tolerance")
    rows = [(flat(before), flat(after)) for before, after in zip(control, shadow, strict=True)]
    agreed = sum(_agree(before, after, tolerance) for before, after in rows) / len(rows)
    ours, theirs = ([value for row in rows for value in row[side]] for side in (0, 1))
    if not any(isinstance(value, float) for value in (*ours, *theirs)):
        return _labels(name, len(rows), agreed, ours, theirs)
    return _numbers(name, len(rows), agreed, ours, theirs)


def flat(value: Any) -> list[Any]:
    """The scalars of a value, in order."""
    if isinstance(value, (list, tuple)):
        return [each for part in value for each in flat(part)]
    return [value]


def _agree(before: Sequence[Any], after: Sequence[Any], tolerance: float) -> bool:
    return len(before) == len(after) and all(
        _alike(one, other, tolerance) for one, other in zip(before, after, strict=True)
    )


def _alike(one: Any, other: Any, tolerance: float) -> bool:
    if not isinstance(one, float) and not isinstance(other, float):
        return bool(one == other)
    a, b = _float(one), _float(other)
    if np.isfinite(a) and np.isfinite(b):
        return abs(a - b) <= tolerance * max(1.0, abs(a))
    return a == b or (bool(np.isnan(a)) and bool(np.isnan(b)))


def _labels(name: str, pairs: int, agreed: float, ours: Sequence[Any], theirs: Sequence[Any]) -> OutputComparison:
    before, after = Counter(map(repr, ours)), Counter(map(repr, theirs))
    kinds = sorted({*before, *after})
    r, o = [before[kind] for kind in kinds], [after[kind] for kind in kinds]
    if not sum(r) or not sum(o):
        return OutputComparison(name, pairs, agreed, 0.0, 0.0)
    return OutputComparison(name, pairs, agreed, distance.psi(r, o), distance.jensen_shannon(r, o))


def _numbers(name: str, pairs: int, agreed: float, ours: Sequence[Any], theirs: Sequence[Any]) -> OutputComparison:
    before, after = (np.array([_float(value) for value in values]) for values in (ours, theirs))
    here, there = before[np.isfinite(before)], after[np.isfinite(after)]
    # Over open ends, and with equal edges merged, as a share of a bin that nothing can fall into says nothing.
    edges = np.unique(np.quantile(here, np.arange(1, _BINS) / _BINS)) if len(here) else np.array([])
    r, o = (_counts(values, finite, edges) for values, finite in ((before, here), (after, there)))
    apart = moved = None
    if len(here) and len(there):
        places = np.unique(np.concatenate([here, there]))
        apart = distance.wasserstein(places, *(_at(values, places) for values in (here, there)))
        moved = float(there.mean() - here.mean())
    return OutputComparison(name, pairs, agreed, distance.psi(r, o), distance.jensen_shannon(r, o), apart, moved)


def _counts(values: Any, finite: Any, edges: Any) -> list[int]:
    """Counts per bin, what is no number last."""
    counted = np.bincount(np.searchsorted(edges, finite, side="left"), minlength=len(edges) + 1)
    return [*counted.tolist(), len(values) - len(finite)]


def _at(values: Any, places: Any) -> list[int]:
    counts: list[int] = np.bincount(np.searchsorted(places, values), minlength=len(places)).tolist()
    return counts


def _float(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else float("nan")
