"""``x-kubernetes-validations``: the compiled rules of a schema, and the errors for which a CRD is refused.

Source: ``k8s.io/apiextensions-apiserver``: ``pkg/apiserver/schema/cel`` and
``pkg/apis/apiextensions/validation/{validation,cel_validation}.go``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from millrace_core.schema.cel.checking import check
from millrace_core.schema.cel.comprehensions import Evaluate
from millrace_core.schema.cel.costing import estimate
from millrace_core.schema.cel.declarations import Declaration
from millrace_core.schema.cel.evaluating import compile_expr
from millrace_core.schema.cel.fieldpaths import FieldPathError, field_path
from millrace_core.schema.cel.parsing import parse
from millrace_core.schema.cel.syntax import (
    CallExpr,
    CelIssue,
    Expr,
    IdentExpr,
    ListExpr,
    MacroExpr,
    MapExpr,
    SelectExpr,
)
from millrace_core.schema.cel.types import BOOL, STRING, Type, optional_of
from millrace_core.schema.errors import FieldError, invalid, not_supported, required

Raw = Mapping[str, Any]

_REASONS = ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"]


@dataclass(frozen=True, slots=True)
class CelRule:
    """A compiled rule; costs are the maximum of one evaluation."""

    evaluate: Evaluate
    uses_old: bool
    optional_old: bool
    text: str
    message: str
    message_expression: Evaluate | None
    reason: str
    field_path: str
    cost: int
    message_cost: int


def malformed(rule: Raw, schema: Raw, path: str) -> Iterator[FieldError]:
    """Errors of a rule that do not depend on its expressions."""
    for name in ("rule", "message", "messageExpression", "fieldPath"):
        if not isinstance(rule.get(name, ""), str):
            yield invalid(f"{path}.{name}", rule[name], "must be a string")
            return
    yield from _malformed_texts(rule, path)
    if rule.get("messageExpression") and not rule["messageExpression"].strip():
        yield required(f"{path}.messageExpression", "messageExpression must be non-empty if specified")
    if rule.get("reason") is not None and rule["reason"] not in _REASONS:
        yield not_supported(f"{path}.reason", rule["reason"], _REASONS)
    if rule.get("fieldPath"):
        try:
            field_path(rule["fieldPath"], schema)
        except FieldPathError:
            yield invalid(f"{path}.fieldPath", rule["fieldPath"], "must be a valid path")


def _malformed_texts(rule: Raw, path: str) -> Iterator[FieldError]:
    source, message = rule.get("rule", "").strip(), rule.get("message", "")
    if not source:
        yield required(f"{path}.rule", "rule is not specified")
    elif message and not message.strip():
        yield invalid(f"{path}.message", message, "must be non-empty if specified")
    elif _has_newline(message.strip()):
        yield invalid(f"{path}.message", message, "must not contain line breaks")
    elif _has_newline(source) and not message.strip():
        yield required(f"{path}.message", "message must be specified if rule contains line breaks")


def _has_newline(text: str) -> bool:
    return "\n" in text or "\r" in text


def compile_rule(rule: Raw, schema: Raw, declaration: Declaration, path: str) -> CelRule | list[FieldError]:
    """The compiled rule for values of ``declaration``, or the errors for which its CRD is refused."""
    try:
        return _compile_rule(rule, schema, declaration, path)
    except RecursionError:
        return [invalid(f"{path}.rule", rule["rule"], "compilation failed: expression recursion limit exceeded")]


def _compile_rule(rule: Raw, schema: Raw, declaration: Declaration, path: str) -> CelRule | list[FieldError]:
    source = rule["rule"]
    optional = bool(rule.get("optionalOldSelf"))
    old = optional_of(declaration.type) if optional else declaration.type
    scope = {"self": declaration.type, "oldSelf": old}
    try:
        expr = _typed(source, scope, BOOL, "cel expression must evaluate to a bool")
    except _RefusedError as error:
        return [invalid(f"{path}.rule", source, f"{error}")]
    uses_old = mentions(expr, "oldSelf")
    if "optionalOldSelf" in rule and not uses_old:
        unused = "may not be set if oldSelf is not used in rule"
        return [invalid(f"{path}.optionalOldSelf", rule["optionalOldSelf"], unused)]
    message: Expr | None = None
    if rule.get("messageExpression"):
        text = rule["messageExpression"]
        try:
            message = _typed(text, scope, STRING, "messageExpression must evaluate to a string")
        except _RefusedError as error:
            said = str(error).replace("compilation failed", "messageExpression compilation failed", 1)
            return [invalid(f"{path}.messageExpression", text, said)]
    return CelRule(
        evaluate=compile_expr(expr),
        uses_old=uses_old,
        optional_old=optional,
        text=(rule.get("message") or source).strip(),
        message=(rule.get("message") or "").strip() or f"failed rule: {source.strip()}",
        message_expression=compile_expr(message) if message is not None else None,
        reason=rule.get("reason") or "FieldValueInvalid",
        field_path=field_path(rule["fieldPath"], schema) if rule.get("fieldPath") else "",
        cost=estimate(expr, declaration),
        message_cost=estimate(message, declaration) if message is not None else 0,
    )


class _RefusedError(Exception):
    pass


def _typed(source: str, scope: Mapping[str, Type], wanted: Type, otherwise: str) -> Expr:
    try:
        expr = parse(source)
        found = check(expr, scope)
    except CelIssue as issue:
        raise _RefusedError(f"compilation failed: {issue.shown(source)}") from issue
    if found != wanted:
        raise _RefusedError(otherwise)
    return expr


def mentions(expr: Expr, name: str) -> bool:
    """Whether an expression refers to a variable; macro variables of the same name do not count."""
    if isinstance(expr, IdentExpr):
        return expr.name == name
    if isinstance(expr, MacroExpr) and expr.variable == name:
        return mentions(expr.source, name)
    return any(mentions(part, name) for part in _parts(expr))


def _parts(expr: Expr) -> Iterator[Expr]:
    match expr:
        case SelectExpr(operand=operand):
            yield operand
        case CallExpr(target=target, args=args):
            yield from args if target is None else [target, *args]
        case ListExpr(items=items):
            yield from items
        case MapExpr(entries=entries):
            yield from (part for entry in entries for part in entry)
        case MacroExpr(source=source, predicate=predicate, transform=transform):
            yield source
            yield from (part for part in (predicate, transform) if part is not None)
