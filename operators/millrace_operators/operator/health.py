"""``/health/live``, ``/health/ready`` and ``/metrics`` of the operator.

Live: the event loop answers. Ready: this process leads and its cache is complete; a stand-by is live and not ready.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson
import uvicorn
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from uvicorn.server import ServerState

from millrace_core.base.callers import CallerRule
from millrace_core.base.errors import RejectError
from millrace_http.guard import Guard
from millrace_http.limits import Limits
from millrace_http.protocol import GuardedProtocol
from millrace_kube.metrics import KubeMetrics

# Name of a check to the empty string, or to what is wrong.
Checks = Callable[[], Mapping[str, str]]
# Status, content type, body.
Answer = tuple[int, str, bytes]

# Probes and scrapes: small, few, without a body.
LIMITS = Limits(body_bytes=64 * 1024, idle_seconds=120, connections=256, connections_per_client=64)
_JSON = "application/json"


@asynccontextmanager
async def serve(
    host: str, port: int, checks: Checks, metrics: KubeMetrics, allowed_hosts: Sequence[str] = ()
) -> AsyncIterator[int]:
    """Serves while the context is open; gives the port. With ``allowed_hosts`` no others, and no web pages, are served.

    Raises:
        RejectError: the address is in use or not this machine's.
    """
    guard, state = Guard(LIMITS), ServerState()
    config = uvicorn.Config(
        _application(checks, metrics, CallerRule(allowed_hosts) if allowed_hosts else None),
        interface="asgi3",
        ws="none",
        lifespan="off",
        access_log=False,
        proxy_headers=False,
        log_config=None,
        timeout_keep_alive=int(LIMITS.idle_seconds),
    )
    config.load()

    def connection() -> GuardedProtocol:
        return GuardedProtocol(guard, config=config, server_state=state, app_state={})

    try:
        server = await asyncio.get_running_loop().create_server(connection, host, port)
    except OSError as error:
        raise RejectError(
            f"cannot listen on {host}:{port}: {error.strerror}",
            hint="Set MILLRACE_HEALTH_PORT to a free port, or stop what uses it",
            field="MILLRACE_HEALTH_PORT",
            reason="PortInUse",
        ) from error
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for each in list(state.connections):
            each.shutdown()


def _application(
    checks: Checks, metrics: KubeMetrics, callers: CallerRule | None
) -> Callable[[Any, Any, Any], Awaitable[None]]:
    def live() -> Answer:
        return 200, _JSON, orjson.dumps({"live": True})

    def ready() -> Answer:
        found = checks()
        is_ready = not any(found.values())
        answer = {"ready": is_ready, "checks": {name: text or "ok" for name, text in found.items()}}
        return 200 if is_ready else 503, _JSON, orjson.dumps(answer)

    def scrape() -> Answer:
        return 200, CONTENT_TYPE_LATEST, generate_latest(metrics.registry)

    routes = {"/health/live": live, "/health/ready": ready, "/metrics": scrape}

    async def application(scope: Any, _: Any, send: Any) -> None:
        method, path = scope["method"], scope["path"]
        if why := _refusal(callers, scope["headers"]):
            status, kind, body = _error(403, why, "Forbidden")
        elif path not in routes:
            status, kind, body = _error(404, f"no route {method} {path[:200]}", "NotFound")
        elif method not in ("GET", "HEAD"):
            status, kind, body = _error(405, f"{method} came, GET is expected", "Invalid")
        else:
            status, kind, body = routes[path]()
        headers = [(b"content-type", kind.encode()), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return application


def _refusal(callers: CallerRule | None, headers: Sequence[tuple[bytes, bytes]]) -> str:
    if callers is None:
        return ""
    seen = {name: value.decode("latin-1") for name, value in headers}
    return callers.refusal_of_sender(seen.get(b"host", ""), seen.get(b"origin"))


def _error(status: int, sentence: str, reason: str) -> Answer:
    return status, _JSON, orjson.dumps({"error": sentence, "reason": reason})
