"""Whether the defaults of a schema are values that it accepts itself.

Source: ``k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting/validation.go``.
"""

from __future__ import annotations

from collections.abc import Iterator

from millrace.local.apiserver.schema.defaulting import copied
from millrace.local.apiserver.schema.errors import FieldError, invalid
from millrace.local.apiserver.schema.node import Node
from millrace.local.apiserver.schema.pruning import compile_pruning
from millrace.local.apiserver.schema.validation import compile_checks


def default_errors(node: Node, path: str) -> Iterator[FieldError]:
    """Every default at and below ``node`` that is invalid or would be pruned."""
    if node.has_default:
        yield from _default_errors(node, f"{path}.default")
    for name in node.properties:
        child = node.children[name]
        if child is not None:
            yield from default_errors(child, f"{path}.properties[{name}]")
    if node.items is not None:
        yield from default_errors(node.items, f"{path}.items")


def _default_errors(node: Node, path: str) -> Iterator[FieldError]:
    prune = compile_pruning(node)
    if prune is not None and isinstance(node.default, dict | list) and prune(copied(node.default)):
        yield invalid(path, node.default, "must not have unknown fields")
    check = compile_checks(node)[type(node.default)]
    for problem in (check(node.default) if check is not None else None) or ():
        fault = problem.worded()
        inside = f".{fault.path}" if problem.at or problem.leaf else ""
        yield FieldError(fault.type, f"{path}{inside}", fault.message)
