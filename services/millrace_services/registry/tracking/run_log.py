"""What runs log: points of metrics, parameters, tags and inputs, whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson
from sqlalchemy import Connection, Row, delete, insert, select

from millrace_services.registry.database import Database
from millrace_services.registry.grouped_writes import GroupedWrites
from millrace_services.registry.mlflow.errors import absent
from millrace_services.registry.tracking import limits, logged_model_values, points
from millrace_services.registry.tracking.pairs import write_params, write_tags
from millrace_services.registry.tracking.points import ModelPoint, Point
from millrace_services.registry.tracking.run_documents import active_run, run_row
from millrace_services.registry.tracking.runs import RUN_NAME, rename
from millrace_services.registry.tracking_tables import run_datasets, run_models, run_tags, tracked_datasets

# Datasets that one answer has.
_MOST_DATASETS: Final = 1000


class Batch(NamedTuple):
    """What is logged at once."""

    metrics: Sequence[Point] = ()
    params: Mapping[str, str] = {}
    tags: Mapping[str, str] = {}
    of_models: Sequence[ModelPoint] = ()


class DatasetInput(NamedTuple):
    """A dataset that a run read, as its client describes it; ``fields`` are the columns of its table."""

    fields: Mapping[str, str]
    tags: Mapping[str, str]


class RunLog:
    """Writes of what runs log, and reads of metrics' histories."""

    def __init__(self, database: Database, writes: GroupedWrites) -> None:
        self._database = database
        self._writes = writes

    def log(self, run_id: str, batch: Batch) -> None:
        """Writes all of a batch.

        Raises:
            MlflowError: there is no such run, it is deleted, or a parameter is there with another value.
        """

        def write(connection: Connection) -> None:
            run = active_run(connection, run_id)
            if batch.params:
                write_params(connection, run.id, batch.params)
            if batch.metrics:
                points.write(connection, run.id, batch.metrics)
            if batch.of_models:
                logged_model_values.write(connection, run_id, batch.of_models)
            if batch.tags:
                write_tags(connection, run.id, batch.tags)
            if batch.tags.get(RUN_NAME):
                rename(connection, run.id, batch.tags[RUN_NAME])

        self._writes.run(write)

    def delete_tag(self, run_id: str, key: str) -> None:
        """Deletes a tag.

        Raises:
            MlflowError: there is no such tag or run, or it is deleted.
        """

        def write(connection: Connection) -> None:
            run = active_run(connection, run_id)
            gone = connection.execute(delete(run_tags).where(run_tags.c.run == run.id, run_tags.c.key == key))
            if not gone.rowcount:
                raise absent(f"No tag with name: {key} in run with id {run_id}")

        self._writes.run(write)

    def log_inputs(self, run_id: str, datasets: Sequence[DatasetInput], models: Sequence[str]) -> None:
        """Notes which datasets and logged models a run read.

        Raises:
            MlflowError: there is no such run, or it is deleted.
        """
        limits.batch("datasets", limits.MOST_DATASETS, len(datasets))

        def write(connection: Connection) -> None:
            run = active_run(connection, run_id)
            for each in datasets:
                self._log_dataset(connection, run, each)
            self._log_models(connection, run.id, [(model, 0) for model in models], output=False)

        self._writes.run(write)

    def log_outputs(self, run_id: str, models: Sequence[tuple[str, int]]) -> None:
        """Notes which logged models a run made, and at which step.

        Raises:
            MlflowError: there is no such run, or it is deleted.
        """

        def write(connection: Connection) -> None:
            self._log_models(connection, active_run(connection, run_id).id, models, output=True)

        self._writes.run(write)

    def history(self, run_id: str, key: str, most: int, offset: int) -> Sequence[Row[Any]]:
        """The points of a run's metric by step and moment; none where it has none of this key.

        Raises:
            MlflowError: there is no such run.
        """
        with self._database.reading() as connection:
            metric = points.metric_number(connection, run_row(connection, run_id).id, key)
            return [] if metric is None else points.history(connection, metric, most, offset)

    def histories(self, run_ids: Sequence[str], key: str, most: int) -> list[tuple[str, Row[Any]]]:
        """The points of a metric of several runs, at most so many together, each with its run's id."""
        found: list[tuple[str, Row[Any]]] = []
        with self._database.reading() as connection:
            for run_id, metric in self._metrics(connection, run_ids, key).items():
                if len(found) < most:
                    found += [(run_id, row) for row in points.history(connection, metric, most - len(found))]
        return found

    def sampled(
        self, run_ids: Sequence[str], key: str, steps: tuple[int | None, int | None], most: int
    ) -> list[tuple[str, Row[Any]]]:
        """The points of a metric of several runs at evenly spread steps, which are the same for all.

        Args:
            steps: the first and the last one; None: whichever.
            most: points of one run.
        """
        found: list[tuple[str, Row[Any]]] = []
        with self._database.reading() as connection:
            metrics = self._metrics(connection, run_ids, key)
            spread = points.sampled(connection, metrics.values(), *steps, most)
            for run_id, metric in metrics.items():
                found += [(run_id, row) for row in points.at_steps(connection, metric, spread, most + 1)]
        return found

    def datasets(self, experiment_ids: Sequence[str]) -> list[dict[str, str]]:
        """The datasets that runs of some experiments read, each with what for, at most a thousand."""
        numbers = [limits.experiment_number(each) for each in experiment_ids]
        columns, context = tracked_datasets.c, run_datasets.c.context
        named = select(columns.experiment, columns.name, columns.digest, context).distinct()
        joined = named.join_from(tracked_datasets, run_datasets, run_datasets.c.dataset == columns.id)
        ordered = joined.order_by(columns.experiment, columns.name, columns.digest, context)
        with self._database.reading() as connection:
            rows = connection.execute(ordered.where(columns.experiment.in_(numbers)).limit(_MOST_DATASETS)).all()
        return [
            {"experiment_id": str(row.experiment), "name": row.name, "digest": row.digest}
            | ({"context": row.context} if row.context else {})
            for row in rows
        ]

    @staticmethod
    def _metrics(connection: Connection, run_ids: Sequence[str], key: str) -> dict[str, int]:
        found = {}
        for run_id in sorted(set(run_ids)):
            metric = points.metric_number(connection, run_row(connection, run_id).id, key)
            if metric is not None:
                found[run_id] = metric
        return found

    def _log_dataset(self, connection: Connection, run: Row[Any], given: DatasetInput) -> None:
        columns = tracked_datasets.c
        same = (
            columns.experiment == run.experiment,
            *(columns[name] == given.fields[name] for name in ("name", "digest")),
        )
        number = connection.scalar(select(columns.id).where(*same))
        if number is None:
            made = insert(tracked_datasets).values(experiment=run.experiment, **given.fields).returning(columns.id)
            number = connection.scalar(made)
        row = {"run": run.id, "dataset": number, "context": given.tags.get("mlflow.data.context", "")}
        row["tags"] = orjson.dumps(given.tags).decode()
        self._database.upsert(connection, run_datasets, row)

    def _log_models(self, connection: Connection, run: int, models: Sequence[tuple[str, int]], *, output: bool) -> None:
        for model_id, step in models:
            row = {"run": run, "model_id": model_id, "output": output, "step": step}
            self._database.upsert(connection, run_models, row)
