"""Checks that the defaults of a schema are valid by it.

Source: ``k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting/validation.go``.
"""

from __future__ import annotations

from collections.abc import Iterator

from millrace_core.schema.defaulting import copied
from millrace_core.schema.errors import FieldError, invalid
from millrace_core.schema.node import SchemaNode
from millrace_core.schema.pruning import compile_pruning
from millrace_core.schema.rule_evaluation import broken_rules
from millrace_core.schema.rules import RuleNode
from millrace_core.schema.validation import compile_checks
from millrace_core.schema.values import Violation


def default_errors(node: SchemaNode, rules: RuleNode | None, path: str) -> Iterator[FieldError]:
    """Every default at and below ``node`` that is invalid, breaks one of ``rules`` or would be pruned."""
    if node.has_default:
        yield from _default_errors(node, rules, f"{path}.default")
    for name in node.properties:
        child = node.children[name]
        if child is not None:
            below = None if rules is None else rules.properties.get(name)
            yield from default_errors(child, below, f"{path}.properties[{name}]")
    if node.items is not None:
        yield from default_errors(node.items, None if rules is None else rules.items, f"{path}.items")


def _default_errors(node: SchemaNode, rules: RuleNode | None, path: str) -> Iterator[FieldError]:
    prune = compile_pruning(node)
    if prune is not None and isinstance(node.default, dict | list) and prune(copied(node.default)):
        yield invalid(path, node.default, "must not have unknown fields")
    check = compile_checks(node)[type(node.default)]
    violations = (check(node.default) if check is not None else None) or []
    if not violations and rules is not None:
        violations = _broken(rules, node.default)
    for violation in violations:
        field_error = violation.worded()
        inside = f".{field_error.path}" if violation.at or violation.leaf else ""
        yield FieldError(field_error.type, f"{path}{inside}", field_error.message)


def _broken(rules: RuleNode, default: object) -> list[Violation]:
    """The rules that a default breaks as written, without nested defaults: as an unchanged value or as a new one."""
    return broken_rules(rules, default, default) or broken_rules(rules, default, None)
