"""The definitions that the registry publishes, compiled: what the gateway and the SDK resolve references against."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from pydantic import ValidationError

from millrace_core.api.featureview import FeatureViewSpec
from millrace_core.base.errors import MillraceError, NotFoundError, RejectError
from millrace_core.features.definition import definition
from millrace_core.features.definition.definition import Definition

logger = logging.getLogger(__name__)

Name = tuple[str, str]


@dataclass(frozen=True)
class Snapshot:
    """One state of the catalogue. Names are (project, name)."""

    etag: str = ""
    views: Mapping[Name, Definition] = field(default_factory=dict)
    broken: Mapping[Name, str] = field(default_factory=dict)
    feature_services: Mapping[Name, tuple[str, ...]] = field(default_factory=dict)

    def view(self, project: str, name: str) -> Definition:
        """The compiled view.

        Raises:
            NotFoundError: there is no such view; names those that exist.
            RejectError: it is there, but its definition means nothing.
        """
        found = self.views.get((project, name))
        if found is not None:
            return found
        if (project, name) in self.broken:
            raise RejectError(f"feature view {name!r} is not usable: {self.broken[project, name]}", field="features")
        raise NotFoundError(
            f"there is no feature view {name!r} in project {project!r}",
            hint=_known("views", project, self.views),
            field="features",
        )

    def feature_service(self, project: str, name: str) -> tuple[str, ...]:
        """The references that a ModelDeployment reads.

        Raises:
            NotFoundError: there is no ModelDeployment of that name that reads features.
        """
        found = self.feature_services.get((project, name))
        if found is None:
            raise NotFoundError(
                f"there is no ModelDeployment {name!r} with features in project {project!r}",
                hint=_known("deployments with features", project, self.feature_services),
                field="feature_service",
            )
        return found


def _known(what: str, project: str, names: Mapping[Name, Any]) -> str:
    known = sorted(name for owner, name in names if owner == project)
    return f"The project's {what}: {', '.join(known[:20])}" if known else f"The project has no {what}"


def snapshot(body: bytes, etag: str) -> Snapshot:
    """The registry's answer to ``GET /v1/definitions``, compiled; a definition that is wrong spoils no other."""
    answer = orjson.loads(body)
    views: dict[Name, Definition] = {}
    broken: dict[Name, str] = {}
    for document in answer["featureViews"]:
        name = _name(document)
        try:
            spec = FeatureViewSpec.model_validate(document["spec"])
            views[name] = definition.compile(name[1], name[0], spec)
        except (ValidationError, MillraceError) as error:
            broken[name] = str(error)
            logger.warning("feature view %s/%s is not usable: %s", *name, error)
    services = {
        _name(document): tuple(document["spec"]["features"]["refs"])
        for document in answer["modelDeployments"]
        if document["spec"].get("features")
    }
    return Snapshot(etag, views, broken, services)


def _name(document: Mapping[str, Any]) -> Name:
    metadata = document["metadata"]
    return metadata.get("namespace", "default"), metadata["name"]
