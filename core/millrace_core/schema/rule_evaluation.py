"""Evaluates the CEL rules of a schema on an object."""

from __future__ import annotations

from typing import Any

from millrace_core.schema import errors
from millrace_core.schema.cel.comprehensions import FAILURES
from millrace_core.schema.cel.rules import CelRule
from millrace_core.schema.cel.syntax import CelError
from millrace_core.schema.cel.values import OptionalValue
from millrace_core.schema.correlation import by_keys, keys_of
from millrace_core.schema.errors import quoted
from millrace_core.schema.pruning import MapKey, Path
from millrace_core.schema.rules import RuleNode
from millrace_core.schema.values import Violation

_LONGEST_MESSAGE = 5 * 1024

#: A value and the older value that it is matched with.
Pair = tuple[Any, Any]


def broken_rules(
    node: RuleNode, value: Any, old: Any, *, at: Path = (), nearest: Pair | None = None
) -> list[Violation]:
    """The rules that ``value`` breaks, here and below; ``old`` is None if there is no older value.

    Rules without oldSelf may stay broken where nothing changed. Nulls break no rule of their own.
    """
    if value is None:
        return []
    if old is not None:
        nearest = (value, old)
    found: list[Violation] = []
    if node.rules:
        found = _broken_here(node, value, old, at, nearest)
    if type(value) is dict:
        before = old if isinstance(old, dict) else {}
        for name, item in value.items():
            below, step = node.properties.get(name), name
            if below is None and node.additional is not None:
                below, step = node.additional, MapKey(name)
            if below is not None:
                found += broken_rules(below, item, before.get(name), at=(*at, step), nearest=nearest)
    elif type(value) is list and node.items is not None:
        older = by_keys(old, node.map_keys)
        for index, item in enumerate(value):
            match = older.get(keys_of(item, node.map_keys)) if older else None
            found += broken_rules(node.items, item, match, at=(*at, index), nearest=nearest)
    return found


def _broken_here(node: RuleNode, value: Any, old: Any, at: Path, nearest: Pair | None) -> list[Violation]:
    convert = node.convert
    scope = {"self": value if convert is None else convert(value)}
    before = None if old is None else (old if convert is None else convert(old))
    found: list[Violation] = []
    for rule in node.rules:
        if rule.uses_old:
            if old is None and not rule.optional_old:
                continue
            scope["oldSelf"] = OptionalValue(present=old is not None, value=before) if rule.optional_old else before
        violation = _broken(rule, scope, node.kind)
        if violation is None:
            continue
        unchanged = not rule.uses_old and nearest is not None and nearest[0] == nearest[1]
        if not unchanged:
            found.append(violation._replace(at=at))
    return found


def _broken(rule: CelRule, scope: dict[str, Any], kind: str) -> Violation | None:
    try:
        if rule.evaluate(scope) is True:
            return None
    except FAILURES as error:
        return Violation(errors.INVALID, f"Invalid value: {quoted(kind)}: {_failure(error, rule)}")
    message = _message(rule, scope)
    before = {
        errors.FORBIDDEN: f"Forbidden: {message}",
        errors.REQUIRED: f"Required value: {message}",
        errors.DUPLICATE: f"Duplicate value: {quoted(kind)}",
    }.get(rule.reason, f"Invalid value: {quoted(kind)}: {message}")
    return Violation(rule.reason, before, leaf=rule.field_path)


def _failure(error: Exception, rule: CelRule) -> str:
    if isinstance(error, CelError) and str(error) != "no such overload":
        return f"{error} evaluating rule: {rule.text}"
    detail = "call arguments did not match a supported operator, function or macro signature for rule"
    return f"'no such overload': {detail}: {rule.text}"


def _message(rule: CelRule, scope: dict[str, Any]) -> str:
    """The result of the message expression; the rule's plain message if it fails, is empty, too long or has
    newlines.
    """
    if rule.message_expression is None:
        return rule.message
    try:
        text = str(rule.message_expression(scope)).strip()
    except FAILURES:
        return rule.message
    fit = text and "\n" not in text and len(text.encode()) <= _LONGEST_MESSAGE
    return text if fit else rule.message
