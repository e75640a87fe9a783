"""Percentages: integers that sum to 100, by largest remainder, on a ramp that never takes a unit back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

WHOLE = 100


def apportion(total: int, shares: Mapping[str, int], at_least: Mapping[str, int] | None = None) -> dict[str, int]:
    """Divides ``total`` among the keys of ``shares``, in proportion and in integers.

    From zero it is the method of largest remainders (ties go to the earlier key). ``at_least`` holds what each key
    has already (together at most ``total``): nobody falls below it, which plain largest remainders do not promise when
    the total grows (the Alabama paradox).
    """
    given = {key: (at_least or {}).get(key, 0) for key in shares}
    whole = sum(shares.values())
    if whole == 0:
        return given
    quotas = {key: Fraction(total * share, whole) for key, share in shares.items()}
    for _ in range(total - sum(given.values())):
        neediest = max(given, key=lambda key: quotas[key] - given[key])
        given[neediest] += 1
    return given


def ramp(control: str, shares: Mapping[str, int], totals: Sequence[int]) -> dict[str, int]:
    """The split after the steps ``totals``: the last one's percentage to the challengers, the rest to the control.

    Args:
        control: name of the control.
        shares: each challenger's share among the challengers.
        totals: percentages of all challengers together, step by step, never falling.
    """
    challengers: dict[str, int] = dict.fromkeys(shares, 0)
    for total in totals:
        challengers = apportion(total, shares, challengers)
    return {control: WHOLE - sum(challengers.values()), **challengers}


def only(winner: str, names: Iterable[str]) -> dict[str, int]:
    """All traffic to one."""
    return {name: WHOLE if name == winner else 0 for name in names}


def without_unready(split: Mapping[str, int], control: str, ready: Mapping[str, bool]) -> dict[str, int]:
    """The split with the shares of unready challengers given to the control.

    An unready control keeps its share: nothing else may take it.
    """
    lost = sum(weight for name, weight in split.items() if name != control and not ready[name])
    return {
        name: weight + lost if name == control else (weight if ready[name] else 0) for name, weight in split.items()
    }
