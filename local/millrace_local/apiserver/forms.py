"""The forms an answer can take: the objects themselves, only their metadata, or a table for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from millrace_local.apiserver.request import JSON
from millrace_local.apiserver.resources import Resource
from millrace_local.apiserver.status import ApiError
from millrace_local.apiserver.store import Entry, Event
from millrace_local.apiserver.versions import served


class Form:
    """The objects themselves, in the version that was asked for."""

    content_type = JSON
    stream_type = JSON

    def __init__(self, resource: Resource) -> None:
        self.resource = resource

    def one(self, entry: Entry) -> bytes:
        """A single object."""
        return served(entry, self.resource)

    def many(self, entries: Sequence[Entry], meta: dict[str, Any]) -> bytes:
        """A list."""
        head = {"kind": self.resource.plural_list_kind, "apiVersion": self.resource.api_version, "metadata": meta}
        items = b",".join([served(entry, self.resource) for entry in entries])
        return b'%b,"items":[%b]}' % (orjson.dumps(head)[:-1], items)

    def event(self, kind: str, event: Event) -> bytes:
        """One watch event, with its line end."""
        return b'{"type":"%b","object":%b}\n' % (kind.encode(), self.one(event.entry))

    def bookmark(self, revision: int, *, initial_end: bool = False) -> bytes:
        """A watch event that only says how far the watch has come."""
        metadata: dict[str, Any] = {"resourceVersion": str(revision), "creationTimestamp": None}
        if initial_end:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        return orjson.dumps({"type": "BOOKMARK", "object": self._bookmark_object(metadata)}) + b"\n"

    def _bookmark_object(self, metadata: dict[str, Any]) -> dict[str, Any]:
        return {"kind": self.resource.kind, "apiVersion": self.resource.api_version, "metadata": metadata}

    def error(self, error: ApiError) -> bytes:
        """A watch event that ends the watch with a ``Status``."""
        return orjson.dumps({"type": "ERROR", "object": error.body()}) + b"\n"


class PartialForm(Form):
    """``PartialObjectMetadata``: metadata alone."""

    def one(self, entry: Entry) -> bytes:
        """A single object's metadata."""
        return orjson.dumps(partial(entry))

    def many(self, entries: Sequence[Entry], meta: dict[str, Any]) -> bytes:
        """A ``PartialObjectMetadataList``."""
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


def partial(entry: Entry) -> dict[str, Any]:
    """An object as ``PartialObjectMetadata``."""
    metadata = entry.object()["metadata"]
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}
