"""Datasets: the manifests of saved training sets, and what lies on either side of them.

Lineage runs from the source over the view to the dataset; what serves a view's features hangs on the view.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import orjson
from sqlalchemy import Connection, delete, exists, insert, select

from millrace_core.api import feature_reference
from millrace_core.base.errors import NotFoundError, RejectError
from millrace_core.base.shown import came
from millrace_services.registry import state
from millrace_services.registry.database import Database
from millrace_services.registry.documents import rendered, written
from millrace_services.registry.tables import dataset_views, datasets, objects


class Datasets:
    """Reads and writes of dataset records, each one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, identity: str, record: Mapping[str, Any]) -> None:
        """Records a dataset: its manifest and ``uri``. What is known of an id already is kept, but for the place.

        Raises:
            RejectError: the record is none of this id, or says no views.
        """
        if record.get("id") != identity:
            raise RejectError(f"{came(record.get('id'), 80)}, {identity} is expected, as in the path", field="id")
        if not isinstance(record.get("uri"), str) or not record["uri"]:
            raise RejectError("where the dataset lies is missing", field="uri")
        views = record.get("views")
        if not isinstance(views, list) or not all(_is_view(view) for view in views):
            raise RejectError("a list of views, each with project and name, is expected", field="views")
        row = {"id": identity, "recorded": time.time_ns() // 1000, "document": written(record)}
        named = {(view["project"], view["name"]) for view in views}
        with self._database.writing() as connection:
            self._database.upsert(connection, datasets, row, keep=("recorded",))
            connection.execute(delete(dataset_views).where(dataset_views.c.dataset == identity))
            rows = [{"dataset": identity, "namespace": project, "view": name} for project, name in sorted(named)]
            if rows:
                connection.execute(insert(dataset_views), rows)

    def get(self, identity: str) -> dict[str, Any]:
        """The record of an id, or of the only one that begins so.

        Raises:
            NotFoundError: there is none. RejectError: there are several.
        """
        prefix = identity if identity.startswith("sha256:") else f"sha256:{identity}"
        listed = select(datasets.c.document, datasets.c.recorded).where(
            datasets.c.id.startswith(prefix, autoescape=True)
        )
        with self._database.reading() as connection:
            found = list(connection.execute(listed.limit(2)))
        if not found:
            raise NotFoundError(f"there is no dataset {identity:.80}", field="id")
        if len(found) > 1:
            raise RejectError(f"several datasets begin with {identity:.80}", hint="Give more of the id", field="id")
        return _shown(*found[0])

    def list(self, *, namespace: str, view: str, limit: int) -> list[dict[str, Any]]:
        """The newest datasets, newest first: those of a namespace, or of a view of that name, where these are given."""
        with self._database.reading() as connection:
            return _listed(connection, namespace, view, limit)

    def lineage(self, namespace: str, view: str) -> dict[str, Any]:
        """What a view is made of and what is made of it: ``source``, ``schemaHashes`` of the datasets, ``datasets``,
        ``modelDeployments`` with the features that each reads.

        Raises:
            NotFoundError: there is no such view.
            RetryError: no whole list has come of views, or of deployments.
        """
        of_view = (objects.c.kind == "FeatureView", objects.c.namespace == namespace, objects.c.name == view)
        users = (objects.c.kind == "ModelDeployment", objects.c.namespace == namespace)
        with self._database.reading() as connection:
            state.read(connection).require(("FeatureView", "ModelDeployment"))
            document = connection.scalar(select(objects.c.document).where(*of_view))
            deployments = list(connection.scalars(select(objects.c.document).where(*users).order_by(objects.c.name)))
            made = _listed(connection, namespace, view, 1000)
        if document is None:
            raise NotFoundError(f"there is no FeatureView {namespace}/{view}", field="name")
        source = _object(orjson.loads(document)["spec"].get("source"))
        return {
            "source": {name: value for name, value in source.items() if name != "credentialsSecretRef"},
            "view": {"namespace": namespace, "name": view},
            "datasets": [
                {
                    "id": each["id"],
                    "uri": each["uri"],
                    "createdAt": each.get("createdAt"),
                    "schemaHash": _hash(each, view),
                }
                for each in made
            ],
            "modelDeployments": [used for each in deployments if (used := _use(orjson.loads(each), view))["features"]],
        }


def _listed(connection: Connection, namespace: str, view: str, limit: int) -> list[dict[str, Any]]:
    conditions = [dataset_views.c.dataset == datasets.c.id]
    conditions += [dataset_views.c.namespace == namespace] if namespace else []
    conditions += [dataset_views.c.view == view] if view else []
    wanted = [exists().where(*conditions)] if namespace or view else []
    listed = select(datasets.c.document, datasets.c.recorded).where(*wanted)
    ordered = listed.order_by(datasets.c.recorded.desc(), datasets.c.id).limit(limit)
    return [_shown(document, recorded) for document, recorded in connection.execute(ordered)]


def _shown(document: str, recorded: int) -> dict[str, Any]:
    return {**orjson.loads(document), "recordedAt": rendered(recorded)}


def _hash(record: Mapping[str, Any], view: str) -> str | None:
    return next((each.get("schemaHash") for each in record["views"] if each["name"] == view), None)


def _use(deployment: Mapping[str, Any], view: str) -> dict[str, Any]:
    refs = feature_reference.readable(_object(deployment["spec"].get("features")).get("refs"))
    return {
        "name": deployment["metadata"]["name"],
        "service": deployment["spec"].get("service") or deployment["metadata"]["name"],
        "features": list(dict.fromkeys(ref.feature for ref in refs if ref.view == view)),
    }


def _object(value: Any) -> dict[str, Any]:
    """What the catalogue keeps need not be what its kind says."""
    return value if isinstance(value, dict) else {}


def _is_view(view: Any) -> bool:
    return isinstance(view, dict) and all(isinstance(view.get(field), str) for field in ("project", "name"))
