"""Sufficient statistics of the units of one arm: exact, frozen, and merged by ``+``; and what accumulates them.

Each keeps whole numbers and fractions, so that Σx² − (Σx)²/n loses nothing (``exact``). The sums of JSON are doubles,
which are fractions, too; where a sender rounded them, a variance that is below 0 by no more than this rounding is 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final

import numpy as np

from millrace_core.base.errors import RejectError
from millrace_core.stats import arguments
from millrace_core.stats.exact import exact_products, exact_sum

# How far a sum of squares that was rounded elsewhere may be below what it can be, as a share of itself.
_ROUNDING: Final = Fraction(1, 10**9)
# Beyond this a variance may be no double.
_LARGEST: Final = 10.0**150


@dataclass(frozen=True)
class Counts:
    """Units of which each did, or did not.

    Attributes:
        n: units.
        successes: those that did.

    Raises:
        RejectError: a count is no whole number of 0 or more, or there are more successes than units.
    """

    n: int = 0
    successes: int = 0

    def __post_init__(self) -> None:
        n, successes = arguments.count(self.n, "n"), arguments.count(self.successes, "successes")
        if successes > n:
            raise RejectError(f"{successes} successes of {n} units came; at most all succeed", field="successes")
        _set(self, n=n, successes=successes)

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.n + other.n, self.successes + other.successes)


@dataclass(frozen=True)
class Moments:
    """Units with one value each.

    Attributes:
        n: units.
        sum: Σx.
        squares: Σx².

    Raises:
        RejectError: a number is not finite, or the sums are of no ``n`` values at all.
    """

    n: int = 0
    sum: Fraction = Fraction(0)
    squares: Fraction = Fraction(0)

    def __post_init__(self) -> None:
        n = arguments.count(self.n, "n")
        total = Fraction(arguments.exact(self.sum, "sum"))
        squares = Fraction(arguments.exact(self.squares, "sumOfSquares"))
        if n == 0 and (total or squares):
            raise RejectError("no unit came, and yet a sum that is not 0", field="n")
        if abs(total) > n * Fraction(_LARGEST):
            raise RejectError(f"values of at most {_LARGEST:g} are expected", field="sum")
        if squares > n * Fraction(_LARGEST) ** 2:
            raise RejectError(f"values of at most {_LARGEST:g} are expected", field="sumOfSquares")
        if n and squares * n < total * total:
            _check_squares(n, total, squares)
            squares = total * total / n
        _set(self, n=n, sum=total, squares=squares)

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.n + other.n, self.sum + other.sum, self.squares + other.squares)

    @property
    def mean(self) -> Fraction:
        """Σx / n, of at least one unit."""
        return self.sum / self.n

    @property
    def variance(self) -> Fraction:
        """The sample variance, of at least two units."""
        return (self.squares - self.sum * self.sum / self.n) / (self.n - 1)


@dataclass(frozen=True)
class Pairs:
    """Units with two values each: numerator and denominator of a ratio, or outcome and covariate.

    Attributes:
        y: of the numerator or outcome.
        x: of the denominator or covariate.
        products: Σxy.

    Raises:
        RejectError: the two are of different numbers of units, or Σxy is none that their spreads allow.
    """

    y: Moments = field(default_factory=Moments)
    x: Moments = field(default_factory=Moments)
    products: Fraction = Fraction(0)

    def __post_init__(self) -> None:
        if self.y.n != self.x.n:
            raise RejectError(f"two values per unit are expected, {self.y.n} and {self.x.n} came", field="n")
        products = Fraction(arguments.exact(self.products, "sumOfProducts"))
        _set(self, products=products)
        if self.n == 0 and products:
            raise RejectError("no unit came, and yet a sum that is not 0", field="n")
        if self.n > 1:
            self._check_products()

    def __add__(self, other: Pairs) -> Pairs:
        return Pairs(self.y + other.y, self.x + other.x, self.products + other.products)

    @property
    def n(self) -> int:
        """Units."""
        return self.y.n

    @property
    def covariance(self) -> Fraction:
        """The sample covariance, of at least two units."""
        return (self.products - self.y.sum * self.x.sum / self.n) / (self.n - 1)

    def _check_products(self) -> None:
        """By Cauchy and Schwarz, with room for sums that a sender rounded."""
        room = self.y.squares * self.x.squares * _ROUNDING**2 / (self.n - 1) ** 2
        if self.covariance**2 > self.y.variance * self.x.variance * (1 + _ROUNDING) + room:
            raise RejectError(
                f"{float(self.products):g} came, which no {self.n} pairs with these sums and sums of squares have",
                field="sumOfProducts",
            )


class RunningCounts:
    """Accumulates units that did or did not."""

    def __init__(self) -> None:
        self._counts = Counts()

    def update(self, values: Any) -> None:
        """Adds one unit, or several: 0 or 1 each."""
        array = arguments.finite_array(values, "values")
        if not np.isin(array, (0.0, 1.0)).all():
            raise RejectError("0 or 1 per unit is expected", field="values")
        self._counts += Counts(len(array), int(array.sum()))

    def get(self) -> Counts:
        """All units so far."""
        return self._counts


class RunningMoments:
    """Accumulates units with one value each."""

    def __init__(self) -> None:
        self._moments = Moments()

    def update(self, values: Any) -> None:
        """Adds one unit, or several: the value of each."""
        self._moments += _moments(arguments.finite_array(values, "values"))

    def get(self) -> Moments:
        """All units so far."""
        return self._moments


class RunningPairs:
    """Accumulates units with two values each."""

    def __init__(self) -> None:
        self._pairs = Pairs()

    def update(self, y: Any, x: Any) -> None:
        """Adds one unit, or several: numerators or outcomes, and denominators or covariates."""
        ys, xs = arguments.finite_array(y, "y"), arguments.finite_array(x, "x")
        if len(ys) != len(xs):
            raise RejectError(f"two values per unit are expected, {len(ys)} and {len(xs)} came", field="x")
        self._pairs += Pairs(_moments(ys), _moments(xs), exact_products(ys, xs))

    def get(self) -> Pairs:
        """All units so far."""
        return self._pairs


def _moments(values: arguments.Floats) -> Moments:
    if np.abs(values).max(initial=0.0) > _LARGEST:
        raise RejectError(f"values of at most {_LARGEST:g} are expected", field="values")
    return Moments(len(values), exact_sum(values), exact_products(values, values))


def _check_squares(n: int, total: Fraction, squares: Fraction) -> None:
    if total * total - squares * n > total * total * _ROUNDING:
        raise RejectError(
            f"{float(squares):g} came, but {n} values with a sum of {float(total):g} have at least "
            f"{float(total * total / n):g}",
            field="sumOfSquares",
        )


def _set(instance: Any, **values: Any) -> None:
    """Fields of a frozen dataclass in their exact form."""
    for name, value in values.items():
        object.__setattr__(instance, name, value)
