"""How many units and weeks an experiment takes, by the method that will judge it, and beside it by a fixed horizon."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final

from millrace_core.base.errors import RejectError
from millrace_core.base.shown import shown
from millrace_core.experiments.metric import Kind
from millrace_core.stats import arguments, power
from millrace_core.stats.power import LOOKS, Method, Size

_MDE: Final = re.compile(r"[+-]?(\d++\.?\d*|\.\d+)(e[+-]?\d+)?(%?)", re.IGNORECASE)
_MOST_ARMS: Final = 10
# Longer than that nobody waits.
_MOST_DAYS: Final = 1_000_000


@dataclass(frozen=True)
class Need:
    """What one method needs.

    Attributes:
        method: that judges.
        control: units of the control.
        challenger: units of each challenger.
        total: units of all arms.
        days: until they came, a part of a day counted whole; None where the daily units are not known.
        weeks: the same, whole weeks.
    """

    method: Method
    control: int
    challenger: int
    total: int
    days: int | None
    weeks: int | None


@dataclass(frozen=True)
class Plan:
    """The plan of an experiment.

    Attributes:
        effect: the least difference that is to be found, in the unit of the metric.
        alpha: of each comparison, which is the whole one divided by the challengers (Holm's first step).
        need: of the method that will judge; its pair of arms is what ``planned`` of ``judging.Rules`` is.
        fixed: of a fixed horizon, for comparison.
    """

    effect: float
    alpha: float
    need: Need
    fixed: Need

    @property
    def planned(self) -> int:
        """Units of control and one challenger together."""
        return self.need.control + self.need.challenger


def effect_of(mde: str, baseline: float) -> float:
    """The difference that ``10%`` (of the size of the baseline) or ``0.01`` (in its own unit) means.

    Raises:
        RejectError: it is neither, or 0, or a share of a baseline of 0 (field ``mde``).
    """
    match = _MDE.fullmatch(mde.strip())
    if match is None:
        raise RejectError(
            f"a number such as 0.01, or a share of the baseline such as 10%, is expected, {shown(mde)} came",
            field="mde",
        )
    number = arguments.finite(float(mde.strip().rstrip("%")), "mde")
    if number == 0:
        raise RejectError("an effect of 0 is never found; the least one that is worth knowing is expected", field="mde")
    if not match[3]:
        return number
    if baseline == 0:
        raise RejectError("a share of a baseline of 0 is 0", hint="Give the effect as a number", field="mde")
    return abs(baseline) * number / 100


def plan(
    kind: Kind,
    baseline: float,
    mde: str,
    *,
    variance: float | None = None,
    alpha: float = 0.05,
    power_: float = 0.8,
    daily_units: float | None = None,
    method: Method = "sequential",
    arms: int = 2,
    weight: float | None = None,
    looks: int | None = None,
) -> Plan:
    """Units of each arm.

    Args:
        kind: of the primary metric.
        baseline: its value in the control.
        mde: the least effect to find (``effect_of``).
        variance: of one unit; of a ratio, of y − R x over the squared mean of x. A proportion has p (1 − p).
        alpha: two-sided, over all challengers.
        power_: the probability with which such an effect is found.
        daily_units: of all arms.
        method: that will judge.
        arms: with the control.
        weight: percentage of units of each challenger; even by default.
        looks: of a group sequential test, and of no other; 5 by default.

    Raises:
        RejectError: of the argument at fault.
    """
    if arguments.count(arms, "arms") not in range(2, _MOST_ARMS + 1):
        raise RejectError(f"2 to {_MOST_ARMS} arms are expected, {arms} came", field="arms")
    planned = _looks(looks, method)
    effect = effect_of(mde, arguments.finite(baseline, "baseline"))
    variances = _variances(kind, baseline, effect, variance)
    challengers = arms - 1
    share = arguments.within(100 / arms if weight is None else weight, 0.0, 100 / challengers, "weight") / 100
    pair = share / (1 - challengers * share + share)
    each = arguments.level(alpha) / challengers

    def need(by: Method) -> Need:
        try:
            found = power.size(variances, effect, alpha=each, power=power_, method=by, share=pair, looks=planned)
        except RejectError as error:
            if error.field == "effect":
                error.field = "mde"
            raise
        return _need(by, found, challengers, daily_units)

    return Plan(effect, each, need(method), need("fixed"))


def _looks(given: int | None, method: Method) -> int:
    if given is not None and method != "groupSequential":
        raise RejectError(
            f"only groupSequential has looks that are planned; the method is {method}",
            hint="Leave it out",
            field="looks",
        )
    return LOOKS if given is None else given


def _variances(kind: Kind, baseline: float, effect: float, variance: float | None) -> tuple[float, float]:
    if kind != "proportion":
        if variance is None:
            raise RejectError(f"the variance of a unit is expected for a {kind}", field="variance")
        return (arguments.positive(variance, "variance"),) * 2
    if variance is not None:
        raise RejectError("a proportion has the variance p (1 − p); none is expected", field="variance")
    arguments.within(baseline, 0.0, 1.0, "baseline")
    after = baseline + effect
    if not 0 < after < 1:
        raise RejectError(f"{baseline:g} would become {after:g}, which is no proportion between 0 and 1", field="mde")
    return baseline * (1 - baseline), after * (1 - after)


def _need(method: Method, size: Size, challengers: int, daily: float | None) -> Need:
    total = size.control + challengers * size.treatment
    if daily is None:
        return Need(method, size.control, size.treatment, total, None, None)
    if not total / arguments.positive(daily, "dailyUnits") < _MOST_DAYS:
        raise RejectError(
            f"{total:,} units at {daily:g} a day would take more than {_MOST_DAYS:,} days",
            hint="Plan for a larger effect",
            field="dailyUnits",
        )
    return Need(method, size.control, size.treatment, total, math.ceil(total / daily), power.whole_weeks(total, daily))
