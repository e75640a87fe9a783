"""Tracking over a database, with a clock and ids of the tests' own."""

from __future__ import annotations

from typing import Any

from millrace_services.registry.database import Database
from millrace_services.registry.grouped_writes import GroupedWrites
from millrace_services.registry.mlflow.searching import Page
from millrace_services.registry.tracking.experiments import Experiments
from millrace_services.registry.tracking.logged_models import LoggedModels
from millrace_services.registry.tracking.points import Point
from millrace_services.registry.tracking.run_log import Batch, RunLog
from millrace_services.registry.tracking.runs import NewRun, Runs

ALL = Page(1000, 0)


class Tracking:
    """All commands of tracking; every moment is later than the one before, and ids rise."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.at = 1000
        self.made = 0
        self.experiments = Experiments(database, self._now)
        self.experiments.ensure_default()
        self.writes = GroupedWrites(database)
        self.runs = Runs(database, self.writes, self._id)
        self.log = RunLog(database, self.writes)
        self.models = LoggedModels(database, self.writes, self._now, self._id)

    def run(self, name: str = "", experiment: str = "0", start: int = 0, **tags: str) -> str:
        """Makes a run; returns its id."""
        run = self.runs.create(NewRun(experiment, "ann", name, start or self._now(), tags))
        made: str = run["info"]["run_id"]
        return made

    def metric(self, run_id: str, key: str, *values: float) -> None:
        """Logs values at the steps 0, 1, …, a millisecond apart."""
        points = [Point(key, value, 100 + step, step) for step, value in enumerate(values)]
        self.log.log(run_id, Batch(metrics=points))

    def found(self, text: str, *order_by: str, view: str = "ACTIVE_ONLY", experiments: tuple[str, ...] = ("0",)) -> Any:
        """The names of the runs that a search finds."""
        runs, _ = self.runs.search(experiments, text, order_by, view, ALL)
        return [run["info"]["run_name"] for run in runs]

    def _now(self) -> int:
        self.at += 1
        return self.at

    def _id(self) -> str:
        self.made += 1
        return f"{self.made:032x}"
