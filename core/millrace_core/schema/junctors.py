"""allOf, anyOf, oneOf and not, over compiled checks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from millrace_core.schema import errors
from millrace_core.schema.values import Check, Checks, Violation


def _run(checks: Checks, value: Any) -> list[Violation]:
    one = checks[type(value)]
    return (one(value) or []) if one is not None else []


def _junctor_violation(rule: str) -> Violation:
    return Violation(errors.INVALID, 'Invalid value: "": "', f'" {rule}', nameless=True)


def _fewest(failures: Iterable[list[Violation]]) -> list[Violation]:
    """The violations of the alternative with the fewest; the first of equals."""
    return min(failures, key=len)


def any_of_check(alternatives: list[Checks]) -> Check:
    def check(value: Any) -> list[Violation] | None:
        failures = []
        for alternative in alternatives:
            violations = _run(alternative, value)
            if not violations:
                return None
            failures.append(violations)
        return [_junctor_violation("must validate at least one schema (anyOf)"), *_fewest(failures)]

    return check


def one_of_check(alternatives: list[Checks]) -> Check:
    rule = "must validate one and only one schema (oneOf)."

    def check(value: Any) -> list[Violation] | None:
        outcomes = [_run(alternative, value) for alternative in alternatives]
        matched = sum(not violations for violations in outcomes)
        if matched == 1:
            return None
        if matched:
            return [_junctor_violation(f"{rule} Found {matched} valid alternatives")]
        return [_junctor_violation(f"{rule} Found none valid"), *_fewest(outcomes)]

    return check


def all_of_check(parts: list[Checks]) -> Check:
    def check(value: Any) -> list[Violation] | None:
        outcomes = [_run(part, value) for part in parts]
        failed = [violation for violations in outcomes for violation in violations]
        if not failed:
            return None
        none = "" if any(not violations for violations in outcomes) else ". None validated"
        return [*failed, _junctor_violation(f"must validate all the schemas (allOf){none}")]

    return check


def not_check(excluded: Checks) -> Check:
    def check(value: Any) -> list[Violation] | None:
        if _run(excluded, value):
            return None
        return [_junctor_violation("must not validate the schema (not)")]

    return check
