"""The registry as a service: its routes, and the database's life."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from millrace_core.base.errors import RejectError
from millrace_core.base.shown import shown
from millrace_core.features.online.edition import CATALOGUE, REVISION
from millrace_services.registry import state
from millrace_services.registry.artifacts import opening
from millrace_services.registry.artifacts import rest as artifacts
from millrace_services.registry.catalogue import Catalogue, Part, Search
from millrace_services.registry.database import Database
from millrace_services.registry.datasets import Datasets
from millrace_services.registry.documents import canonical_kind, entry
from millrace_services.registry.feature_services import FeatureServices
from millrace_services.registry.mlflow import routing
from millrace_services.registry.models.changes import LIMIT
from millrace_services.registry.models.registered import RegisteredModels
from millrace_services.registry.models.rest import ModelRoutes
from millrace_services.registry.runs import Runs
from millrace_services.registry.settings import RegistrySettings
from millrace_services.registry.tracking.service import tracking_endpoints
from millrace_services.web.hot import Answer, Call
from millrace_services.web.json_body import json_object
from millrace_services.web.service import Service

# The release of MLflow whose REST is spoken, which is what its clients take for the server's version.
_SPOKEN: Final = "3.17.2"
_TEXT: Final = (b"content-type", b"text/plain; charset=utf-8")
# A body that is a JSON object.
Body = Annotated[dict[str, Any], Depends(json_object)]


def build(settings: RegistrySettings) -> Service:
    """The registry's service, over an open database.

    Raises:
        RejectError: the database is not one that this program can use.
        RetryError: it cannot be reached.
    """
    database = Database(settings.database_url)

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        yield
        database.close()

    async def reachable() -> str:
        await run_in_threadpool(_ask, database)
        return ""

    service = Service("Millrace registry", settings, lifespan, bearer=settings.bearer())
    service.health.add("database", reachable)
    catalogue = Catalogue(database)
    service.api.include_router(_catalogue_routes(catalogue))
    service.api.include_router(_definition_routes(catalogue))
    service.api.include_router(_feature_service_routes(FeatureServices(catalogue)))
    service.api.include_router(_run_routes(Runs(database, settings.runs_kept)))
    service.api.include_router(_dataset_routes(Datasets(database)))
    service.api.include_router(_model_routes(RegisteredModels(database, _milliseconds)))
    place = opening.opened(settings.artifacts, database.file, os.environ)
    tracking = tracking_endpoints(database, _milliseconds, place)
    routing.install(service, [*ModelRoutes(database, _milliseconds).endpoints(), *tracking])
    artifacts.install(service, place, settings.max_artifact_bytes)
    _add_health(service)
    return service


def _add_health(service: Service) -> None:
    """What MLflow's clients ask to find out whether there is a server, and which."""

    async def health(_: Call) -> Answer:
        return Answer(200, b"OK", (_TEXT,))

    async def version(_: Call) -> Answer:
        return Answer(200, _SPOKEN.encode(), (_TEXT,))

    service.hot("GET", "/health", health)
    service.hot("GET", "/version", version)


def _milliseconds() -> int:
    return time.time_ns() // 1_000_000


def _ask(database: Database) -> None:
    with database.reading() as connection:
        state.read(connection)


def _listed(body: dict[str, Any], release: str) -> tuple[list[Any], int, Part]:
    """All objects of a kind, as Kubernetes lists them; ``empties`` and the part as ``Catalogue.replace`` has them."""
    items, empties = body.get("items"), body.get("empties", 0)
    if not isinstance(items, list):
        raise RejectError("a list of objects is expected", field="items")
    if not isinstance(empties, int):
        raise RejectError(f"{shown(empties, 40)} came, an integer is expected", field="empties")
    return items, empties, Part(release, _namespaces(body, "namespaces"), _namespaces(body, "scope"))


def _namespaces(body: dict[str, Any], field: str) -> frozenset[str] | None:
    given = body.get(field)
    if given is None:
        return None
    if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
        raise RejectError(f"{shown(given, 40)} came, a list of names of namespaces is expected", field=field)
    return frozenset(given)


