"""Logged models of MLflow 3: what a run's ``log_model`` makes, and what is done to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Row, delete, insert, update

from millrace_services.registry.database import Database
from millrace_services.registry.grouped_writes import GroupedWrites
from millrace_services.registry.mlflow.errors import absent, invalid
from millrace_services.registry.mlflow.keys import bounded
from millrace_services.registry.mlflow.searching import Page
from millrace_services.registry.tracking import experiments, limits
from millrace_services.registry.tracking.experiments import Clock
from millrace_services.registry.tracking.logged_model_search import MetricDataset, ModelOrder, models_query
from millrace_services.registry.tracking.logged_model_values import documents, model_row
from millrace_services.registry.tracking.run_documents import Document
from millrace_services.registry.tracking.runs import named
from millrace_services.registry.tracking_tables import logged_model_params, logged_model_tags, logged_models

STATUSES: Final = ("LOGGED_MODEL_PENDING", "LOGGED_MODEL_READY", "LOGGED_MODEL_UPLOAD_FAILED")
_FINAL: Final = STATUSES[1:]
# What would be something else in the paths and URIs that names stand in.
_RESERVED: Final = frozenset("/:.%\"'")
_MOST_NAME: Final = 500
_MOST_TYPE: Final = 500


class NewModel(NamedTuple):
    """What a logged model is made of, as it was given."""

    experiment_id: str
    name: str
    model_type: str
    source_run_id: str
    params: dict[str, str]
    tags: dict[str, str]

    def checked(self) -> NewModel:
        """The same, within bounds, with a name. Raises ``MlflowError``."""
        if _RESERVED & {*self.name}:
            raise invalid(
                f"Invalid model name ({self.name!r}) provided. Model name must be a non-empty string and cannot "
                "contain the following characters: ('/', ':', '.', '%', '\"', \"'\")"
            )
        limits.short("source_run_id", self.source_run_id)
        bounded("model_type", self.model_type, _MOST_TYPE)
        params = dict(limits.param(*pair) for pair in self.params.items())
        tags = dict(limits.tag(*pair) for pair in self.tags.items())
        return self._replace(name=bounded("name", self.name or named(), _MOST_NAME), params=params, tags=tags)


class LoggedModels:
    """Reads and writes of logged models.

    Args:
        now: the present moment in milliseconds since 1970.
        new_id: makes 32 digits of an id.
    """

    def __init__(self, database: Database, writes: GroupedWrites, now: Clock, new_id: Callable[[], str]) -> None:
        self._database = database
        self._writes = writes
        self._now = now
        self._new_id = new_id

    def create(self, given: NewModel) -> Document:
        """Makes a model whose files are still to come.

        Raises:
            MlflowError: there is no such experiment, or it is deleted.
        """
        given = given.checked()
        model_id, now = f"m-{self._new_id()}", self._now()

        def write(connection: Connection) -> Document:
            experiment = experiments.active(connection, given.experiment_id)
            row = {"model_id": model_id, "experiment": experiment.id, "name": given.name, "status": STATUSES[0]}
            row |= {"model_type": given.model_type, "source_run_id": given.source_run_id, "lifecycle": "active"}
            row |= {"created": now, "updated": now}
            row["artifact_uri"] = f"{experiment.artifact_location}/models/{model_id}/artifacts"
            made = connection.execute(insert(logged_models).values(**row).returning(logged_models.c.id)).scalar_one()
            for table, pairs in ((logged_model_params, given.params), (logged_model_tags, given.tags)):
                rows = [{"model": made, "key": key, "value": value} for key, value in pairs.items()]
                if rows:
                    connection.execute(insert(table), rows)
            return _document(connection, model_id)

        return self._writes.run(write)

    def get(self, model_id: str) -> Document:
        """One model. Raises ``MlflowError`` where there is none."""
        with self._database.reading() as connection:
            return _document(connection, model_id)

    def finalize(self, model_id: str, status: str) -> Document:
        """Says that a model's files are there, or that they will not come.

        Raises:
            MlflowError: there is no such model, or the state is not a last one.
        """
        if status not in _FINAL:
            raise invalid(f"Invalid model status: {status or 'none'}. Expected statuses are {', '.join(_FINAL)}.")
        return self._change(model_id, lambda connection, row: _update(connection, row, status=status))

    def set_tags(self, model_id: str, tags: dict[str, str]) -> Document:
        """Writes tags over those of their keys. Raises ``MlflowError`` where there is no such model."""
        checked = dict(limits.tag(*pair) for pair in tags.items())

        def write(connection: Connection, row: Row[Any]) -> None:
            for key, value in checked.items():
                self._database.upsert(connection, logged_model_tags, {"model": row.id, "key": key, "value": value})

        return self._change(model_id, write)

    def delete_tag(self, model_id: str, key: str) -> None:
        """Deletes a tag. Raises ``MlflowError`` where there is no such model or tag."""

        def write(connection: Connection, row: Row[Any]) -> None:
            tags = logged_model_tags.c
            gone = connection.execute(delete(logged_model_tags).where(tags.model == row.id, tags.key == key))
            if not gone.rowcount:
                raise absent(f"No tag with key {key!r} found for model with ID {model_id!r}.")

        self._change(model_id, write)

    def log_params(self, model_id: str, params: dict[str, str]) -> None:
        """Writes parameters over those of their keys. Raises ``MlflowError`` where there is no such model."""
        checked = dict(limits.param(*pair) for pair in params.items())

        def write(connection: Connection, row: Row[Any]) -> None:
            for key, value in checked.items():
                self._database.upsert(connection, logged_model_params, {"model": row.id, "key": key, "value": value})

        self._change(model_id, write)

    def delete(self, model_id: str) -> None:
        """Deletes a model; its files stay. Raises ``MlflowError`` where there is none."""

        def write(connection: Connection) -> None:
            _update(connection, model_row(connection, model_id), lifecycle="deleted", updated=self._now())

        self._writes.run(write)

    def search(
        self,
        experiment_ids: Sequence[str],
        text: str,
        order_by: Sequence[ModelOrder],
        datasets: Sequence[MetricDataset],
        page: Page,
    ) -> tuple[list[Document], str]:
        """The models of one page of a search, and the token of the next page; empty where there is none.

        Raises:
            RejectError: filter, order or page mean nothing.
        """
        query = models_query(experiment_ids, text, order_by, datasets)
        with self._database.reading() as connection:
            rows, token = page.cut(connection.execute(page.applied(query)).all())
            return documents(connection, rows), token

    def _change(self, model_id: str, change: Callable[[Connection, Row[Any]], None]) -> Document:
        def write(connection: Connection) -> Document:
            row = model_row(connection, model_id)
            change(connection, row)
            _update(connection, row, updated=self._now())
            return _document(connection, model_id)

        return self._writes.run(write)


def _document(connection: Connection, model_id: str) -> Document:
    return documents(connection, [model_row(connection, model_id)])[0]


def _update(connection: Connection, row: Row[Any], **changed: Any) -> None:
    connection.execute(update(logged_models).where(logged_models.c.id == row.id).values(**changed))
