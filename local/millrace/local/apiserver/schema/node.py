"""One node of a structural schema, as defaulting, pruning, validation, patches and ownership read it.

Source: ``k8s.io/apiextensions-apiserver/pkg/apiserver/schema`` (structural schemas) and the list and map extensions
of the Kubernetes API conventions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from millrace.local.apiserver.schema.objectmeta import with_object_meta

UNSET: Any = object()  # no default; None would be a legal JSON value


@dataclass(eq=False, slots=True)
class Node:
    """A compiled schema node.

    ``list_type`` and ``map_type`` hold the Kubernetes defaults where the schema is silent (``atomic`` lists,
    ``granular`` maps). ``merge_key`` and ``merge_strategies`` are what strategic merge patches go by.
    ``raw`` is the schema as written.
    """

    raw: Mapping[str, Any]
    type: str = ""
    properties: dict[str, Node] = field(default_factory=dict)
    additional: Node | None = None
    additional_allowed: bool = False
    items: Node | None = None
    nullable: bool = False
    int_or_string: bool = False
    preserve_unknown: bool = False
    embedded: bool = False
    list_type: str = "atomic"
    map_keys: tuple[str, ...] = ()
    map_type: str = "granular"
    merge_key: str = ""
    merge_strategies: frozenset[str] = frozenset()
    default: Any = UNSET

    @property
    def has_default(self) -> bool:
        return self.default is not UNSET

    def child(self, key: str) -> Node | None:
        """The schema of property ``key``, declared or additional; None where nothing is said of it."""
        return self.properties.get(key, self.additional)


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
        properties={name: build(sub) for name, sub in (raw.get("properties") or {}).items()},
        additional=build(additional) if isinstance(additional, Mapping) else None,
        additional_allowed=bool(additional) or isinstance(additional, Mapping),
        items=build(items) if isinstance(items, Mapping) else None,
        nullable=bool(raw.get("nullable")),
        int_or_string=bool(raw.get("x-kubernetes-int-or-string")),
        preserve_unknown=bool(raw.get("x-kubernetes-preserve-unknown-fields")),
        embedded=bool(raw.get("x-kubernetes-embedded-resource")),
        list_type=raw.get("x-kubernetes-list-type") or "atomic",
        map_keys=tuple(raw.get("x-kubernetes-list-map-keys") or ()),
        map_type=raw.get("x-kubernetes-map-type") or "granular",
        merge_key=raw.get("x-kubernetes-patch-merge-key", ""),
        merge_strategies=frozenset(strategy.split(",")) if strategy else frozenset(),
        default=default if default is not None else UNSET,
    )
