"""Checked expressions as closures over a scope of variables.

JSON values are converted as the schema declares them, when a field is selected: to times, durations, bytes or doubles.
"""

from __future__ import annotations

import base64
import binascii
import operator
from collections.abc import Callable
from typing import Any

from millrace_core.schema.cel.comprehensions import FAILURES, Evaluate, Scope, comprehension, truth
from millrace_core.schema.cel.conversions import to_duration, to_timestamp
from millrace_core.schema.cel.syntax import (
    CallExpr,
    CelError,
    Expr,
    IdentExpr,
    ListExpr,
    LiteralExpr,
    MacroExpr,
    MapExpr,
    SelectExpr,
)
from millrace_core.schema.cel.types import Type
from millrace_core.schema.cel.values import OptionalValue, TypeValue, no_overload

Convert = Callable[[Any], Any]

_IDENTITY = frozenset({"string", "int", "bool"})  # kinds for which Python's == and < do what CEL's do
_FAST = {
    "_==_": operator.eq,
    "_!=_": operator.ne,
    "_<_": operator.lt,
    "_<=_": operator.le,
    "_>_": operator.gt,
    "_>=_": operator.ge,
}


def compile_expr(expr: Expr) -> Evaluate:  # noqa: PLR0911 - one return per kind of node
    """A function of the variables; it raises CelError where evaluation fails."""
    match expr:
        case LiteralExpr(value=value):
            return lambda _: value
        case IdentExpr(name=name):
            return _ident(expr, name)
        case SelectExpr():
            return _select(expr)
        case CallExpr():
            return _call(expr)
        case ListExpr(items=items):
            parts = [compile_expr(item) for item in items]
            return lambda scope: [part(scope) for part in parts]
        case MapExpr(entries=entries):
            pairs = [(compile_expr(key), compile_expr(value)) for key, value in entries]
            return lambda scope: {key(scope): value(scope) for key, value in pairs}
        case MacroExpr():
            return _macro(expr)
    raise CelError("unsupported syntax")


def converter(kind: Type) -> Convert | None:
    """Converts JSON of a declared type into a CEL value; None if they are the same."""
    if kind.kind in _FROM_JSON:
        return _FROM_JSON[kind.kind]
    if kind.kind == "list" and (item := converter(kind.params[0])):
        return lambda values: None if values is None else [item(value) for value in values]
    if kind.kind == "map" and (entry := converter(kind.params[1])):
        return lambda values: None if values is None else {key: entry(value) for key, value in values.items()}
    if kind.kind == "optional" and (inner := converter(kind.params[0])):
        return lambda value: OptionalValue(present=value.present, value=inner(value.value))
    return None


