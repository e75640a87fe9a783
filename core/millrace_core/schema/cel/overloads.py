"""Signatures of functions, and the table of all functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from millrace_core.schema.cel.types import Type, signature
from millrace_core.schema.cel.values import kind_of

Implementation = Callable[..., Any]

_RUNTIME_ANY = frozenset({"dyn", "parameter"})


@dataclass(frozen=True, slots=True)
class Overload:
    """A signature and its implementation; the first parameter of a member function is the target."""

    params: tuple[Type, ...]
    result: Type
    member: bool
    run: Implementation

    def takes(self, values: tuple[Any, ...]) -> bool:
        """Whether the values are of the parameters' kinds."""
        return len(values) == len(self.params) and all(
            param.kind in _RUNTIME_ANY or param.kind == kind_of(value)
            for param, value in zip(self.params, values, strict=True)
        )


Table = dict[str, list[Overload]]


def free(table: Table, name: str, *rows: tuple[str, Implementation]) -> None:
    """Adds overloads of a function that is called as ``name(…)``, or of an operator."""
    for text, run in rows:
        params, result = signature(text)
        table.setdefault(name, []).append(Overload(params, result, member=False, run=run))


def member(table: Table, name: str, *rows: tuple[str, Implementation]) -> None:
    """Adds overloads of a function that is called as ``target.name(…)``."""
    for text, run in rows:
        params, result = signature(text)
        table.setdefault(name, []).append(Overload(params, result, member=True, run=run))
