"""Run records: what a materialization (or any other kind of run) did, upserted by key."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import orjson
from sqlalchemy import delete, select

from millrace_core.base.errors import RejectError
from millrace_core.base.shown import shown
from millrace_services.registry.database import Database
from millrace_services.registry.documents import rendered, written
from millrace_services.registry.tables import runs


class Runs:
    """Reads and writes of run records.

    Args:
        kept: how many of one kind, namespace and view are kept; older ones go when a newer one comes.
    """

    def __init__(self, database: Database, kept: int) -> None:
        self._database = database
        self._kept = kept

    def put(self, name: str, record: Mapping[str, Any]) -> None:
        """Writes a record. Its key is ``name`` and its own ``namespace``; it is ordered by when it first came.

        Raises:
            RejectError: ``kind``, ``namespace`` or ``view`` is no text.
        """
        defaults = {"kind": "materialize", "namespace": "default", "view": ""}
        fields = {field: record.get(field, default) for field, default in defaults.items()}
        for field, value in fields.items():
            if not isinstance(value, str):
                raise RejectError(f"{shown(value, 40)} came, a text is expected", field=field)
        row = {**fields, "name": name, "recorded": time.time_ns() // 1000, "document": written(record)}
        same = [runs.c[field] == value for field, value in fields.items()]
        with self._database.writing() as connection:
            self._database.upsert(connection, runs, row, keep=("recorded",))
            newest_first = select(runs.c.recorded).where(*same).order_by(runs.c.recorded.desc())
            bound = connection.scalar(newest_first.offset(self._kept - 1).limit(1))
            if bound is not None:
                connection.execute(delete(runs).where(*same, runs.c.recorded < bound))

    def list(self, *, kind: str, namespace: str, view: str, limit: int) -> list[dict[str, Any]]:
        """The newest records that match, newest first, each with its ``name`` and ``recordedAt``; empty matches any."""
        wanted = {"kind": kind, "namespace": namespace, "view": view}
        listed = (
            select(runs.c.name, runs.c.recorded, runs.c.document)
            .where(*(runs.c[field] == value for field, value in wanted.items() if value))
            .order_by(runs.c.recorded.desc(), runs.c.name)
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [
                {**orjson.loads(document), "name": name, "recordedAt": rendered(recorded)}
                for name, recorded, document in connection.execute(listed)
            ]