def _bytes(value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error:
        raise CelError(f"byte-formatted string is not base64: '{value}'") from None


def _unless_null(convert: Convert) -> Convert:
    return lambda value: None if value is None else convert(value)


_FROM_JSON: dict[str, Convert] = {
    "timestamp": _unless_null(to_timestamp),
    "duration": _unless_null(to_duration),
    "bytes": _unless_null(_bytes),
    "double": _unless_null(float),
}


def _ident(expr: IdentExpr, name: str) -> Evaluate:
    if expr.type.kind == "type":
        named = TypeValue(name)
        return lambda scope: scope.get(name, named)
    return lambda scope: scope[name]


def _select(expr: SelectExpr) -> Evaluate:
    operand, name = compile_expr(expr.operand), _property(expr)
    if expr.test:
        return lambda scope: name in _mapping(operand(scope))
    convert = converter(expr.type) if expr.operand.type.kind == "object" else None

    def select(scope: Scope) -> Any:
        value = operand(scope)
        try:
            found = value[name]
        except KeyError:
            raise CelError(f"no such key: {name}") from None
        except TypeError:
            raise no_overload() from None
        return found if convert is None else convert(found)

    return select


def _mapping(value: Any) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise no_overload()
    return value


def _property(expr: SelectExpr) -> str:
    """The name of the selected property, unescaped."""
    declaration = expr.operand.type.declaration
    return expr.field if declaration is None else declaration.names.get(expr.field, expr.field)


def _call(expr: CallExpr) -> Evaluate:
    operands = ([expr.target] if expr.target is not None else []) + expr.args
    parts = [compile_expr(operand) for operand in operands]
    special = _SPECIAL.get(expr.function)
    if special is not None:
        return special(*parts)
    if len(parts) == 2:  # noqa: PLR2004
        return _binary(expr, operands, parts)
    run = _runner(expr)
    if len(parts) == 1:
        (only,) = parts
        return lambda scope: run(only(scope))
    return lambda scope: run(*[part(scope) for part in parts])


def _binary(expr: CallExpr, operands: list[Expr], parts: list[Evaluate]) -> Evaluate:
    left, right = parts
    kinds = {operand.type.kind for operand in operands}
    run = _FAST.get(expr.function) if len(kinds) == 1 and kinds <= _IDENTITY else None
    if run is None:
        run = _unordered(expr, operands) or _runner(expr)
    constant = operands[1]
    if isinstance(constant, LiteralExpr):
        value = constant.value
        return lambda scope: run(left(scope), value)
    return lambda scope: run(left(scope), right(scope))


def _unordered(expr: CallExpr, operands: list[Expr]) -> Callable[..., Any] | None:
    """Equality of two lists that are sets or maps by their schema: the order of items does not matter."""
    if expr.function not in {"_==_", "_!=_"} or not all(_is_unordered(operand) for operand in operands):
        return None
    same = expr.function == "_==_"

    def compare(left: list[Any], right: list[Any]) -> bool:
        alike = len(left) == len(right) and all(item in right for item in left)
        return alike is same

    return compare


def _is_unordered(expr: Expr) -> bool:
    if not isinstance(expr, SelectExpr) or expr.operand.type.declaration is None:
        return False
    declared = expr.operand.type.declaration.fields.get(expr.field)
    return declared is not None and declared.list_type in {"set", "map"}


def _runner(expr: CallExpr) -> Callable[..., Any]:
    """The only overload that applies, or a choice by the kinds of the values where types are dynamic."""
    overloads = expr.overloads
    operands = ([expr.target] if expr.target is not None else []) + expr.args
    dynamic = any(_is_dynamic(operand.type) for operand in operands) and expr.function not in _TAKES_ANYTHING
    if len(overloads) == 1 and not dynamic:
        run: Callable[..., Any] = overloads[0].run
        return run

    def choose(*values: Any) -> Any:
        for overload in overloads:
            if overload.takes(values):
                return overload.run(*values)
        raise no_overload()

    return choose


_TAKES_ANYTHING = frozenset({"_==_", "_!=_", "type", "dyn"})


def _is_dynamic(kind: Type) -> bool:
    return kind.kind == "dyn"


def _and(left: Evaluate, right: Evaluate) -> Evaluate:
    return _logical(left, right, decisive=False)


def _or(left: Evaluate, right: Evaluate) -> Evaluate:
    return _logical(left, right, decisive=True)


def _logical(left: Evaluate, right: Evaluate, *, decisive: bool) -> Evaluate:
    """``&&`` or ``||``: a failure of one side does not matter if the other side decides."""

    def evaluate(scope: Scope) -> bool:
        try:
            first = left(scope)
        except FAILURES:
            if truth(right(scope)) is decisive:
                return decisive
            raise
        if truth(first) is decisive:
            return decisive
        return truth(right(scope))

    return evaluate


def _conditional(condition: Evaluate, first: Evaluate, second: Evaluate) -> Evaluate:
    return lambda scope: first(scope) if truth(condition(scope)) else second(scope)


_SPECIAL: dict[str, Callable[..., Evaluate]] = {"_&&_": _and, "_||_": _or, "_?_:_": _conditional}


def _macro(expr: MacroExpr) -> Evaluate:
    source = compile_expr(expr.source)
    predicate = compile_expr(expr.predicate) if expr.predicate is not None else None
    transform = compile_expr(expr.transform) if expr.transform is not None else None
    return comprehension(expr.kind, expr.variable, source, predicate, transform)
