"""Checks against real servers: one that answers, one that does not, one with a password."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web

from millrace_local.stack import health, launch
from millrace_local.stack.health import Check, HeartbeatCheck, HttpCheck, RedisCheck
from tests.kube.test_connection import write
from tests.local.mesh.conftest import free_port


async def failure(check: Check, since: float = 0.0) -> str:
    """Runs the check in another thread, since the servers run in this one."""
    return await asyncio.to_thread(health.failure, check, since)


@asynccontextmanager
async def answering(status: int, body: str, socket: Path | None = None) -> AsyncIterator[int]:
    async def response(request: web.Request) -> web.Response:
        return web.Response(status=status, text=body + request.headers["Host"].partition(":")[0])

    app = web.Application()
    app.router.add_get("/{tail:.*}", response)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    port = free_port()
    await (web.UnixSite(runner, str(socket)) if socket else web.TCPSite(runner, "127.0.0.1", port)).start()
    try:
        yield port
    finally:
        await runner.cleanup()


async def test_a_server_passes_with_200_and_fails_with_its_own_words() -> None:
    async with answering(200, "") as port:
        assert await failure(HttpCheck(port)) == ""
    assert "refused" in await failure(HttpCheck(port))
    async with answering(503, "not yet, ") as port:
        assert await failure(HttpCheck(port, host="a.b.svc")) == "answered 503: not yet, a.b.svc"


async def test_a_unix_socket_deep_in_the_tree_is_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("x" * 120)
    deep.mkdir()
    monkeypatch.chdir(deep)
    async with answering(200, "", Path("admin.sock")):
        assert await failure(HttpCheck(socket=deep / "admin.sock")) == ""
    assert await failure(HttpCheck(socket=tmp_path / "gone" / "admin.sock"))


@pytest.mark.parametrize(
    ("ago", "since", "said"),
    [(1, 5, ""), (60, 100, "its last heartbeat was 60 s ago"), (3, 2, "no new heartbeat yet")],
)
async def test_a_heartbeat_counts_while_it_is_fresh_and_of_this_life(
    ago: int, since: int, said: str, tmp_path: Path
) -> None:
    seen: list[str] = []
    renewed = (datetime.now(UTC) - timedelta(seconds=ago)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    async def lease(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization", ""))
        return web.json_response(json.loads(json.dumps({"spec": {"renewTime": renewed}})))

    app = web.Application()
    app.router.add_get("/lease", lease)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        known = write(tmp_path, server=f"http://127.0.0.1:{port}", user={"token": "t"})
        assert await failure(HeartbeatCheck(known, "/lease", 40.0), time.time() - since) == said
        assert await failure(HeartbeatCheck(known, "/none", 40.0)) == "not registered yet"
        assert seen == ["Bearer t"]
        assert "cannot read the kubeconfig" in await failure(HeartbeatCheck(tmp_path / "none", "/lease", 40.0))
    finally:
        await runner.cleanup()


async def test_a_store_is_asked_with_its_password() -> None:
    port = free_port()
    command = [
        launch.programs().store,
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--requirepass",
        "s p",
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            async with asyncio.timeout(20):
                while await failure(RedisCheck(f"redis://:s%20p@127.0.0.1:{port}")):
                    await asyncio.sleep(0.02)
            assert "NOAUTH" in await failure(RedisCheck(f"redis://127.0.0.1:{port}"))
            assert "WRONGPASS" in await failure(RedisCheck(f"redis://:no@127.0.0.1:{port}"))
        finally:
            process.terminate()
