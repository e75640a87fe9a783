"""The representations of a response: whole objects, only their metadata, or a table for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from millrace_local.apiserver.errors import StatusError
from millrace_local.apiserver.request import JSON
from millrace_local.apiserver.resources import ApiResource
from millrace_local.apiserver.store import StoreEntry, WatchEvent
from millrace_local.apiserver.versions import served


class Representation:
    """Whole objects, in the version of the request."""

    content_type = JSON
    stream_type = JSON

    def __init__(self, resource: ApiResource) -> None:
        self.resource = resource

    def one(self, entry: StoreEntry) -> bytes:
        return served(entry, self.resource)

    def many(self, entries: Sequence[StoreEntry], meta: dict[str, Any]) -> bytes:
        head = {"kind": self.resource.plural_list_kind, "apiVersion": self.resource.api_version, "metadata": meta}
        items = b",".join([served(entry, self.resource) for entry in entries])
        return b'%b,"items":[%b]}' % (orjson.dumps(head)[:-1], items)

    def event(self, kind: str, event: WatchEvent) -> bytes:
        """One watch event, ended by a newline."""
        return b'{"type":"%b","object":%b}\n' % (kind.encode(), self.one(event.entry))

    def bookmark(self, revision: int, *, initial_end: bool = False) -> bytes:
        """A watch event that carries only a resourceVersion."""
        metadata: dict[str, Any] = {"resourceVersion": str(revision), "creationTimestamp": None}
        if initial_end:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        return orjson.dumps({"type": "BOOKMARK", "object": self._bookmark_object(metadata)}) + b"\n"

    def _bookmark_object(self, metadata: dict[str, Any]) -> dict[str, Any]:
        return {"kind": self.resource.kind, "apiVersion": self.resource.api_version, "metadata": metadata}

    def error(self, error: StatusError) -> bytes:
        """A watch event that ends the watch with a ``Status``."""
        return orjson.dumps({"type": "ERROR", "object": error.body()}) + b"\n"


class PartialRepresentation(Representation):
    """Metadata alone: ``PartialObjectMetadata``."""

    def one(self, entry: StoreEntry) -> bytes:
        return orjson.dumps(partial(entry))

    def many(self, entries: Sequence[StoreEntry], meta: dict[str, Any]) -> bytes:
        return orjson.dumps(
            {
                "kind": "PartialObjectMetadataList",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": meta,
                "items": [partial(entry) for entry in entries],
            }
        )

    def _bookmark_object(self, metadata: dict[str, Any]) -> dict[str, Any]:
        return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}


def partial(entry: StoreEntry) -> dict[str, Any]:
    """An object as ``PartialObjectMetadata``."""
    metadata = entry.object()["metadata"]
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}
