"""The ``Table`` representation, which kubectl prints."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from millrace_local.apiserver.columns import TableColumn
from millrace_local.apiserver.printers import columns_of
from millrace_local.apiserver.representations import Representation, partial
from millrace_local.apiserver.resources import ApiResource
from millrace_local.apiserver.store import StoreEntry, WatchEvent
from millrace_local.apiserver.versions import served_object


class TableRepresentation(Representation):
    """Rows of printer columns.

    Args:
        resource: what is listed.
        include: how much of each object comes along: ``None``, ``Metadata`` or ``Object``.
        version: ``v1`` or ``v1beta1`` of meta.k8s.io.
    """

    def __init__(self, resource: ApiResource, include: str, version: str) -> None:
        super().__init__(resource)
        self._include = include
        self._version = version
        self._columns: Sequence[TableColumn] = columns_of(resource)
        self._headed = False

    def one(self, entry: StoreEntry) -> bytes:
        return orjson.dumps(self._table([entry], {"resourceVersion": str(entry.revision)}))

    def many(self, entries: Sequence[StoreEntry], meta: dict[str, Any]) -> bytes:
        return orjson.dumps(self._table(entries, meta))

    def event(self, kind: str, event: WatchEvent) -> bytes:
        """A watch event with a table of one row. Only the first event of a watch carries the column definitions."""
        table = self._table([event.entry], {"resourceVersion": str(event.revision)})
        if self._headed:
            table["columnDefinitions"] = None
        self._headed = True
        return orjson.dumps({"type": kind, "object": table}) + b"\n"

    def _bookmark_object(self, metadata: dict[str, Any]) -> dict[str, Any]:
        meta = {"resourceVersion": metadata["resourceVersion"]}
        row = {
            "cells": [],
            "object": {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata},
        }
        return {**self._frame(meta), "columnDefinitions": None, "rows": [row]}

    def _frame(self, meta: dict[str, Any]) -> dict[str, Any]:
        return {"kind": "Table", "apiVersion": f"meta.k8s.io/{self._version}", "metadata": meta}

    def _table(self, entries: Sequence[StoreEntry], meta: dict[str, Any]) -> dict[str, Any]:
        definitions = [column.definition() for column in self._columns]
        return {**self._frame(meta), "columnDefinitions": definitions, "rows": [self._row(e) for e in entries]}

    def _row(self, entry: StoreEntry) -> dict[str, Any]:
        obj = served_object(entry, self.resource)
        now = datetime.now(UTC)
        row: dict[str, Any] = {"cells": [column.cell(obj, now) for column in self._columns]}
        if self._include == "Object":
            row["object"] = obj
        elif self._include == "Metadata":
            row["object"] = partial(entry)
        return row
