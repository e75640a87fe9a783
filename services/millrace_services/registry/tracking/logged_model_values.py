"""Logged models as they are found by id, the values that they have, and how answers show them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Table, delete, insert, select

from millrace_core.base.shown import shown
from millrace_services.registry.chunks import chunks
from millrace_services.registry.mlflow.errors import absent
from millrace_services.registry.tracking.points import ModelPoint, Point, later
from millrace_services.registry.tracking.run_documents import Document, number_shown
from millrace_services.registry.tracking_tables import (
    logged_model_metrics,
    logged_model_params,
    logged_model_tags,
    logged_models,
)


def model_row(connection: Connection, model_id: str) -> Row[Any]:
    """The row of a logged model.

    Raises:
        MlflowError: there is none, or it is deleted.
    """
    wanted = (logged_models.c.model_id == model_id, logged_models.c.lifecycle == "active")
    found = connection.execute(select(logged_models).where(*wanted)).first()
    if found is None:
        raise absent(f"Logged model with ID {shown(model_id, 80)} not found.")
    return found


def write(connection: Connection, run_id: str, given: Sequence[ModelPoint]) -> None:
    """Writes the last values of models, each on its dataset.

    Raises:
        MlflowError: there is no such model.
    """
    rows = {model_id: model_row(connection, model_id).id for model_id in {each.model_id for each in given}}
    columns = logged_model_metrics.c
    for model_id, dataset_name, dataset_digest, point in given:
        key = {"model": rows[model_id], "key": point.key}
        key |= {"dataset_name": dataset_name, "dataset_digest": dataset_digest}
        same = [columns[name] == value for name, value in key.items()]
        before = connection.execute(select(logged_model_metrics).where(*same)).first()
        if before is not None:
            value = math.nan if before.value is None else before.value
            if not later(point, Point(point.key, value, before.timestamp, before.step)):
                continue
            connection.execute(delete(logged_model_metrics).where(*same))
        value = None if math.isnan(point.value) else point.value
        made = {**key, "value": value, "step": point.step, "timestamp": point.timestamp, "run_id": run_id}
        connection.execute(insert(logged_model_metrics).values(**made))


def documents(connection: Connection, rows: Sequence[Row[Any]]) -> list[Document]:
    """Logged models as answers have them, in the order of the rows."""
    ids = [row.id for row in rows]
    tags, params = _of_models(connection, logged_model_tags, ids), _of_models(connection, logged_model_params, ids)
    metrics = _of_models(connection, logged_model_metrics, ids)
    return [
        {
            "info": _info(row, [_pair(each) for each in tags[row.id]]),
            "data": _present(
                params=[_pair(each) for each in params[row.id]],
                metrics=[_metric(each, row.model_id) for each in metrics[row.id]],
            ),
        }
        for row in rows
    ]


def _info(row: Row[Any], tags: list[Document]) -> Document:
    return {
        "model_id": row.model_id,
        "experiment_id": str(row.experiment),
        "name": row.name,
        "creation_timestamp_ms": row.created,
        "last_updated_timestamp_ms": row.updated,
        "artifact_uri": row.artifact_uri,
        "status": row.status,
        **_present(model_type=row.model_type, source_run_id=row.source_run_id, tags=tags),
    }


def _metric(row: Row[Any], model_id: str) -> Document:
    made = {"key": row.key, "value": number_shown(row.value), "timestamp": row.timestamp, "step": row.step}
    named = _present(dataset_name=row.dataset_name, dataset_digest=row.dataset_digest, run_id=row.run_id)
    return {**made, **named, "model_id": model_id}


def _pair(row: Row[Any]) -> Document:
    return {"key": row.key, "value": row.value}


def _present(**given: Any) -> Document:
    return {name: value for name, value in given.items() if value}


def _of_models(connection: Connection, table: Table, ids: Sequence[int]) -> Mapping[int, list[Row[Any]]]:
    found: dict[int, list[Row[Any]]] = defaultdict(list)
    for chunk in chunks(ids):
        for row in connection.execute(select(table).where(table.c.model.in_(chunk)).order_by(*table.primary_key)):
            found[row.model].append(row)
    return found
