"""Runs as they are found by id, and as answers have them: with the last value of each metric, never with its points."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import orjson
from sqlalchemy import Connection, Row, select

from millrace_services.registry.chunks import chunks
from millrace_services.registry.mlflow.errors import absent, invalid
from millrace_services.registry.tracking import limits
from millrace_services.registry.tracking_tables import (
    run_datasets,
    run_metrics,
    run_models,
    run_params,
    run_tags,
    tracked_datasets,
    tracked_runs,
)

Document = dict[str, Any]


def run_row(connection: Connection, run_id: str) -> Row[Any]:
    """The row of a run, be it deleted.

    Raises:
        MlflowError: there is none.
    """
    found = connection.execute(select(tracked_runs).where(tracked_runs.c.run_id == limits.run_id(run_id))).first()
    if found is None:
        raise absent(f"Run with id={run_id} not found")
    return found


def active_run(connection: Connection, run_id: str) -> Row[Any]:
    """The row of a run that is not deleted.

    Raises:
        MlflowError: there is none.
    """
    found = run_row(connection, run_id)
    if found.lifecycle != "active":
        raise invalid(f"The run {run_id} must be in the 'active' state. Current state is {found.lifecycle}.")
    return found


def number_shown(value: float | None) -> float | str:
    """A number as JSON can have it; None, which stands for NaN, and infinities as texts."""
    if value is None or math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def info(row: Row[Any]) -> Document:
    """What a run is, without what it logged."""
    made = {
        "run_uuid": row.run_id,
        "run_id": row.run_id,
        "experiment_id": str(row.experiment),
        "run_name": row.name,
        "user_id": row.user_id,
        "status": row.status,
        "start_time": row.start_time,
        "artifact_uri": row.artifact_uri,
        "lifecycle_stage": row.lifecycle,
    }
    if row.end_time is not None:
        made["end_time"] = row.end_time
    return made


def documents(connection: Connection, rows: Sequence[Row[Any]]) -> list[Document]:
    """Runs as answers have them, in the order of the rows."""
    ids = [row.id for row in rows]
    metrics = _metrics(connection, ids)
    params, tags = _pairs(connection, run_params, ids), _pairs(connection, run_tags, ids)
    datasets, models = _datasets(connection, ids), _models(connection, ids)
    made = []
    for row in rows:
        number = row.id
        data = {"metrics": metrics.get(number), "params": params.get(number), "tags": tags.get(number)}
        inputs = {"dataset_inputs": datasets.get(number), "model_inputs": models.get((number, False))}
        document = {"info": info(row), "data": _present(data), "inputs": _present(inputs)}
        if (number, True) in models:
            document["outputs"] = {"model_outputs": models[number, True]}
        made.append(document)
    return made


def _present(given: dict[str, Any]) -> Document:
    return {name: value for name, value in given.items() if value}


def _metrics(connection: Connection, ids: Sequence[int]) -> dict[int, list[Document]]:
    found: dict[int, list[Document]] = defaultdict(list)
    columns = run_metrics.c
    for chunk in chunks(ids):
        wanted = select(columns.run, columns.key, columns.value, columns.timestamp, columns.step)
        rows = connection.execute(wanted.where(columns.run.in_(chunk)).order_by(columns.run, columns.key))
        # Twenty thousand of these are one page: no attribute is looked up by its name.
        for run, key, value, timestamp, step in rows:
            if value is None or value - value != 0:
                value = number_shown(value)  # noqa: PLW2901
            found[run].append({"key": key, "value": value, "timestamp": timestamp, "step": step})
    return found


def _pairs(connection: Connection, table: Any, ids: Sequence[int]) -> dict[int, list[Document]]:
    found: dict[int, list[Document]] = defaultdict(list)
    for chunk in chunks(ids):
        wanted = select(table.c.run, table.c.key, table.c.value).where(table.c.run.in_(chunk))
        for run, key, value in connection.execute(wanted.order_by(table.c.run, table.c.key)):
            found[run].append({"key": key, "value": value})
    return found


def _datasets(connection: Connection, ids: Sequence[int]) -> dict[int, list[Document]]:
    found: dict[int, list[Document]] = defaultdict(list)
    joined = run_datasets.join(tracked_datasets, tracked_datasets.c.id == run_datasets.c.dataset)
    for chunk in chunks(ids):
        wanted = select(run_datasets.c.run, run_datasets.c.tags, tracked_datasets).select_from(joined)
        wanted = wanted.where(run_datasets.c.run.in_(chunk)).order_by(run_datasets.c.run, tracked_datasets.c.id)
        for row in connection.execute(wanted):
            tags = [{"key": key, "value": value} for key, value in orjson.loads(row.tags).items()]
            found[row.run].append(_present({"tags": tags, "dataset": dataset_document(row)}))
    return found


def dataset_document(row: Row[Any]) -> Document:
    """A dataset as answers have it."""
    fields = ("name", "digest", "source_type", "source", "schema", "profile")
    return _present({field: row._mapping[field] for field in fields})


def _models(connection: Connection, ids: Sequence[int]) -> dict[tuple[int, bool], list[Document]]:
    found: dict[tuple[int, bool], list[Document]] = defaultdict(list)
    for chunk in chunks(ids):
        wanted = select(run_models).where(run_models.c.run.in_(chunk)).order_by(run_models.c.model_id)
        for row in connection.execute(wanted):
            step = {"step": row.step} if row.output else {}
            found[row.run, row.output].append({"model_id": row.model_id, **step})
    return found
