"""How large the values of an expression may become, and how much work they are, from its tree alone.

DuckDB limits neither the memory of a text that is being built nor the time of one call, and both cannot be stopped
before the call returns. So each function that expressions may call has a rule in ``growth_rules``: how large its result
is at most, and how many steps it takes, given the sizes of its arguments. Here they are put together to polynomials in
the length of what the expression reads (bytes of a text, 8 for each element of a list).

Where these grow in proportion, nothing is limited. Where they grow faster, what is read may be so long that no value is
beyond ``MOST_BYTES`` and the row beyond ``MOST_STEPS``. An expression that would be limited to less than
``LEAST_LENGTH`` is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from millrace_core.features.expressions import copies, growth_rules
from millrace_core.features.expressions.growth_rules import NUMBER, Argument, Bound, TooLargeError
from millrace_core.features.expressions.polynomial import INPUT, Polynomial, constant, variable

Tree = Mapping[str, Any]
Name = tuple[str, ...]
Bounds = Mapping[str, Bound]

# Bytes that the values of one row may have, those on the way to the result included, and its steps: a comparison of two
# bytes or so. The steps take some 10 milliseconds.
MOST_BYTES: Final = 2**20
MOST_STEPS: Final = 2**22
# What an expression may need for each byte that it reads, without a limit of what it reads.
_BYTES_EACH: Final = 16
_STEPS_EACH: Final = 1024
_BYTES_AT_ALL: Final = 2**15
_STEPS_AT_ALL: Final = 2**17
LEAST_LENGTH: Final = 256

# Operations within operations, and operations in all, macros expanded: binding takes the cube of the depth.
MOST_DEPTH: Final = 100
MOST_NODES: Final = 6000
MOST_COPIES: Final = 500

# Of a column of any type; an element of a list has 8 bytes.
UNKNOWN: Final = Bound(variable(INPUT), variable(INPUT).times(1 / 8))
_NONE: Final = constant(0)
_LAMBDAS_DEEP: Final = 3


class Growth(NamedTuple):
    """What an expression needs.

    Attributes:
        value: bound of its result.
        bytes: of all values of a row together, those on the way included.
        steps: of a row.
    """

    value: Bound
    bytes: Polynomial
    steps: Polynomial

    @property
    def free(self) -> bool:
        """Whether it needs little, and else only in proportion to what it reads, so that nothing need be limited."""
        return all(
            each.degree <= 1 and each.terms.get((INPUT,), 0) <= slope and each.terms.get((), 0) <= most
            for each, slope, most in (
                (self.bytes, _BYTES_EACH, _BYTES_AT_ALL),
                (self.steps, _STEPS_EACH, _STEPS_AT_ALL),
            )
        )

    def longest(self) -> int:
        """How many bytes what it reads may have.

        Raises:
            TooLargeError: these are less than ``LEAST_LENGTH``.
        """
        for each, most, unit in ((self.bytes, MOST_BYTES, "bytes"), (self.steps, MOST_STEPS, "steps")):
            if each.at(LEAST_LENGTH) > most:
                raise TooLargeError(
                    f"over a value of {LEAST_LENGTH} bytes it may take {each.at(LEAST_LENGTH):,.0f} {unit}, {most:,} "
                    "are the most",
                    "Leave out what repeats or pads so much, or compute it in the source",
                )
        low, high = LEAST_LENGTH, MOST_STEPS
        while high - low > 1:
            middle = (low + high) // 2
            fits = self.bytes.at(middle) <= MOST_BYTES and self.steps.at(middle) <= MOST_STEPS
            low, high = (middle, high) if fits else (low, middle)
        return low


def work(grown: Iterable[tuple[Growth, int | None]]) -> tuple[float, float]:
    """Steps of expressions together: for each row, and for each byte of what it reads.

    Args:
        grown: what each needs, and how long what it reads may be; None: any length.
    """
    listed = [(each.steps, longest) for each, longest in grown]
    fixed = sum(steps.at(longest or 0) for steps, longest in listed)
    return fixed, sum(steps.terms.get((INPUT,), 0) for steps, longest in listed if longest is None)


def measure(tree: Tree, bounds: Callable[[Name], Bound] = lambda _: UNKNOWN) -> Growth:
    """Bounds of an expression.

    Args:
        tree: as the parser gave it, checked by ``sql_writer``.
        bounds: bounds of the names that it reads.

    Raises:
        TooLargeError: it is too deep, too large, or a function has an argument that makes values of any size.
    """
    measured = _Measured(bounds)
    value = measured.visit(tree, 1, {})
    if measured.copied > MOST_COPIES:
        raise TooLargeError(
            f"it becomes {measured.copied:,} operations more, because some of its functions copy their arguments",
            "Give what stands inside nullif, fmod, split_part, array_to_string, array_pop_back or between a feature of "
            "its own",
        )
    return Growth(value, measured.bytes, measured.steps)


class _Measured:
    def __init__(self, bounds: Callable[[Name], Bound]) -> None:
        self.bytes = _NONE
        self.steps = _NONE
        self.copied = 0
        self._bounds = bounds
        self._nodes = 0
        self._lambdas = 0
        self._times = 1

    def visit(self, tree: Tree, depth: int, bound: Bounds) -> Bound:
        """The bound of a tree; what it needs is added up."""
        self._nodes += 1
        if depth > MOST_DEPTH:
            raise TooLargeError(
                f"operations stand within operations more than {MOST_DEPTH} deep", "Split it over several features"
            )
        if self._nodes > MOST_NODES:
            raise TooLargeError(f"it has more than {MOST_NODES} operations", "Split it over several features")
        self.copied += self._times - 1
        return _VISITORS[tree["class"]](self, tree, depth, bound)

    def _constant(self, tree: Tree, _: int, __: Bounds) -> Bound:
        return growth_rules.constant_bound(tree)

    def _name(self, tree: Tree, _: int, bound: Bounds) -> Bound:
        name = tuple(tree["column_names"])
        return bound[name[0]] if len(name) == 1 and name[0] in bound else self._bounds(name)

    def _cast(self, tree: Tree, depth: int, bound: Bounds) -> Bound:
        child = self.visit(tree["child"], depth + 1, bound)
        return self._made(growth_rules.cast(child, tree["type_expr"]), child.size)

    def _between(self, tree: Tree, depth: int, bound: Bounds) -> Bound:
        parts = [tree["input"], tree["lower"], tree["upper"]]
        return self._made(NUMBER, _all(self._each(parts, depth, bound, copies.BETWEEN)))

    def _comparison(self, tree: Tree, depth: int, bound: Bounds) -> Bound:
        return self._made(NUMBER, _all(self._each([tree["left"], tree["right"]], depth, bound)))

    def _conjunction(self, tree: Tree, depth: int, bound: Bounds) -> Bound:
        return self._made(NUMBER, _all(self._each(tree["children"], depth, bound)))

    def _stray_lambda(self, _: Tree, __: int, ___: Bounds) -> Bound:
        raise TooLargeError("a lambda stands where none is expected", "It is the last argument of a function")

    def _operator(self, tree: Tree, depth: int, bound: Bounds) -> Bound:
        found = self._each(tree["children"], depth, bound)
        return self._made(growth_rules.operator(tree["type"], found), _all(found))

    def _each(self, trees: list[Tree], depth: int, bound: Bounds, times: tuple[int, ...] = ()) -> list[Bound]:
        found = []
        before = self._times
        for index, tree in enumerate(trees):
            # It doubles at each level.
            self._times = min(10**6, before * (times[index] if index < len(times) else 1))
            found.append(self.visit(tree, depth + 1, bound))
        self._times = before
        return found

    def _case(self, tree: Tree, depth: int, bound: Bounds) -> Bound:
        checks = tree["case_checks"]
        whens = self._each([check["when_expr"] for check in checks], depth, bound)
        thens = self._each([*(check["then_expr"] for check in checks), tree["else_expr"]], depth, bound)
        return self._made(growth_rules.greatest(thens), _all([*whens, *thens]))

    def _function(self, tree: Tree, depth: int, bound: Bounds) -> Bound:
        name = tree["function_name"].lower()
        trees = [argument["expression"] for argument in tree["arguments"]]
        if trees and trees[-1]["class"] == "LAMBDA":
            return self._over_elements(name, trees, depth, bound)
        found = self._each(trees, depth, bound, copies.MACROS.get(name, ()))
        arguments = [Argument(*each) for each in zip(found, trees, strict=True)]
        made = growth_rules.function(name, arguments)
        return self._made(made.value, made.steps)

    def _over_elements(self, name: str, trees: list[Tree], depth: int, bound: Bounds) -> Bound:
        """A function that applies a lambda to each element of a list."""
        listed, *_ = self._each(trees[:-1], depth, bound) or [NUMBER]
        left = trees[-1]["lhs"]
        parameters = [each["expression"] for each in left["arguments"]] if left["class"] == "FUNCTION" else [left]
        names = [each["column_names"][0] for each in parameters]
        self._lambdas += 1
        if self._lambdas > _LAMBDAS_DEEP:
            raise TooLargeError(f"lambdas stand in lambdas more than {_LAMBDAS_DEEP} deep", "Split it over features")
        element = variable(f"element {self._lambdas} {depth}")
        (inner,) = element.terms
        known = {**dict.fromkeys(names, NUMBER), names[0]: Bound(element, element.times(1 / 8))}
        before = self.bytes, self.steps
        self.bytes = self.steps = _NONE
        value = self.visit(trees[-1]["expr"], depth + 1, {**bound, **known})
        self._lambdas -= 1

        def over_all(each: Polynomial) -> Polynomial:
            return each.summed(inner[0], listed.size, listed.elements)

        self.bytes, self.steps = before[0] + over_all(self.bytes), before[1] + over_all(self.steps)
        made = Bound(over_all(value.size), listed.elements + over_all(value.elements))
        if growth_rules.filters(name):
            made = listed
        return self._made(made, listed.size)

    def _made(self, value: Bound, steps: Polynomial) -> Bound:
        self.bytes += value.size
        self.steps += value.size + steps + constant(1)
        return value


_VISITORS: Final[Mapping[str, Callable[[_Measured, Tree, int, Bounds], Bound]]] = {
    "BETWEEN": _Measured._between,
    "CASE": _Measured._case,
    "CAST": _Measured._cast,
    "COLUMN_REF": _Measured._name,
    "COMPARISON": _Measured._comparison,
    "CONJUNCTION": _Measured._conjunction,
    "CONSTANT": _Measured._constant,
    "FUNCTION": _Measured._function,
    "LAMBDA": _Measured._stray_lambda,
    "OPERATOR": _Measured._operator,
}


def _all(found: list[Bound]) -> Polynomial:
    made = _NONE
    for each in found:
        made += each.size
    return made
