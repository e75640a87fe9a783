"""What the gateway knows of views and deployments: a snapshot of the registry, kept while the registry is down."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final

import httpx
import orjson
from pydantic import ValidationError

from millrace.api.featureview import FeatureViewSpec
from millrace.base.errors import MillraceError, NotFoundError, RejectError
from millrace.features import definition
from millrace.features.definition import Definition

logger = logging.getLogger(__name__)

# A request for a view that is not known yet asks the registry at once, but not more often than this.
_SECONDS_BETWEEN_EARLY_LOOKS: Final = 0.2
# Until it has definitions the gateway serves nothing, and it often starts beside the registry.
_SECONDS_BETWEEN_FIRST_LOOKS: Final = 0.2
_NOT_MODIFIED: Final = 304

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


class Definitions:
    """Keeps ``current`` as new as the registry; while the registry is down the last good one stays."""

    def __init__(self, client: httpx.AsyncClient, every: float) -> None:
        self.current = Snapshot()
        self.loaded = False
        self._client = client
        self._every = every
        self._failing = False
        self._looked = 0.0
        self._lock = asyncio.Lock()

    async def run(self) -> None:
        """Looks for changes until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(self._every if self.loaded else min(self._every, _SECONDS_BETWEEN_FIRST_LOOKS))

    async def look_again(self) -> bool:
        """Asks the registry now, unless that was done a moment ago; says whether the snapshot changed."""
        if monotonic() - self._looked < _SECONDS_BETWEEN_EARLY_LOOKS:
            return False
        before = self.current
        await self.refresh()
        return self.current is not before

    async def refresh(self) -> None:
        """Asks the registry once; a failure is logged when it begins and when it ends, and changes nothing."""
        async with self._lock:
            self._looked = monotonic()
            try:
                await self._fetch()
            except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
                if not self._failing:
                    logger.warning("the registry gives no definitions (%r); the last good ones stay", error)
                self._failing = True
                return
            if self._failing:
                logger.info("the registry gives definitions again")
            self._failing = False
            self.loaded = True

    async def _fetch(self) -> None:
        known = {"if-none-match": self.current.etag} if self.current.etag else {}
        answer = await self._client.get("/v1/definitions", headers=known)
        if answer.status_code == _NOT_MODIFIED:
            return
        answer.raise_for_status()
        self.current = snapshot(answer.content, answer.headers.get("etag", ""))
