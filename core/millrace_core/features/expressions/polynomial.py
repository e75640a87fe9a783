"""Polynomials with coefficients that are not negative: bounds of sizes and of work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

# The length of what an expression reads, in bytes. Other variables are the elements that lambdas see.
INPUT: Final = ""
# Powers beyond these say nothing that a refusal needs.
_DEGREE: Final = 8


class Polynomial:
    """A sum of monomials: a coefficient for each product of variables, the product as their sorted names."""

    def __init__(self, terms: Mapping[tuple[str, ...], float]) -> None:
        self.terms = terms

    def __add__(self, other: Polynomial) -> Polynomial:
        made = dict(self.terms)
        for product, coefficient in other.terms.items():
            made[product] = made.get(product, 0) + coefficient
        return Polynomial(made)

    def __mul__(self, other: Polynomial) -> Polynomial:
        made: dict[tuple[str, ...], float] = {}
        for left, one in self.terms.items():
            for right, two in other.terms.items():
                product = tuple(sorted(left + right)[:_DEGREE])
                made[product] = made.get(product, 0) + one * two
        return Polynomial(made)

    def times(self, factor: float) -> Polynomial:
        """Each coefficient so many times."""
        return Polynomial({product: coefficient * factor for product, coefficient in self.terms.items()})

    def or_greater(self, other: Polynomial) -> Polynomial:
        """Not less than either of the two, wherever variables are not negative."""
        names = self.terms.keys() | other.terms.keys()
        return Polynomial({name: max(self.terms.get(name, 0), other.terms.get(name, 0)) for name in names})

    def summed(self, variable: str, total: Polynomial, count: Polynomial) -> Polynomial:
        """The sum over so many values of a variable that are ``total`` together: a sum of powers is at most the power
        of the sum."""
        made = constant(0)
        for product, coefficient in self.terms.items():
            powers = product.count(variable)
            rest = Polynomial({tuple(name for name in product if name != variable): coefficient})
            for _ in range(powers):
                rest *= total
            made += rest if powers else rest * count
        return made

    def at(self, length: float) -> float:
        """The value where what is read is so long; without variables of lambdas."""
        return float(sum(coefficient * length ** len(product) for product, coefficient in self.terms.items()))

    @property
    def degree(self) -> int:
        """The greatest number of factors of a monomial."""
        return max((len(product) for product, coefficient in self.terms.items() if coefficient), default=0)


def constant(value: float) -> Polynomial:
    """A polynomial that is the same everywhere."""
    return Polynomial({(): value})


def variable(name: str) -> Polynomial:
    """A variable itself."""
    return Polynomial({(name,): 1})
