"""Control routes of the Open Inference Protocol v2: server and model metadata, health.

Health bodies carry both forms, ``live`` and ``ready``, because clients differ in which they read.
"""

from __future__ import annotations

from importlib.metadata import version as package_version
from typing import Any

from fastapi import APIRouter, Response

from millrace_services.inference.served import Serving
from millrace_services.web.health import Health


def control_routes(serving: Serving, health: Health) -> APIRouter:
    """The routes beside ``infer`` and ``predict``."""
    routes = APIRouter()

    @routes.get("/v2")
    async def server() -> dict[str, Any]:
        return {"name": "millrace", "version": package_version("millrace"), "extensions": []}

    @routes.get("/v2/health/live")
    async def live() -> dict[str, Any]:
        return {"live": True}

    @routes.get("/v2/health/ready")
    async def ready(response: Response) -> dict[str, Any]:
        readiness = await health.readiness()
        response.status_code = 200 if readiness.ready else 503
        return {"live": True, **readiness._asdict()}

    @routes.get("/v2/models/{model}/ready")
    @routes.get("/v2/models/{model}/versions/{version}/ready")
    async def model_ready(response: Response, model: str, version: str | None = None) -> dict[str, Any]:
        serving.known(model, version)
        readiness = await health.readiness()
        response.status_code = 200 if readiness.ready else 503
        return {"name": model, **readiness._asdict()}

    @routes.get("/v2/models/{model}")
    @routes.get("/v2/models/{model}/versions/{version}")
    async def metadata(model: str, version: str | None = None) -> dict[str, Any]:
        serving.known(model, version)
        data = serving.loaded()
        return {
            "name": model,
            "versions": [serving.model.version],
            "platform": "onnxruntime_onnx",
            "inputs": [spec.described() for spec in data.signature.inputs.values()],
            "outputs": [spec.described() for spec in data.signature.outputs.values()],
            "parameters": {
                "device": data.session.device,
                "batching": data.session.batching.described(),
                "deployment": serving.model.deployment,
                "digest": serving.model.digest,
            },
        }

    @routes.post("/v2/models/{model}/infer")
    @routes.post("/v2/models/{model}/versions/{version}/infer")
    async def unknown(model: str, version: str | None = None) -> None:
        # The model of this server has a hot route; what arrives here names another one.
        serving.known(model, version)

    return routes
