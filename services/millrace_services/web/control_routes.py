"""The routes that every service has beside its own: what it is, its health, its metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from fastapi import FastAPI, Request, Response

from millrace_services.web.health import Health
from millrace_services.web.metrics import Metrics

# How long the answer to whether a service has started waits for it to be so; probes wait a little longer.
START_SECONDS: Final = 30.0
_READS: Final = ["GET", "HEAD"]


def add(api: FastAPI, health: Health, metrics: Metrics, served: Callable[[], list[str]]) -> None:
    """Adds them to a service's API; ``served`` lists all of its routes."""

    @api.api_route("/", methods=_READS, include_in_schema=False)
    async def where() -> dict[str, Any]:
        return {"service": api.title, "routes": served()}

    @api.api_route("/health/live", methods=_READS)
    async def live() -> dict[str, bool]:
        return {"live": True}

    @api.api_route("/health/ready", methods=_READS)
    async def ready(response: Response) -> dict[str, Any]:
        readiness = await health.readiness()
        response.status_code = 200 if readiness.ready else 503
        return readiness._asdict()

    @api.api_route("/health/started", methods=_READS)
    async def started(response: Response) -> dict[str, Any]:
        readiness = await health.start(START_SECONDS)
        response.status_code = 200 if readiness.ready else 503
        return readiness._asdict()

    @api.api_route("/metrics", methods=_READS, include_in_schema=False)
    async def scrape(request: Request) -> Response:
        body, content_type = metrics.render(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})
