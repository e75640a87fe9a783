"""Kubernetes quantities such as ``500m`` and ``1Gi``. Source: ``k8s.io/apiserver/pkg/cel/library/quantity.go``."""

from __future__ import annotations

import re
from fractions import Fraction

from millrace_local.apiserver.schema.cel.overloads import Table, free, member
from millrace_local.apiserver.schema.cel.syntax import CelError
from millrace_local.apiserver.schema.cel.values import INT_MAX, INT_MIN

_QUANTITY = re.compile(
    r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(?:(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)|[eE]([+-]?[0-9]+))?"
)
_SUFFIXES = {suffix: Fraction(10) ** (3 * power) for power, suffix in enumerate("num", start=-3)}
_SUFFIXES |= {suffix: Fraction(1000) ** power for power, suffix in enumerate("kMGTPE", start=1)}
_SUFFIXES |= {f"{suffix}i": Fraction(1024) ** power for power, suffix in enumerate("KMGTPE", start=1)}
_LARGEST_EXPONENT = 1000


class Quantity(Fraction):
    """An exact amount."""

    __slots__ = ()


def parse(text: str) -> Fraction | None:
    """The amount that a quantity says; None if it is none."""
    match = _QUANTITY.fullmatch(text)
    if match is None or abs(int(match[3] or 0)) > _LARGEST_EXPONENT:
        return None
    number, suffix, exponent = match.groups()
    amount = Fraction(f"{number}0" if number.endswith(".") else number)
    return amount * (_SUFFIXES[suffix] if suffix else Fraction(10) ** int(exponent or 0))


def _quantity(text: str) -> Quantity:
    amount = parse(text)
    if amount is None:
        raise CelError("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")
    return Quantity(amount)


def _is_integer(amount: Quantity) -> bool:
    return amount.denominator == 1 and INT_MIN <= amount.numerator <= INT_MAX


def _as_integer(amount: Quantity) -> int:
    if not _is_integer(amount):
        raise CelError("cannot convert value to integer")
    return int(amount)


def add_to(table: Table) -> None:
    """Adds the functions of quantities."""
    free(table, "quantity", ("string -> quantity", _quantity))
    free(table, "isQuantity", ("string -> bool", lambda text: parse(text) is not None))
    member(table, "isInteger", ("quantity -> bool", _is_integer))
    member(table, "asInteger", ("quantity -> int", _as_integer))
    member(table, "asApproximateFloat", ("quantity -> double", float))
    member(table, "sign", ("quantity -> int", lambda amount: (amount > 0) - (amount < 0)))
    member(table, "isGreaterThan", ("quantity, quantity -> bool", lambda one, two: one > two))
    member(table, "isLessThan", ("quantity, quantity -> bool", lambda one, two: one < two))
    member(table, "compareTo", ("quantity, quantity -> int", lambda one, two: (one > two) - (one < two)))
    for name, sign in (("add", 1), ("sub", -1)):
        member(
            table,
            name,
            ("quantity, quantity -> quantity", lambda one, two, sign=sign: Quantity(one + sign * two)),
            ("quantity, int -> quantity", lambda one, two, sign=sign: Quantity(one + sign * two)),
        )
