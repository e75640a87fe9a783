"""``/health/live``, ``/health/ready`` and ``/metrics`` of the operator.

Live: the event loop answers. Ready: this process leads and its cache is complete; a stand-by is live and not ready,
nor is one that is refused a list: it says which, and goes on where it is not.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from millrace_core.base.errors import RejectError
from millrace_kube.metrics import KubeMetrics

# Name of a check to the empty string, or to what is wrong.
Checks = Callable[[], Mapping[str, str]]


@asynccontextmanager
async def serve(host: str, port: int, checks: Checks, metrics: KubeMetrics) -> AsyncIterator[int]:
    """Serves while the context is open; gives the port.

    Raises:
        RejectError: the address is in use or not this machine's.
    """

    async def live(_: web.Request) -> web.Response:
        return web.json_response({"live": True})

    async def ready(_: web.Request) -> web.Response:
        wrong = {name: text for name, text in checks().items() if text}
        answer = {"ready": not wrong, "checks": {name: text or "ok" for name, text in checks().items()}}
        return web.json_response(answer, status=503 if wrong else 200)

    async def scrape(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes(
        [web.get("/health/live", live), web.get("/health/ready", ready), web.get("/metrics", scrape)],
    )
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise RejectError(
                f"cannot listen on {host}:{port}: {error.strerror}",
                hint="Set MILLRACE_HEALTH_PORT to a free port, or stop what uses it",
                field="MILLRACE_HEALTH_PORT",
                reason="PortInUse",
            ) from error
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
