"""The syntax tree of an expression, and its errors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from millrace_core.schema.cel.types import DYN, Type


@dataclass(eq=False, slots=True)
class Expr:
    """A node; errors point to the offset ``at``; the checker sets ``type``."""

    at: int
    type: Type = field(default=DYN, kw_only=True)


@dataclass(eq=False, slots=True)
class LiteralExpr(Expr):
    value: Any


@dataclass(eq=False, slots=True)
class IdentExpr(Expr):
    name: str


@dataclass(eq=False, slots=True)
class SelectExpr(Expr):
    """``operand.field``, or ``has(operand.field)`` if ``test``."""

    operand: Expr
    field: str
    test: bool = False


@dataclass(eq=False, slots=True)
class CallExpr(Expr):
    """A function or operator; ``overloads`` holds, after checking, those that may apply."""

    function: str
    target: Expr | None
    args: list[Expr]
    overloads: tuple[Any, ...] = ()


@dataclass(eq=False, slots=True)
class ListExpr(Expr):
    items: list[Expr]


@dataclass(eq=False, slots=True)
class MapExpr(Expr):
    entries: list[tuple[Expr, Expr]]


@dataclass(eq=False, slots=True)
class MacroExpr(Expr):
    """``source.kind(variable, predicate)``; ``map`` has a ``transform`` and only sometimes a predicate."""

    kind: str
    source: Expr
    variable: str
    predicate: Expr | None
    transform: Expr | None


class CelIssue(Exception):  # noqa: N818 - an issue of the expression, in cel-go's terms
    """An error in an expression, at an offset of its source."""

    def __init__(self, message: str, at: int) -> None:
        super().__init__(message)
        self.message = message
        self.at = at

    def shown(self, source: str) -> str:
        """The message with the line and a pointer, as cel-go formats it."""
        start = source.rfind("\n", 0, self.at) + 1
        end = source.find("\n", self.at)
        line = source[start : end if end >= 0 else None]
        column = self.at - start
        row = source.count("\n", 0, self.at) + 1
        return f"ERROR: <input>:{row}:{column + 1}: {self.message}\n | {line}\n | {'.' * column}^"


class CelError(Exception):
    """An evaluation failed: a key is missing, an index out of bounds, a number overflows, no overload applies."""
