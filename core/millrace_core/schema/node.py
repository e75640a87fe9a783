"""One node of a structural schema, for defaulting, pruning, validation, patches and field ownership.

Source: ``k8s.io/apiextensions-apiserver/pkg/apiserver/schema`` (structural schemas) and the list and map extensions of
the Kubernetes API conventions.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from millrace_core.schema.objectmeta import with_object_meta

UNSET: Any = object()  # no default; None would be a legal JSON value

T = TypeVar("T")


class Lazy(dict[str, T]):
    """A table that is made on demand: ``make(name)`` for a name in ``names``, ``otherwise`` for any other.

    A pod template has a thousand fields, of which an object has thirty.
    """

    __slots__ = ("_make", "_names", "_otherwise")

    def __init__(self, names: Container[str], make: Callable[[str], T], otherwise: T) -> None:
        super().__init__()
        self._names = names
        self._make = make
        self._otherwise = otherwise

    def __missing__(self, name: str) -> T:
        if name not in self._names:
            return self._otherwise
        made = self[name] = self._make(name)
        return made


@dataclass(eq=False, slots=True)
class SchemaNode:
    """A schema node.

    ``list_type`` and ``map_type`` have Kubernetes' defaults where the schema is silent (``atomic`` lists, ``granular``
    maps). Strategic merge patches use ``merge_key`` and ``merge_strategies``. ``raw`` is the schema as written,
    ``properties`` are the declared ones as written, ``children`` the nodes of declared or additional
    properties, None for
    unknown ones.
    """

    raw: Mapping[str, Any]
    type: str
    properties: Mapping[str, Mapping[str, Any]]
    children: Lazy[SchemaNode | None]
    additional: SchemaNode | None
    additional_allowed: bool
    items: SchemaNode | None
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

    def defaults(self) -> list[tuple[str, Any]]:
        """Names and defaults of the properties that have one."""
        return [(name, sub["default"]) for name, sub in self.properties.items() if sub.get("default") is not None]


def build(raw: Mapping[str, Any], *, whole_object: bool = False) -> SchemaNode:
    """Reads the structural part of an ``openAPIV3Schema``; value validations stay in ``raw``.

    ``whole_object`` marks the root, a resource with metadata.
    """
    if whole_object or raw.get("x-kubernetes-embedded-resource"):
        raw = with_object_meta(raw)
    properties = raw.get("properties") or {}
    says = raw.get("additionalProperties")
    additional = build(says) if isinstance(says, Mapping) else None
    items = raw.get("items")
    strategy = raw.get("x-kubernetes-patch-strategy")
    default = raw.get("default")
    return SchemaNode(
        raw=raw,
        type=raw.get("type", ""),
        properties=properties,
        children=Lazy(properties, lambda name: build(properties[name]), additional),
        additional=additional,
        additional_allowed=bool(says) or additional is not None,
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
