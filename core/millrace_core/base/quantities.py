"""Kubernetes quantities such as ``500m``, ``1.5Gi`` and ``1e3``, as exact numbers.

Source: ``k8s.io/apimachinery/pkg/api/resource``.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Final

from millrace_core.base.shown import shown

_QUANTITY: Final = re.compile(
    r"([+-]?(?:[0-9]++\.?[0-9]*|\.[0-9]+))(?:(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)|[eE]([+-]?[0-9]+))?"
)
_SUFFIXES: Final = {
    **{suffix: Fraction(10) ** (3 * power) for power, suffix in enumerate("num", start=-3)},
    **{suffix: Fraction(1000) ** power for power, suffix in enumerate("kMGTPE", start=1)},
    **{f"{suffix}i": Fraction(1024) ** power for power, suffix in enumerate("KMGTPE", start=1)},
}
_LARGEST_EXPONENT: Final = 1000


def parse(text: str) -> Fraction | None:
    """The amount that a quantity says; None if it is none."""
    match = _QUANTITY.fullmatch(text)
    if match is None or abs(int(match[3] or 0)) > _LARGEST_EXPONENT:
        return None
    number, suffix, exponent = match.groups()
    amount = Fraction(f"{number}0" if number.endswith(".") else number)
    return amount * (_SUFFIXES[suffix] if suffix else Fraction(10) ** int(exponent or 0))


def quantity(value: str | float) -> Fraction:
    """The amount that a quantity, or a plain number, says.

    Raises:
        ValueError: it is no quantity; the message says what came.
    """
    amount = parse(str(value))
    if amount is None:
        raise ValueError(f"{shown(value)} is no quantity such as 500m or 2Gi")
    return amount