def _catalogue_routes(catalogue: Catalogue) -> APIRouter:
    routes = APIRouter(prefix="/v1")

    @routes.get("/catalogue/state")
    def told(release: str = "") -> Response:
        return _json(catalogue.state().as_dict(release))

    @routes.get("/catalogue")
    def search(
        kind: str = "",
        namespace: str = "",
        name: str = "",
        owner: str = "",
        entity: str = "",
        feature: str = "",
        tag: Annotated[list[str], Query()] = [],  # noqa: B006 FastAPI copies it
        q: str = "",
        limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
        offset: Annotated[int, Query(ge=0, le=2**63 - 1)] = 0,
    ) -> Response:
        wanted = Search(canonical_kind(kind) if kind else "", namespace, name, owner, entity, feature, tag, q.split())
        items, total = catalogue.search(wanted, limit, offset)
        return _json({"items": items, "total": total})

    @routes.get("/catalogue/{kind}/{namespace}/{name}")
    def get(kind: str, namespace: str, name: str) -> Response:
        return _json(catalogue.get(canonical_kind(kind), namespace, name))

    @routes.put("/catalogue/{kind}")
    def replace(kind: str, body: Body, release: str = "") -> Response:
        kind = canonical_kind(kind)
        items, empties, part = _listed(body, release)
        return _json(catalogue.replace(kind, [entry(kind, item) for item in items], empties, part).as_dict(release))

    @routes.put("/catalogue/{kind}/{namespace}/{name}")
    def put(kind: str, namespace: str, name: str, body: Body, release: str = "") -> Response:
        metadata = body.get("metadata")
        named = {**(metadata if isinstance(metadata, dict) else {}), "namespace": namespace, "name": name}
        return _json(catalogue.put(entry(canonical_kind(kind), {**body, "metadata": named})).as_dict(release))

    @routes.delete("/catalogue/{kind}/{namespace}/{name}")
    def remove(kind: str, namespace: str, name: str, release: str = "") -> Response:
        return _json(catalogue.remove(canonical_kind(kind), namespace, name).as_dict(release))

    return routes


def _definition_routes(catalogue: Catalogue) -> APIRouter:
    routes = APIRouter(prefix="/v1")

    @routes.get("/definitions")
    def definitions(request: Request) -> Response:
        body, etag, edition = catalogue.definitions()
        headers = {"etag": etag, CATALOGUE: edition.catalogue, REVISION: str(edition.revision)}
        known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
        if etag in known or "*" in known:
            return Response(status_code=304, headers=headers)
        return Response(body, media_type="application/json", headers=headers)

    @routes.get("/feature-views/{namespace}/{name}/schemas")
    def all_schemas(namespace: str, name: str) -> Response:
        return _json({"items": catalogue.schemas(namespace, name)})

    @routes.get("/feature-views/{namespace}/{name}/schemas/{schema_hash}")
    def one_schema(namespace: str, name: str, schema_hash: str) -> Response:
        # Stored rows carry the first 8 bytes of the hash only, so its beginning is enough.
        prefix = schema_hash if schema_hash.startswith("sha256:") else f"sha256:{schema_hash}"
        return _json(catalogue.schemas(namespace, name, prefix)[0])

    return routes


def _feature_service_routes(services: FeatureServices) -> APIRouter:
    routes = APIRouter(prefix="/v1/feature-services")

    @routes.put("/{namespace}/{name}")
    def put(namespace: str, name: str, body: Body) -> Response:
        return _json(services.put(namespace, name, body))

    @routes.get("/{namespace}/{name}")
    def get(namespace: str, name: str) -> Response:
        return _json(services.get(namespace, name))

    @routes.delete("/{namespace}/{name}")
    def remove(namespace: str, name: str) -> Response:
        services.remove(namespace, name)
        return _json({})

    @routes.get("")
    def listed(namespace: str = "", limit: Annotated[int, Query(ge=1, le=10_000)] = 1000) -> Response:
        return _json({"items": services.list(namespace, limit)})

    return routes


def _run_routes(runs: Runs) -> APIRouter:
    routes = APIRouter(prefix="/v1")

    @routes.put("/runs/{name}")
    def put(name: str, body: Body) -> Response:
        runs.put(name, body)
        return _json({})

    @routes.get("/runs")
    def listed(
        kind: str = "",
        namespace: str = "",
        view: str = "",
        limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
    ) -> Response:
        return _json({"items": runs.list(kind=kind, namespace=namespace, view=view, limit=limit)})

    return routes


def _dataset_routes(datasets: Datasets) -> APIRouter:
    routes = APIRouter(prefix="/v1")

    @routes.put("/datasets/{identity}")
    def put(identity: str, body: Body) -> Response:
        datasets.put(identity, body)
        return _json({})

    @routes.get("/datasets/{identity}")
    def get(identity: str) -> Response:
        return _json(datasets.get(identity))

    @routes.get("/datasets")
    def listed(namespace: str = "", view: str = "", limit: Annotated[int, Query(ge=1, le=10_000)] = 100) -> Response:
        return _json({"items": datasets.list(namespace=namespace, view=view, limit=limit)})

    @routes.get("/feature-views/{namespace}/{name}/lineage")
    def lineage(namespace: str, name: str) -> Response:
        return _json(datasets.lineage(namespace, name))

    return routes


def _model_routes(models: RegisteredModels) -> APIRouter:
    routes = APIRouter(prefix="/v1")

    @routes.get("/registered-models/{name}/changes")
    def changes(name: str, alias: str = "", limit: Annotated[int, Query(ge=1, le=LIMIT)] = 100) -> Response:
        return _json({"items": models.changes(name, alias, limit)})

    return routes


def _json(content: object) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")
