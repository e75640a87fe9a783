"""Value validation, compiled to one table per schema node.

The checks of a node are a table from the Python type of a JSON value to a function, or to None if nothing is left to
check, so that a plain field of the right type costs one look-up. Violations keep their path in pieces and are worded at
the end, since almost every object is valid. Source: ``k8s.io/kube-openapi/pkg/validation/validate``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from millrace_core.schema import errors
from millrace_core.schema.errors import FieldError, number, quoted, shown
from millrace_core.schema.pruning import Path, dotted


class Violation(NamedTuple):
    """A failed check of the value at ``at``, or of its property ``leaf``.

    The message is ``before``, then, unless ``after`` is None, the field's path and ``after``. Violations of logical
    junctors are ``nameless``: a real API server gives them the field ``<nil>``.
    """

    type: str
    before: str
    after: str | None = None
    at: Path = ()
    leaf: str = ""
    nameless: bool = False

    def under(self, segment: str | int) -> Violation:
        return self._replace(at=(segment, *self.at))

    def worded(self) -> FieldError:
        path = dotted((*self.at, self.leaf) if self.leaf else self.at)
        message = self.before if self.after is None else f"{self.before}{path}{self.after}"
        return FieldError(self.type, "<nil>" if self.nameless or not path else path, message)


Check = Callable[[Any], list[Violation] | None]
Checks = Mapping[type, Check | None]


def invalid(value: Any, rule: str) -> list[Violation]:
    return [Violation(errors.INVALID, f"Invalid value: {shown(value)}: ", f" in body {rule}")]


def wrong_type(expected: str, actual: str) -> list[Violation]:
    before = f"Invalid value: {quoted(actual)}: "
    return [Violation(errors.TYPE_INVALID, before, f" in body must be of type {expected}: {quoted(actual)}")]


def all_of(checks: list[Check]) -> Check | None:
    """All checks as one; None for none."""
    if len(checks) < 2:  # noqa: PLR2004
        return checks[0] if checks else None

    def check(value: Any) -> list[Violation] | None:
        found: list[Violation] | None = None
        for one in checks:
            if violations := one(value):
                found = (found or []) + violations
        return found

    return check


def type_check(expected: str, actual: str) -> Check:
    return lambda value: wrong_type(expected, actual)  # noqa: ARG005


def enum_check(choices: list[Any], kind: type) -> Check:
    """The enum check for values of one Python type."""
    supported = ", ".join(quoted(choice if isinstance(choice, str) else shown(choice)) for choice in choices)
    numeric = kind in {int, float}
    same = [choice for choice in choices if type(choice) is kind or (numeric and type(choice) in {int, float})]
    allowed = same if kind in {dict, list} else frozenset(same)

    def check(value: Any) -> list[Violation] | None:
        if value in allowed:
            return None
        return [Violation(errors.NOT_SUPPORTED, f"Unsupported value: {shown(value)}: supported values: {supported}")]

    return check


def required_check(names: list[str]) -> Check:
    wanted = frozenset(names)

    def check(obj: dict[str, Any]) -> list[Violation] | None:
        if wanted <= obj.keys():
            return None
        missing = [name for name in names if name not in obj]
        return [Violation(errors.REQUIRED, "Required value", leaf=name) for name in missing]

    return check


def size_checks(raw: Mapping[str, Any], noun: str, least: str, most: str) -> list[Check]:
    """minItems and maxItems, or minProperties and maxProperties."""
    low, high = raw.get(least), raw.get(most)
    checks: list[Check] = []
    if low is not None:
        rule = f"should have at least {low} {noun}"
        checks.append(lambda value: invalid(len(value), rule) if len(value) < low else None)
    if high is not None:
        limit = f"must have at most {high} items"

        def check(value: Any) -> list[Violation] | None:
            if len(value) <= high:
                return None
            return [Violation(errors.TOO_MANY, f"Too many: {len(value)}: {limit}")]

        checks.append(check)
    return checks


def number_checks(raw: Mapping[str, Any]) -> list[Check]:
    """minimum, maximum, their exclusive forms, multipleOf and the range of int32."""
    checks: list[Check] = []
    if raw.get("type") == "integer" and raw.get("format") == "int32":
        checks.append(_int32_check)
    if (factor := raw.get("multipleOf")) is not None:
        checks.append(_multiple_check(factor))
    if (high := raw.get("maximum")) is not None:
        above = f"should be less than {number(high)}"
        over = f"should be less than or equal to {number(high)}"
        if raw.get("exclusiveMaximum"):
            checks.append(lambda value: invalid(value, above) if value >= high else None)
        else:
            checks.append(lambda value: invalid(value, over) if value > high else None)
    if (low := raw.get("minimum")) is not None:
        below = f"should be greater than {number(low)}"
        under = f"should be greater than or equal to {number(low)}"
        if raw.get("exclusiveMinimum"):
            checks.append(lambda value: invalid(value, below) if value <= low else None)
        else:
            checks.append(lambda value: invalid(value, under) if value < low else None)
    return checks


def _int32_check(value: float) -> list[Violation] | None:
    if -(2**31) <= value < 2**31:
        return None
    before = 'Invalid value: "": Checked value must be of type integer with format int32 in '
    return [Violation(errors.INVALID, before, "")]


def _multiple_check(factor: float) -> Check:
    if factor <= 0:
        before = f"Invalid value: {number(factor)}: factor MultipleOf declared for "
        wrong = Violation(errors.INVALID, before, f" must be positive: {number(factor)}")
        return lambda _: [wrong]
    rule = f"should be a multiple of {number(factor)}"
    return lambda value: None if _is_multiple(value, factor) else invalid(value, rule)


def _is_multiple(value: float, factor: float) -> bool:
    if isinstance(value, int) and isinstance(factor, int):
        return value % factor == 0
    ratio = value * (1 / factor) if factor < 1 else value / factor
    return abs(ratio - round(ratio)) < 1e-9 * max(1.0, abs(ratio))
