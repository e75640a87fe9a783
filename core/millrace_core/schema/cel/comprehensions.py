"""Macros over lists and maps as closures, and what all evaluation shares: scopes, conditions and failures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from millrace_core.schema.cel.syntax import CelError
from millrace_core.schema.cel.values import no_overload

#: The exceptions of evaluation. Nulls that the schema allows fail with Python's own.
FAILURES = (CelError, TypeError, AttributeError, OverflowError, ValueError, RecursionError)

Scope = dict[str, Any]
Evaluate = Callable[[Scope], Any]


def truth(value: Any) -> bool:
    """The value of a condition; anything but a boolean fails."""
    if value is True or value is False:
        return bool(value)
    raise no_overload()


def comprehension(
    kind: str, variable: str, source: Evaluate, predicate: Evaluate | None, transform: Evaluate | None
) -> Evaluate:
    """The macro ``source.kind(variable, predicate)``; without a predicate every item counts."""
    holds = predicate or (lambda _: True)
    if kind in {"all", "exists"}:
        return _quantifier(variable, source, holds, decisive=kind == "exists")
    if kind == "exists_one":
        return _exists_one(variable, source, holds)
    return _mapped(variable, source, holds, transform or (lambda scope: scope[variable]))


def _items(source: Evaluate, scope: Scope) -> Any:
    values = source(scope)
    if isinstance(values, list | dict):
        return values
    raise no_overload()


def _quantifier(variable: str, source: Evaluate, predicate: Evaluate, *, decisive: bool) -> Evaluate:
    """``all`` or ``exists``: one decisive item is enough, even if other items fail."""

    def evaluate(scope: Scope) -> bool:
        failure: Exception | None = None
        inner = dict(scope)
        for item in _items(source, scope):
            inner[variable] = item
            try:
                if truth(predicate(inner)) is decisive:
                    return decisive
            except FAILURES as error:
                failure = error
        if failure is not None:
            raise failure
        return not decisive

    return evaluate


def _exists_one(variable: str, source: Evaluate, predicate: Evaluate) -> Evaluate:
    def evaluate(scope: Scope) -> bool:
        inner = dict(scope)
        found = 0
        for item in _items(source, scope):
            inner[variable] = item
            found += truth(predicate(inner))
        return found == 1

    return evaluate


def _mapped(variable: str, source: Evaluate, predicate: Evaluate, transform: Evaluate) -> Evaluate:
    """``map`` and ``filter``."""

    def evaluate(scope: Scope) -> list[Any]:
        inner = dict(scope)
        out = []
        for item in _items(source, scope):
            inner[variable] = item
            if truth(predicate(inner)):
                out.append(transform(inner))
        return out

    return evaluate
