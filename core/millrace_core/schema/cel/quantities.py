"""Kubernetes quantities such as ``500m`` and ``1Gi``. Source: ``k8s.io/apiserver/pkg/cel/library/quantity.go``."""

from __future__ import annotations

from fractions import Fraction

from millrace_core.base.quantities import parse
from millrace_core.schema.cel.overloads import Table, free, member
from millrace_core.schema.cel.syntax import CelError
from millrace_core.schema.cel.values import INT_MAX, INT_MIN


class Quantity(Fraction):
    """The exact amount of a quantity."""

    __slots__ = ()


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
