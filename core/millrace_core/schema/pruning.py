"""Pruning: drops the fields that a structural schema does not declare; compiled to closures.

Source: ``k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from millrace_core.schema.node import Lazy, SchemaNode

Path = tuple[str | int, ...]


class MapKey(str):
    """A path segment that is the key of a map; paths write it as ``[key]``."""

    __slots__ = ()


Prune = Callable[[Any], list[Path] | None]


def compile_pruning(node: SchemaNode | None, *, inside_preserved_list: bool = False) -> Prune | None:
    """A function that prunes a value in place and returns the paths that it dropped (None: nothing).

    None if nothing below ``node`` can be unknown.
    """
    if node is None:
        return _prune_everything
    keeps_unknown = node.preserve_unknown or inside_preserved_list
    if node.items is not None:
        return _list_pruning(compile_pruning(node.items, inside_preserved_list=keeps_unknown))
    return _map_pruning(node, keeps_unknown=keeps_unknown)


def _map_pruning(node: SchemaNode, *, keeps_unknown: bool) -> Prune | None:
    rest = compile_pruning(node.additional) if node.additional_allowed else None
    keeps_unknown = keeps_unknown or node.additional_allowed
    if keeps_unknown and rest is None and not node.properties:
        return None
    known = frozenset(node.properties)
    below = Lazy(known, lambda name: compile_pruning(node.children[name]), rest)

    def prune(obj: Any) -> list[Path] | None:
        if type(obj) is not dict:
            return None if keeps_unknown else _prune_everything(obj)
        dropped: list[Path] | None = None
        if not keeps_unknown and not obj.keys() <= known:
            unknown = [name for name in obj if name not in known]
            for name in unknown:
                del obj[name]
            dropped = [(name,) for name in unknown]
        for name, value in obj.items():
            kind = type(value)
            if (kind is dict or kind is list) and (work := below[name]) and (lost := work(value)):
                dropped = (dropped or []) + [(name, *path) for path in lost]
        return dropped

    return prune


def _list_pruning(work: Prune | None) -> Prune | None:
    if work is None:
        return None

    def prune(values: Any) -> list[Path] | None:
        return _under(enumerate(values), work) if type(values) is list else None

    return prune


def _under(entries: Iterable[tuple[str | int, Any]], work: Prune) -> list[Path] | None:
    dropped: list[Path] | None = None
    for name, value in entries:
        kind = type(value)
        if (kind is dict or kind is list) and (lost := work(value)):
            dropped = (dropped or []) + [(name, *path) for path in lost]
    return dropped


def _prune_everything(value: Any) -> list[Path] | None:
    """Drops all fields: the schema declares none."""
    if type(value) is dict:
        dropped: list[Path] = [(name,) for name in value]
        value.clear()
        return dropped or None
    if type(value) is list:
        return _under(enumerate(value), _prune_everything)
    return None


def dotted(path: Path) -> str:
    """``spec.arms[0].weight`` for ("spec", "arms", 0, "weight")."""
    return "".join(_segments(path))


def _segments(path: Path) -> Iterator[str]:
    for position, segment in enumerate(path):
        if isinstance(segment, int | MapKey):
            yield f"[{segment}]"
        else:
            yield f".{segment}" if position else segment
