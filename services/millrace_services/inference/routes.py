"""Control routes of the Open Inference Protocol v2: server and model metadata, health.

Health bodies carry both forms, ``live`` and ``ready``, because clients differ in which they read.
"""

from __future__ import annotations

from importlib.metadata import version as package_version
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from millrace_core.base.errors import RejectError
from millrace_core.base.shown import shown
from millrace_services.inference import protocol
from millrace_services.inference.served import Serving
from millrace_services.web.health import Health

_READS: Final = ["GET", "HEAD"]


def control_routes(serving: Serving, health: Health) -> APIRouter:
    """The routes beside ``infer`` and ``predict``."""
    routes = APIRouter()

    @routes.api_route("/v2", methods=_READS)
    async def server() -> dict[str, Any]:
        return {"name": "millrace", "version": package_version("millrace"), "extensions": ["binary_tensor_data"]}

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

    @routes.api_route("/v2/models/{model}", methods=_READS)
    @routes.api_route("/v2/models/{model}/versions/{version}", methods=_READS)
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
                **({"nan_on_blank_input": list(nan)} if (nan := data.session.nan_outputs) else {}),
            },
        }

    @routes.post("/v2/repository/index")
    async def index(request: Request) -> list[dict[str, Any]]:
        body = await request.body()
        only_ready = _is_true(protocol.parse_json(body) if body.strip() else {}, "ready")
        readiness = await health.readiness()
        if only_ready and not readiness.ready:
            return []
        state = "READY" if readiness.ready else "LOADING" if serving.data is None else "UNAVAILABLE"
        why = "; ".join(f"{name}: {text}" for name, text in readiness.checks.items() if text != "ok")
        return [{"name": serving.model.name, "version": serving.model.version, "state": state, "reason": why}]

    @routes.post("/v2/models/{model}/infer")
    @routes.post("/v2/models/{model}/versions/{version}/infer")
    async def unknown(model: str, version: str | None = None) -> None:
        # The model of this server has a hot route; what arrives here names another one.
        serving.known(model, version)

    return routes


def _is_true(document: dict[str, Any], key: str) -> bool:
    value = document.get(key, False)
    if type(value) is not bool:
        raise RejectError(f"{shown(value, 40)} came, true or false is expected", field=key, reason="BadRequest")
    return value
