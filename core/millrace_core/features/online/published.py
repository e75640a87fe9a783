"""The definitions that the registry publishes, compiled: what the gateway and the SDK resolve references against."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from millrace_core.api import feature_reference
from millrace_core.api.featureview import FeatureViewSpec
from millrace_core.base.errors import NotFoundError, RejectError
from millrace_core.features.definition import definition
from millrace_core.features.definition.definition import Definition

logger = logging.getLogger(__name__)

Name = tuple[str, str]
Compiled = TypeVar("Compiled")


class _Metadata(BaseModel):
    name: str
    namespace: str = "default"


class _Named(BaseModel):
    """What every document has."""

    metadata: _Metadata


class _Features(BaseModel):
    refs: list[str]


class _Serving(BaseModel):
    """What is read of a ModelDeployment's spec; the rest is not this module's."""

    features: _Features | None = None


@dataclass(frozen=True)
class Snapshot:
    """One state of the catalogue. Names are (project, name)."""

    etag: str = ""
    views: Mapping[Name, Definition] = field(default_factory=dict)
    broken: Mapping[Name, str] = field(default_factory=dict)
    feature_services: Mapping[Name, tuple[str, ...]] = field(default_factory=dict)
    broken_services: Mapping[Name, str] = field(default_factory=dict)

    @property
    def empty(self) -> bool:
        """Whether nothing can be read by it."""
        return not (self.views or self.broken or self.feature_services or self.broken_services)

    def view(self, project: str, name: str, *, field: str = "features") -> Definition:
        """The compiled view; ``field`` is what of the caller's names it.

        Raises:
            NotFoundError: there is no such view; names those that exist.
            RejectError: it is there, but its definition means nothing.
        """
        name = feature_reference.view_name(name)
        found = self.views.get((project, name))
        if found is not None:
            return found
        if (project, name) in self.broken:
            raise RejectError(f"feature view {name!r} is not usable: {self.broken[project, name]}", field=field)
        raise NotFoundError(
            f"there is no feature view {name!r} in project {project!r}",
            hint=_known("views", project, self.views),
            field=field,
        )

    def feature_service(self, project: str, name: str) -> tuple[str, ...]:
        """The references of a feature service that was saved, or else those that a ModelDeployment reads.

        Raises:
            NotFoundError: there is neither of that name.
            RejectError: it is there, but its definition means nothing.
        """
        name = feature_reference.view_name(name)
        found = self.feature_services.get((project, name))
        if found is not None:
            return found
        if (project, name) in self.broken_services:
            raise RejectError(
                f"ModelDeployment {name!r} is not usable: {self.broken_services[project, name]}",
                field="feature_service",
            )
        raise NotFoundError(
            f"there is no feature service and no ModelDeployment with features {name!r} in project {project!r}",
            hint=_known("feature services and deployments with features", project, self.feature_services),
            field="feature_service",
        )


def _known(what: str, project: str, names: Mapping[Name, Any]) -> str:
    known = sorted(name for owner, name in names if owner == project)
    return f"The project's {what}: {', '.join(known[:20])}" if known else f"The project has no {what}"


def snapshot(body: bytes, etag: str) -> Snapshot:
    """The registry's answer to ``GET /v1/definitions``, compiled; a document that is wrong spoils no other."""
    answer = orjson.loads(body)
    views, broken = _usable("feature view", answer["featureViews"], _view)
    services, broken_services = _usable("ModelDeployment", answer["modelDeployments"], _refs)
    with_features = {name: refs for name, refs in services.items() if refs is not None}
    saved, _ = _usable("feature service", answer.get("featureServices") or (), _saved)
    return Snapshot(etag, views, broken, with_features | saved, broken_services)


def _usable(
    kind: str, documents: Sequence[Any], compiled: Callable[[Name, Any], Compiled]
) -> tuple[dict[Name, Compiled], dict[Name, str]]:
    """What the documents mean, and why those that mean nothing do not."""
    found: dict[Name, Compiled] = {}
    broken: dict[Name, str] = {}
    for number, document in enumerate(documents):
        try:
            metadata = _Named.model_validate(document).metadata
        except ValidationError as error:
            logger.warning("%s number %d of the registry's answer has no usable name: %s", kind, number, error)
            continue
        name = metadata.namespace, metadata.name
        try:
            found[name] = compiled(name, document.get("spec"))
        except Exception as error:  # whatever one object has, the others are served
            broken[name] = str(error)
            logger.warning("%s %s/%s is not usable: %s", kind, *name, error)
    return found, broken


def _view(name: Name, spec: Any) -> Definition:
    return definition.compile(name[1], name[0], FeatureViewSpec.model_validate(spec))


def _refs(_: Name, spec: Any) -> tuple[str, ...] | None:
    features = _Serving.model_validate(spec).features
    return None if features is None else tuple(features.refs)


def _saved(_: Name, spec: Any) -> tuple[str, ...]:
    return tuple(_Features.model_validate(spec).refs)
