"""Experiments: what is done to them, each command one transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, delete, exists, insert, select, update

from millrace_services.registry.chunks import chunks
from millrace_services.registry.database import Database
from millrace_services.registry.mlflow import filters, searching
from millrace_services.registry.mlflow.errors import absent, invalid
from millrace_services.registry.mlflow.errors import exists as already
from millrace_services.registry.mlflow.searching import ATTRIBUTES, NUMBER, TAGS, TEXT, Attribute, Page
from millrace_services.registry.tracking import limits
from millrace_services.registry.tracking_tables import experiment_tags, experiments, tracked_runs

Clock = Callable[[], int]
Document = dict[str, Any]

DEFAULT: Final = 0
# Where clients write through this server's own proxy, and where it writes.
PROXY: Final = "mlflow-artifacts:"
_MOMENT: Final = 2**62
_ATTRIBUTES: Final = {
    "name": Attribute(experiments.c.name, TEXT),
    "creation_time": Attribute(experiments.c.created, NUMBER, _MOMENT),
    "last_update_time": Attribute(experiments.c.updated, NUMBER, _MOMENT),
}
_ORDER: Final = {
    "name": experiments.c.name,
    "experiment_id": experiments.c.id,
    "creation_time": experiments.c.created,
    "last_update_time": experiments.c.updated,
}


class Experiments:
    """Reads and writes of experiments.

    Args:
        now: the present moment in milliseconds since 1970.
    """

    def __init__(self, database: Database, now: Clock) -> None:
        self._database = database
        self._now = now

    def ensure_default(self) -> None:
        """Makes the experiment that runs belong to which name none, where there is no experiment at all."""
        with self._database.reading() as connection:
            if connection.scalar(select(experiments.c.id).limit(1)) is not None:
                return
        with self._database.writing() as connection:
            if connection.scalar(select(experiments.c.id).limit(1)) is None:
                _insert(connection, {"id": DEFAULT, "name": "Default"}, "", {}, self._now())

    def create(self, name: str, artifact_location: str, tags: dict[str, str]) -> str:
        """Makes an experiment.

        Returns:
            Its id.

        Raises:
            MlflowError: there is one of this name, be it deleted.
        """
        limits.experiment_name(name)
        location = limits.artifact_location(artifact_location)
        named = dict(limits.experiment_tag(key, value) for key, value in tags.items())
        with self._database.writing() as connection:
            _require_free(connection, name)
            return str(_insert(connection, {"name": name}, location, named, self._now()))

    def get(self, experiment_id: str) -> Document:
        """One experiment, be it deleted. Raises ``MlflowError`` where there is none."""
        with self._database.reading() as connection:
            return documents(connection, [row_of(connection, experiment_id)])[0]

    def by_name(self, name: str) -> Document:
        """One experiment, be it deleted. Raises ``MlflowError`` where there is none."""
        with self._database.reading() as connection:
            found = connection.execute(select(experiments).where(experiments.c.name == name)).first()
            if found is None:
                raise absent(f"Could not find experiment with name '{name}'")
            return documents(connection, [found])[0]

    def rename(self, experiment_id: str, new_name: str) -> None:
        """Gives an experiment another name.

        Raises:
            MlflowError: there is none, it is deleted, or there is one of this name.
        """
        limits.experiment_name(new_name, "new_name")
        with self._database.writing() as connection:
            row = active(connection, experiment_id)
            if row.name != new_name:
                _require_free(connection, new_name)
            _change(connection, row.id, name=new_name, updated=self._now())

    def delete(self, experiment_id: str) -> None:
        """Deletes an experiment and its runs, until they are restored. Raises ``MlflowError`` where there is none."""
        self._move(experiment_id, "active", "deleted")

    def restore(self, experiment_id: str) -> None:
        """Restores a deleted experiment and its runs. Raises ``MlflowError`` where there is none that is deleted."""
        self._move(experiment_id, "deleted", "active")

    def set_tag(self, experiment_id: str, key: str, value: str) -> None:
        """Writes a tag over the one of its key.

        Raises:
            MlflowError: there is no such experiment, or it is deleted.
        """
        limits.experiment_tag(key, value)
        with self._database.writing() as connection:
            row = active(connection, experiment_id)
            self._database.upsert(connection, experiment_tags, {"experiment": row.id, "key": key, "value": value})
            _change(connection, row.id, updated=self._now())

    def delete_tag(self, experiment_id: str, key: str) -> None:
        """Deletes a tag.

        Raises:
            MlflowError: there is no such tag or experiment, or it is deleted.
        """
        with self._database.writing() as connection:
            row, tags = active(connection, experiment_id), experiment_tags.c
            gone = connection.execute(delete(experiment_tags).where(tags.experiment == row.id, tags.key == key))
            if not gone.rowcount:
                raise absent(f"No tag with name: {key} in experiment with id {experiment_id}")
            _change(connection, row.id, updated=self._now())

    def search(self, text: str, order_by: Sequence[str], view: str, page: Page) -> tuple[list[Document], str]:
        """The experiments of one page of a search, and the token of the next page; empty where there is none.

        Raises:
            RejectError: filter, order or page mean nothing.
        """
        query = _query(text, order_by, view)
        with self._database.reading() as connection:
            rows, token = page.cut(connection.execute(page.applied(query)).all())
            return documents(connection, rows), token

    def _move(self, experiment_id: str, before: str, after: str) -> None:
        number = limits.experiment_number(experiment_id)
        with self._database.writing() as connection:
            row = connection.execute(select(experiments).where(experiments.c.id == number)).first()
            if row is None or row.lifecycle != before:
                raise limits.no_experiment(experiment_id)
            _change(connection, number, lifecycle=after, updated=self._now())
            moved = update(tracked_runs).where(tracked_runs.c.experiment == number).values(lifecycle=after)
            connection.execute(moved)


def row_of(connection: Connection, experiment_id: str) -> Row[Any]:
    """The row of an experiment, be it deleted.

    Raises:
        MlflowError: there is none.
    """
    number = limits.experiment_number(experiment_id)
    found = connection.execute(select(experiments).where(experiments.c.id == number)).first()
    if found is None:
        raise limits.no_experiment(experiment_id)
    return found


def active(connection: Connection, experiment_id: str) -> Row[Any]:
    """The row of an experiment that is not deleted.

    Raises:
        MlflowError: there is none.
    """
    found = row_of(connection, experiment_id)
    if found.lifecycle != "active":
        raise invalid(
            f"The experiment {experiment_id} must be in the 'active' state. Current state is {found.lifecycle}."
        )
    return found


def documents(connection: Connection, rows: Sequence[Row[Any]]) -> list[Document]:
    """Experiments as answers have them, in the order of the rows."""
    tags: dict[int, list[dict[str, str]]] = {row.id: [] for row in rows}
    columns = experiment_tags.c
    for chunk in chunks(rows):
        wanted = select(experiment_tags).where(columns.experiment.in_([row.id for row in chunk]))
        for tag in connection.execute(wanted.order_by(columns.key)):
            tags[tag.experiment].append({"key": tag.key, "value": tag.value})
    return [
        {
            "experiment_id": str(row.id),
            "name": row.name,
            "artifact_location": row.artifact_location,
            "lifecycle_stage": row.lifecycle,
            "last_update_time": row.updated,
            "creation_time": row.created,
            **({"tags": tags[row.id]} if tags[row.id] else {}),
        }
        for row in rows
    ]


def lifecycles(view: str) -> tuple[str, ...]:
    """Those that a view shows."""
    return limits.LIFECYCLES if view == "ALL" else (limits.LIFECYCLES[limits.VIEWS.index(view)],)


def _query(text: str, order_by: Sequence[str], view: str) -> Select[Any]:
    wanted: list[Any] = [experiments.c.lifecycle.in_(lifecycles(view))]
    tags = experiment_tags.c
    for condition in filters.parse(text):
        key, comparator, value = condition
        if key.entity in ATTRIBUTES:
            wanted.append(searching.attribute(condition, _ATTRIBUTES))
        elif key.entity in TAGS:
            searching.require("tag", comparator, TEXT)
            compared = searching.compared(tags.value, comparator, searching.text(key, value))
            wanted.append(exists().where(tags.experiment == experiments.c.id, tags.key == key.name, compared))
        else:
            raise invalid(f"Invalid entity type '{key.entity}'. Valid values are ('attribute', 'tag')")
    order = searching.order(order_by or ["creation_time DESC"], _ORDER, ["experiment_id"])
    return select(experiments).where(*wanted).order_by(*order)


def _require_free(connection: Connection, name: str) -> None:
    found = connection.scalar(select(experiments.c.lifecycle).where(experiments.c.name == name))
    if found is not None:
        state = "" if found == "active" else " in deleted state. Restore it, or give another name"
        raise already(f"Experiment(name={name}) already exists{state}.")


def _insert(connection: Connection, given: dict[str, Any], location: str, tags: dict[str, str], now: int) -> int:
    row = {**given, "artifact_location": location, "lifecycle": "active", "created": now, "updated": now}
    number: int = connection.execute(insert(experiments).values(**row).returning(experiments.c.id)).scalar_one()
    if not location:
        _change(connection, number, artifact_location=f"{PROXY}/{number}")
    rows = [{"experiment": number, "key": key, "value": value} for key, value in tags.items()]
    if rows:
        connection.execute(insert(experiment_tags), rows)
    return number


def _change(connection: Connection, number: int, **changed: Any) -> None:
    connection.execute(update(experiments).where(experiments.c.id == number).values(**changed))
