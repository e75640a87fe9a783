"""Runs: what is done to them apart from what they log."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from sqlalchemy import Connection, insert, update

from millrace_services.registry.database import Database
from millrace_services.registry.grouped_writes import GroupedWrites
from millrace_services.registry.mlflow.errors import invalid
from millrace_services.registry.mlflow.searching import Page
from millrace_services.registry.tracking import experiments, limits
from millrace_services.registry.tracking.pairs import write_tags
from millrace_services.registry.tracking.run_documents import Document, active_run, documents, info, run_row
from millrace_services.registry.tracking.run_search import found_runs
from millrace_services.registry.tracking_tables import tracked_runs

RUN_NAME: Final = "mlflow.runName"
_ADJECTIVES: Final = [
    "able",
    "bold",
    "calm",
    "deft",
    "fair",
    "glad",
    "keen",
    "kind",
    "lively",
    "merry",
    "neat",
    "proud",
    "quick",
    "rare",
    "sage",
    "tidy",
]
_NOUNS: Final = [
    "ant",
    "bear",
    "crane",
    "deer",
    "eel",
    "finch",
    "goat",
    "hare",
    "ibis",
    "jay",
    "kite",
    "lark",
    "mole",
    "newt",
    "owl",
    "perch",
]


class NewRun(NamedTuple):
    """What a run is made of, as it was given."""

    experiment_id: str
    user_id: str
    name: str
    start_time: int
    tags: dict[str, str]

    def checked(self) -> NewRun:
        """The same, within bounds, with a name, which is also its tag.

        Raises:
            MlflowError: it has two names.
        """
        tagged = self.tags.get(RUN_NAME, "")
        if self.name and tagged and self.name != tagged:
            raise invalid(
                "Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different values "
                f"(run_name='{self.name}', mlflow.runName='{tagged}')."
            )
        name = limits.run_name(self.name or tagged or named())
        tags = dict(limits.tag(key, value) for key, value in self.tags.items())
        return self._replace(user_id=limits.short("user_id", self.user_id), name=name, tags={**tags, RUN_NAME: name})


class Change(NamedTuple):
    """What is to be changed of a run; None: nothing of it."""

    status: str | None = None
    end_time: int | None = None
    name: str | None = None


class Runs:
    """Reads and writes of runs.

    Args:
        new_id: makes the id of a run.
    """

    def __init__(self, database: Database, writes: GroupedWrites, new_id: Callable[[], str]) -> None:
        self._database = database
        self._writes = writes
        self._new_id = new_id

    def create(self, given: NewRun) -> Document:
        """Makes a run.

        Raises:
            MlflowError: there is no such experiment, or it is deleted.
        """
        given = given.checked()
        run_id = self._new_id()

        def write(connection: Connection) -> Document:
            experiment = experiments.active(connection, given.experiment_id)
            row = {"run_id": run_id, "experiment": experiment.id, "name": given.name, "user_id": given.user_id}
            row |= {"status": "RUNNING", "start_time": given.start_time, "lifecycle": "active"}
            row["artifact_uri"] = f"{experiment.artifact_location}/{run_id}/artifacts"
            made = connection.execute(insert(tracked_runs).values(**row).returning(tracked_runs.c.id)).scalar_one()
            write_tags(connection, made, given.tags)
            return documents(connection, [run_row(connection, run_id)])[0]

        return self._writes.run(write)

    def get(self, run_id: str) -> Document:
        """One run, be it deleted. Raises ``MlflowError`` where there is none."""
        with self._database.reading() as connection:
            return documents(connection, [run_row(connection, run_id)])[0]

    def update(self, run_id: str, change: Change) -> Document:
        """Changes state, end or name.

        Raises:
            MlflowError: there is no such run, or it is deleted.
        """
        if change.name:
            limits.run_name(change.name)

        def write(connection: Connection) -> Document:
            row = active_run(connection, run_id)
            changed = {field: value for field, value in change._asdict().items() if value not in (None, "")}
            if changed:
                connection.execute(update(tracked_runs).where(tracked_runs.c.id == row.id).values(**changed))
            if change.name:
                write_tags(connection, row.id, {RUN_NAME: change.name})
            return info(run_row(connection, run_id))

        return self._writes.run(write)

    def delete(self, run_id: str) -> None:
        """Deletes a run until it is restored. Raises ``MlflowError`` where there is none."""
        self._move(run_id, "deleted")

    def restore(self, run_id: str) -> None:
        """Restores a run, also one that is not deleted. Raises ``MlflowError`` where there is none."""
        self._move(run_id, "active")

    def search(
        self, experiment_ids: Sequence[str], text: str, order_by: Sequence[str], view: str, page: Page
    ) -> tuple[list[Document], str]:
        """The runs of one page of a search, and the token of the next page; empty where there is none.

        Raises:
            RejectError: filter, order or page mean nothing.
        """
        with self._database.reading() as connection:
            rows, token = page.cut(found_runs(connection, experiment_ids, text, order_by, view, page))
            return documents(connection, rows), token

    def _move(self, run_id: str, lifecycle: str) -> None:
        def write(connection: Connection) -> None:
            row = run_row(connection, run_id)
            connection.execute(update(tracked_runs).where(tracked_runs.c.id == row.id).values(lifecycle=lifecycle))

        self._writes.run(write)


def rename(connection: Connection, run: int, name: str) -> None:
    """Gives a run the name that its tag says."""
    connection.execute(update(tracked_runs).where(tracked_runs.c.id == run).values(name=name))


def named() -> str:
    """A name for what was given none."""
    return f"{secrets.choice(_ADJECTIVES)}-{secrets.choice(_NOUNS)}-{secrets.randbelow(1000)}"
