"""How many units an experiment needs, by the method that will judge it.

The fixed horizon needs n = (z_{α/2} + z_β)² (v₁ + v₂) / δ² per arm (R. Lachin, "Introduction to sample size
determination", Controlled Clinical Trials 2 (1981)). The other methods keep this form, with another factor
in place of the square:

- the confidence sequence: its bound at the planned units, which is the same whatever they are, in place of z_{α/2}.
  Looks before only add to the power, so the planned one is a lower bound of it;
- group sequential bounds: the drift at which the looks together have the power, by recursive integration (C. Jennison,
  B. Turnbull, "Group Sequential Methods", 2000, 2.1.3).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, get_args

from scipy import special

from millrace_core.base.errors import RejectError
from millrace_core.base.shown import shown
from millrace_core.stats import arguments
from millrace_core.stats.group_sequential import bounds, crossing
from millrace_core.stats.sequential import critical, mixture

Method = Literal["sequential", "groupSequential", "fixed"]
METHODS: Final[tuple[Method, ...]] = get_args(Method)
LOOKS: Final = 5

_DAYS: Final = 7
_HALVINGS: Final = 50
# More units than this are no experiment.
_MOST: Final = 10**15


@dataclass(frozen=True)
class Size:
    """Units of the two arms that are compared.

    Attributes:
        control: units of the control.
        treatment: units of the treatment.
    """

    control: int
    treatment: int

    @property
    def total(self) -> int:
        """Units of both, which is N* of a confidence sequence."""
        return self.control + self.treatment


def drift(method: Method, alpha: float, power: float, looks: int = LOOKS) -> float:
    """The mean of z at the end, in standard errors, at which the method has the power.

    Raises:
        RejectError: of ``method``, ``alpha``, ``power`` or ``looks``.
    """
    arguments.level(alpha)
    if arguments.within(power, 0.0, 1.0, "power") <= alpha:
        raise RejectError(f"a power above alpha is expected, {power:g} came", field="power")
    chance = float(special.ndtri(power))
    match method:
        case "fixed":
            return -float(special.ndtri(alpha / 2)) + chance
        case "sequential":
            return float(critical(mixture(1.0, alpha), alpha)) + chance
        case "groupSequential":
            return _group_drift(alpha, power, looks)
        case _:
            raise RejectError(f"one of {', '.join(METHODS)} is expected, {shown(method)} came", field="method")


def size(
    variances: tuple[float, float],
    effect: float,
    *,
    alpha: float = 0.05,
    power: float = 0.8,
    method: Method = "sequential",
    share: float = 0.5,
    looks: int = LOOKS,
) -> Size:
    """Units of each arm.

    Args:
        variances: of one unit, in the control and in the treatment.
        effect: the least difference that is to be found, in the unit of the metric.
        alpha: two-sided.
        power: the probability with which the effect is found.
        method: that will judge.
        share: of the treatment among the units of both.
        looks: of a group sequential test, equally spaced.

    Raises:
        RejectError: of the argument's name.
    """
    control, treatment = (arguments.positive(each, "variance") for each in variances)
    if arguments.finite(effect, "effect") == 0:
        raise RejectError("an effect of 0 is never found; a number other than 0 is expected", field="effect")
    arguments.within(share, 0.0, 1.0, "share")
    # Square roots, since a square may be no double.
    root = drift(method, alpha, power, looks) * math.sqrt(control / (1 - share) + treatment / share) / abs(effect)
    if not root < math.sqrt(_MOST):
        raise RejectError(f"more than {_MOST:g} units would be needed", hint="Plan for a larger effect", field="effect")
    total = root**2
    return Size(max(math.ceil(total * (1 - share) - 1e-9), 2), max(math.ceil(total * share - 1e-9), 2))


def power_of(
    found: Size,
    variances: tuple[float, float],
    effect: float,
    *,
    alpha: float = 0.05,
    method: Method = "sequential",
    looks: int = LOOKS,
) -> float:
    """The power of a size, with so many equally spaced looks; by recursive integration where there are several."""
    end = abs(effect) / math.sqrt(variances[0] / found.control + variances[1] / found.treatment)
    if method == "fixed":
        limit = -float(special.ndtri(alpha / 2))
        return float(special.ndtr(end - limit) + special.ndtr(-end - limit))
    fractions = [(look + 1) / looks for look in range(looks)]
    if method == "groupSequential":
        return crossing(fractions, bounds(fractions, alpha), end)
    scaled = mixture(1.0, alpha)
    return crossing(fractions, [float(critical(each * scaled, alpha)) for each in fractions], end)


def whole_weeks(units: int, daily_units: float) -> int:
    """Weeks until so many units of all arms came; whole ones, because days of a week differ."""
    return max(math.ceil(units / arguments.positive(daily_units, "dailyUnits") / _DAYS - 1e-9), 1)


def _group_drift(alpha: float, power: float, looks: int) -> float:
    if arguments.count(looks, "looks") not in range(1, 101):
        raise RejectError(f"1 to 100 looks are expected, {looks} came", field="looks")
    fractions = [(look + 1) / looks for look in range(looks)]
    limits = bounds(fractions, alpha)
    low, high = 0.0, 20.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if crossing(fractions, limits, middle) < power:
            low = middle
        else:
            high = middle
    return high
