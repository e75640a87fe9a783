"""Type checking: every node gets its type, every call the overloads that may apply.

Source: https://github.com/google/cel-spec/blob/master/doc/langdef.md#type-checking, messages as cel-go words them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from millrace_core.base.re2 import PatternError, compile_pattern
from millrace_core.schema.cel.conversions import to_duration, to_timestamp
from millrace_core.schema.cel.library import FUNCTIONS
from millrace_core.schema.cel.overloads import Overload
from millrace_core.schema.cel.syntax import (
    CallExpr,
    CelError,
    CelIssue,
    Expr,
    IdentExpr,
    ListExpr,
    LiteralExpr,
    MacroExpr,
    MapExpr,
    SelectExpr,
)
from millrace_core.schema.cel.types import (
    BOOL,
    DYN,
    TYPE,
    Bindings,
    Type,
    assignable,
    list_of,
    map_of,
    substituted,
)
from millrace_core.schema.cel.values import kind_of

_TYPE_NAMES = frozenset({"bool", "int", "uint", "double", "string", "bytes", "list", "map", "type", "null_type"})
_NAMESPACES = frozenset(name.partition(".")[0] for name in FUNCTIONS if "." in name)

Scope = Mapping[str, Type]


def check(expr: Expr, variables: Scope) -> Type:
    """The type of the expression, noted in every node; raises CelIssue."""
    expr.type = _check(expr, variables)
    return expr.type


def _check(expr: Expr, scope: Scope) -> Type:  # noqa: PLR0911 - one return per kind of node
    match expr:
        case LiteralExpr(value=value):
            return Type(kind_of(value))
        case IdentExpr(name=name):
            return _ident(expr, name, scope)
        case SelectExpr():
            return _select(expr, scope)
        case CallExpr():
            return _call(expr, scope)
        case ListExpr(items=items):
            return list_of(_joined([(item, check(item, scope)) for item in items]))
        case MapExpr(entries=entries):
            keys = _joined([(key, check(key, scope)) for key, _ in entries])
            return map_of(keys, _joined([(value, check(value, scope)) for _, value in entries]))
        case MacroExpr():
            return _macro(expr, scope)
    raise CelIssue("unsupported syntax", expr.at)


def _ident(expr: Expr, name: str, scope: Scope) -> Type:
    if name in scope:
        return scope[name]
    if name in _TYPE_NAMES:
        return TYPE
    raise CelIssue(f"undeclared reference to '{name}' (in container '')", expr.at)


def _select(expr: SelectExpr, scope: Scope) -> Type:
    operand = check(expr.operand, scope)
    if operand.kind == "dyn":
        found = DYN
    elif operand.kind == "map":
        found = operand.params[1]
    elif operand.kind == "object":
        declared = operand.declaration.fields.get(expr.field)
        if declared is None:
            raise CelIssue(f"undefined field '{expr.field}'", expr.at)
        found = declared.type
    else:
        raise CelIssue(f"type '{operand}' does not support field selection", expr.at)
    return BOOL if expr.test else found


def _joined(items: list[tuple[Expr, Type]]) -> Type:
    """The one type of a list's items; a literal must not mix types."""
    if not items:
        return DYN
    joined = items[0][1]
    for item, found in items[1:]:
        if not assignable(found, joined, {}):
            raise CelIssue(f"expected type '{joined}' but found '{found}'", item.at)
        if joined.kind in {"dyn", "null"}:
            joined = found
    return joined


def _call(expr: CallExpr, scope: Scope) -> Type:
    _resolve_namespace(expr, scope)
    member = expr.target is not None
    operands = ([expr.target] if expr.target is not None else []) + expr.args
    types = tuple(_operand(expr, operand, scope) for operand in operands)
    _check_literals(expr)
    known = [overload for overload in FUNCTIONS.get(expr.function, ()) if overload.member == member]
    if not known:
        raise CelIssue(f"undeclared reference to '{expr.function}' (in container '')", expr.at)
    fitting: list[Overload] = []
    results: list[Type] = []
    for overload in known:
        bindings: Bindings = {}
        if len(overload.params) == len(types) and all(
            assignable(actual, formal, bindings) for actual, formal in zip(types, overload.params, strict=True)
        ):
            fitting.append(overload)
            results.append(substituted(overload.result, bindings))
    if not fitting:
        raise CelIssue(_no_overload(expr.function, types, member=member), expr.at)
    expr.overloads = tuple(fitting)
    return results[0] if all(result == results[0] for result in results) else DYN


def _operand(call: CallExpr, operand: Expr, scope: Scope) -> Type:
    """The type of an operand; the list that ``format`` takes is the one that may mix types."""
    if call.function == "format" and isinstance(operand, ListExpr):
        for item in operand.items:
            check(item, scope)
        operand.type = list_of(DYN)
        return operand.type
    return check(operand, scope)


def _check_literals(expr: CallExpr) -> None:
    """Refuses durations, times and patterns that are written out and wrong."""
    literal = expr.args[0] if expr.args else None
    if (
        expr.function not in _CHECKED_LITERALS
        or not isinstance(literal, LiteralExpr)
        or not isinstance(literal.value, str)
    ):
        return
    try:
        _CHECKED_LITERALS[expr.function](literal.value)
    except (CelError, PatternError):
        raise CelIssue(f"invalid {expr.function} argument", literal.at) from None


_CHECKED_LITERALS: dict[str, Callable[[str], object]] = {
    "duration": to_duration,
    "timestamp": to_timestamp,
    "matches": compile_pattern,
}


def _no_overload(function: str, types: tuple[Type, ...], *, member: bool) -> str:
    shown = [str(found) for found in types]
    signature = f"{shown[0]}.({', '.join(shown[1:])})" if member else f"({', '.join(shown)})"
    return f"found no matching overload for '{function}' applied to '{signature}'"


def _resolve_namespace(expr: CallExpr, scope: Scope) -> None:
    """Reads ``sets.contains(…)`` as one function's name, unless a variable is called so."""
    target = expr.target
    if isinstance(target, IdentExpr) and target.name in _NAMESPACES and target.name not in scope:
        expr.function = f"{target.name}.{expr.function}"
        expr.target = None


def _macro(expr: MacroExpr, scope: Scope) -> Type:
    source = check(expr.source, scope)
    if source.kind not in {"list", "map", "dyn"}:
        wanted = "must be list, map, or dynamic"
        raise CelIssue(f"expression of type '{source}' cannot be range of a comprehension ({wanted})", expr.source.at)
    item = source.params[0] if source.params else DYN
    inner: dict[str, Any] = {**scope, expr.variable: item}
    if expr.predicate is not None:
        found = check(expr.predicate, inner)
        if not assignable(found, BOOL, {}):
            raise CelIssue(_no_overload(_PREDICATE_OPERATOR[expr.kind], (BOOL, found), member=False), expr.at)
    if expr.kind == "map" and expr.transform is not None:
        return list_of(check(expr.transform, inner))
    return list_of(item) if expr.kind == "filter" else BOOL


_PREDICATE_OPERATOR = {"all": "_&&_", "exists": "_||_", "exists_one": "_?_:_", "filter": "_?_:_", "map": "_?_:_"}
