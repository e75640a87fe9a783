"""Checks of arguments, each of which names its field."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Rational, Real
from typing import Any

import numpy as np

from millrace_core.base.errors import RejectError
from millrace_core.base.shown import shown

Floats = np.ndarray[Any, np.dtype[np.float64]]
# One number, or an array of them, for formulas that are computed for many experiments at once.
Reals = float | Floats


def finite(value: Any, field: str) -> float:
    """A finite number."""
    try:
        number = float(value) if isinstance(value, Real | np.number) and not isinstance(value, bool) else math.nan
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise RejectError(f"a finite number is expected, {shown(value)} came", field=field)
    return number


def positive(value: Any, field: str) -> float:
    """A finite number above 0."""
    number = finite(value, field)
    if number <= 0:
        raise RejectError(f"a number above 0 is expected, {shown(value)} came", field=field)
    return number


def within(value: Any, low: float, high: float, field: str) -> float:
    """A number between two others, both excluded."""
    number = finite(value, field)
    if not low < number < high:
        raise RejectError(f"a number between {low:g} and {high:g} is expected, {shown(value)} came", field=field)
    return number


def level(alpha: Any, field: str = "alpha") -> float:
    """A level of significance: above 0 and below 0.5."""
    return within(alpha, 0.0, 0.5, field)


def count(value: Any, field: str) -> int:
    """A whole number of 0 or more."""
    number = finite(value, field)
    if number < 0 or not number.is_integer():
        raise RejectError(f"a whole number of 0 or more is expected, {shown(value)} came", field=field)
    return int(value)  # as it came: a double has no whole numbers of its own beyond 2^53


def exact(value: Any, field: str) -> Any:
    """A finite number, kept as exact as it came."""
    return value if isinstance(value, Rational) and not isinstance(value, bool) else finite(value, field)


def finite_array(values: Any, field: str) -> Floats:
    """Finite numbers, one per unit, as a vector."""
    try:
        array = np.atleast_1d(np.asarray(values, np.float64))
    except (TypeError, ValueError) as error:
        raise RejectError("numbers are expected", field=field) from error
    if array.ndim != 1:
        raise RejectError(f"one number per unit is expected, an array of shape {array.shape} came", field=field)
    wrong = np.flatnonzero(~np.isfinite(array))
    if len(wrong):
        raise RejectError(
            f"finite numbers are expected, {array[wrong[0]]} came at index {wrong[0]}",
            hint="Leave the unit out, or write what it means as a number",
            field=field,
        )
    return array


def weights(values: Iterable[Any], field: str) -> Floats:
    """Finite numbers of 0 or more, with a sum above 0."""
    array = finite_array(list(values), field)
    if (array < 0).any() or not array.sum() > 0:
        raise RejectError(
            f"weights of 0 or more with a sum above 0 are expected, {shown(array.tolist())} came", field=field
        )
    return array
