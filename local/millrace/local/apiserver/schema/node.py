"""One node of a structural schema, as defaulting, pruning, validation, patches and ownership read it.

Source: ``k8s.io/apiextensions-apiserver/pkg/apiserver/schema`` (structural schemas) and the list and map extensions
of the Kubernetes API conventions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from millrace.local.apiserver.schema.objectmeta import with_object_meta

UNSET: Any = object()  # no default; None would be a legal JSON value

T = TypeVar("T")


class Lazy(dict[str, T]):
    """What ``make`` makes of each schema property, when it is first asked for; ``otherwise`` for names without schema.

    A pod template has a thousand fields, of which an object has thirty.
    """

    def __init__(self, source: Mapping[str, Any], make: Callable[[Any], T], otherwise: T) -> None:
        super().__init__()
        self._source = source
        self._make = make
        self._otherwise = otherwise

    def __missing__(self, name: str) -> T:
        if name not in self._source:
            return self._otherwise
        made = self[name] = self._make(self._source[name])
        return made


class Properties(Mapping[str, "Node"]):
    """The nodes of an object's declared properties, built when first asked for."""

    __slots__ = ("_nodes", "_raw")

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self._raw = raw
        self._nodes: dict[str, Node] = {}

    def __getitem__(self, name: str) -> Node:
        node = self._nodes.get(name)
        if node is None:
            node = self._nodes[name] = build(self._raw[name])
        return node

    def __contains__(self, name: object) -> bool:
        return name in self._raw

    def __iter__(self) -> Iterator[str]:
        return iter(self._raw)

    def __len__(self) -> int:
        return len(self._raw)

    def defaults(self) -> list[tuple[str, Any]]:
        """Names and defaults of the properties that have one."""
        return [(name, sub["default"]) for name, sub in self._raw.items() if sub.get("default") is not None]


@dataclass(eq=False, slots=True)
class Node:
    """A schema node.

    ``list_type`` and ``map_type`` hold the Kubernetes defaults where the schema is silent (``atomic`` lists,
    ``granular`` maps). ``merge_key`` and ``merge_strategies`` are what strategic merge patches go by.
    ``raw`` is the schema as written.
    """

    raw: Mapping[str, Any]
    type: str
    properties: Properties
    additional: Node | None
    additional_allowed: bool
    items: Node | None
    nullable: bool
    preserve_unknown: bool
    embedded: bool
    list_type: str
    map_keys: tuple[str, ...]
    map_type: str
    merge_key: str
    merge_strategies: frozenset[str]
    default: Any

    @property
    def has_default(self) -> bool:
        return self.default is not UNSET

    def child(self, key: str) -> Node | None:
        """The schema of property ``key``, declared or additional; None where nothing is said of it."""
        return self.properties[key] if key in self.properties else self.additional  # noqa: SIM401 - get is slow here


def build(raw: Mapping[str, Any], *, whole_object: bool = False) -> Node:
    """Reads the structural part of an ``openAPIV3Schema``; value validations stay in ``raw``.

    ``whole_object`` says that the node is a resource of its own (the root), so that it has metadata.
    """
    if whole_object or raw.get("x-kubernetes-embedded-resource"):
        raw = with_object_meta(raw)
    additional = raw.get("additionalProperties")
    items = raw.get("items")
    strategy = raw.get("x-kubernetes-patch-strategy")
    default = raw.get("default")
    return Node(
        raw=raw,
        type=raw.get("type", ""),
        properties=Properties(raw.get("properties") or {}),
        additional=build(additional) if isinstance(additional, Mapping) else None,
        additional_allowed=bool(additional) or isinstance(additional, Mapping),
        items=build(items) if isinstance(items, Mapping) else None,
        nullable=bool(raw.get("nullable")),
        preserve_unknown=bool(raw.get("x-kubernetes-preserve-unknown-fields")),
        embedded=bool(raw.get("x-kubernetes-embedded-resource")),
        list_type=raw.get("x-kubernetes-list-type") or "atomic",
        map_keys=tuple(raw.get("x-kubernetes-list-map-keys") or ()),
        map_type=raw.get("x-kubernetes-map-type") or "granular",
        merge_key=raw.get("x-kubernetes-patch-merge-key", ""),
        merge_strategies=frozenset(strategy.split(",")) if strategy else frozenset(),
        default=default if default is not None else UNSET,
    )
