"""Control routes of the Open Inference Protocol v2: server and model metadata, health.

Health bodies carry both forms, ``live`` and ``ready``, because clients differ in which they read.
"""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request, Response

from millrace_core.base.errors import RejectError
from millrace_core.base.shown import shown
from millrace_services.inference import metadata, protocol
from millrace_services.inference.served import Serving
from millrace_services.web.health import Health

_READS: Final = ["GET", "HEAD"]


def control_routes(serving: Serving, health: Health) -> APIRouter:
    """The routes beside ``infer`` and ``predict``."""
    routes = APIRouter()
    _add_health(routes, serving, health)

    @routes.api_route("/v2", methods=_READS)
    async def server() -> dict[str, Any]:
        return metadata.of_server()

    @routes.api_route("/v2/models/{model}", methods=_READS)
    @routes.api_route("/v2/models/{model}/versions/{version}", methods=_READS)
    async def model_metadata(model: str, version: str | None = None) -> dict[str, Any]:
        return metadata.of_model(serving, model, version)

    @routes.post("/v2/repository/index")
    async def index(request: Request) -> list[dict[str, Any]]:
        body = await request.body()
        only_ready = _is_true(protocol.parse_json(body) if body.strip() else {}, "ready")
        return await metadata.index(serving, health, only_ready=only_ready)

    @routes.post("/v2/models/{model}/infer")
    @routes.post("/v2/models/{model}/versions/{version}/infer")
    async def unknown(model: str, version: str | None = None) -> None:
        # The model of this server has a hot route; what arrives here names another one.
        serving.known(model, version)

    return routes


def _add_health(routes: APIRouter, serving: Serving, health: Health) -> None:
    @routes.api_route("/v2/health/live", methods=_READS)
    async def live() -> dict[str, Any]:
        return {"live": True}

    @routes.api_route("/v2/health/ready", methods=_READS)
    async def ready(response: Response) -> dict[str, Any]:
        readiness = await health.readiness()
        response.status_code = 200 if readiness.ready else 503
        return {"live": True, **readiness._asdict()}

    @routes.api_route("/v2/models/{model}/ready", methods=_READS)
    @routes.api_route("/v2/models/{model}/versions/{version}/ready", methods=_READS)
    async def model_ready(response: Response, model: str, version: str | None = None) -> dict[str, Any]:
        serving.known(model, version)
        readiness = await health.readiness()
        response.status_code = 200 if readiness.ready else 503
        return {"name": model, **readiness._asdict()}


def _is_true(document: dict[str, Any], key: str) -> bool:
    value = document.get(key, False)
    if type(value) is not bool:
        raise RejectError(f"{shown(value, 40)} came, true or false is expected", field=key, reason="BadRequest")
    return value
