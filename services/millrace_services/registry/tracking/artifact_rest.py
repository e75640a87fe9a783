"""MLflow's routes that list files by the run or the logged model that they are of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from millrace_services.registry.artifacts import paths
from millrace_services.registry.artifacts.place import Place, shown
from millrace_services.registry.mlflow.fields import Fields
from millrace_services.registry.mlflow.routing import Endpoint
from millrace_services.registry.tracking.logged_models import LoggedModels
from millrace_services.registry.tracking.rest import run_id
from millrace_services.registry.tracking.runs import Runs

Json = Mapping[str, Any]


class ArtifactListRoutes:
    """The routes over runs, logged models, and the place of their files."""

    def __init__(self, runs: Runs, models: LoggedModels, place: Place) -> None:
        self._runs = runs
        self._models = models
        self._place = place

    def endpoints(self) -> list[Endpoint]:
        """Both of them."""
        of_model = "logged-models/{model_id}/artifacts/directories"
        return [Endpoint("GET", "artifacts/list", self._of_run), Endpoint("GET", of_model, self._of_model)]

    def _of_run(self, fields: Fields) -> Json:
        uri = self._runs.get(run_id(fields))["info"]["artifact_uri"]
        return self._listed(uri, fields.text("path"))

    def _of_model(self, fields: Fields) -> Json:
        uri = self._models.get(fields.required("model_id"))["info"]["artifact_uri"]
        return self._listed(uri, fields.text("artifact_directory_path"))

    def _listed(self, uri: str, path: str) -> Json:
        root, below = paths.of_uri(uri), paths.checked(path.strip("/"))
        found = self._place.listed(f"{root}/{below}" if below else root)
        return {"root_uri": uri} | ({"files": shown(found, below)} if found else {})
