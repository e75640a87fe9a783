"""Tracking over a database: all its routes."""

from __future__ import annotations

import uuid

from millrace_services.registry.artifacts.place import Place
from millrace_services.registry.database import Database
from millrace_services.registry.grouped_writes import GroupedWrites
from millrace_services.registry.mlflow.routing import Endpoint
from millrace_services.registry.tracking.artifact_rest import ArtifactListRoutes
from millrace_services.registry.tracking.experiments import Clock, Experiments
from millrace_services.registry.tracking.logged_model_rest import LoggedModelRoutes
from millrace_services.registry.tracking.logged_models import LoggedModels
from millrace_services.registry.tracking.rest import ExperimentRoutes, RunRoutes, server_endpoints
from millrace_services.registry.tracking.run_log import RunLog
from millrace_services.registry.tracking.runs import Runs


def tracking_endpoints(database: Database, now: Clock, place: Place) -> list[Endpoint]:
    """The routes over a database, which gets the experiment of runs that name none.

    Args:
        now: the present moment in milliseconds since 1970.
        place: where files lie.
    """
    experiments = Experiments(database, now)
    experiments.ensure_default()
    writes = GroupedWrites(database)
    runs, log = Runs(database, writes, _new_id), RunLog(database, writes)
    models = LoggedModels(database, writes, now, _new_id)
    return [
        *ExperimentRoutes(experiments).endpoints(),
        *RunRoutes(runs, log).endpoints(),
        *LoggedModelRoutes(models).endpoints(),
        *ArtifactListRoutes(runs, models, place).endpoints(),
        *server_endpoints(),
    ]


def _new_id() -> str:
    return uuid.uuid4().hex
