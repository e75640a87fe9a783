"""Requests: what the server's answers mean, and what a caller that is cancelled leaves behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from aiohttp import web

from millrace_kube import errors
from millrace_kube.cache import Cache
from millrace_kube.cached_client import CachedClient
from millrace_kube.client import Client
from millrace_kube.connection import Connection, load
from millrace_kube.metrics import KubeMetrics
from millrace_kube.resources import CONFIG_MAPS, CRON_JOBS, PODS, Object
from millrace_local.apiserver.process import RunningServer
from millrace_local.node.report import remove
from tests.kube.cancelling import everywhere
from tests.operators.harness import Api


@pytest.fixture
async def client(server: RunningServer) -> AsyncIterator[Client]:
    async with Client(load(server.kubeconfig)) as client:
        yield client


@pytest.mark.parametrize(
    ("status", "reason", "kind", "retried"),
    [
        (0, "", errors.UnavailableError, True),
        (400, "BadRequest", errors.RefusedError, False),
        (401, "Unauthorized", errors.UnavailableError, True),
        (403, "Forbidden", errors.ForbiddenError, True),
        (404, "NotFound", errors.AbsentError, True),
        (409, "Conflict", errors.ConflictError, True),
        (409, "AlreadyExists", errors.AlreadyExistsError, True),
        (410, "Expired", errors.ExpiredError, True),
        (413, "RequestEntityTooLarge", errors.RefusedError, False),
        (422, "Invalid", errors.RefusedError, False),
        (429, "TooManyRequests", errors.UnavailableError, True),
        (500, "InternalError", errors.UnavailableError, True),
        (504, "Timeout", errors.UnavailableError, True),
    ],
)
def test_a_status_is_one_error_everywhere(status: int, reason: str, kind: type[Exception], retried: bool) -> None:
    error = errors.of(status, "GET /x", "no", reason, 3.0)
    assert type(error) is kind
    assert (error.status, error.delay) == (status, 3.0)
    assert isinstance(error, errors.RetryError) is retried
    assert isinstance(error, errors.RejectError) is not retried


def test_a_version_of_the_future_is_expired_whatever_the_status() -> None:
    assert type(errors.of(504, "watch /x", "Too large resource version: 9, current: 3")) is errors.ExpiredError


def config_map(namespace: str) -> Object:
    return {"metadata": {"name": "c", "namespace": namespace}}


CONFLICT = {"verb": "delete", "action": "status", "code": 409}


async def test_a_delete_that_conflicts_deletes_nothing_and_says_so(client: Client, api: Api) -> None:
    namespace = api.namespace()
    made = await client.create(CONFIG_MAPS, config_map(namespace))
    api.fault(CONFLICT)
    for uid in ("", made["metadata"]["uid"]):
        with pytest.raises(errors.ConflictError):
            await client.delete(CONFIG_MAPS, namespace, "c", uid=uid)
    api.no_faults()
    assert await client.delete(CONFIG_MAPS, namespace, "c", uid=made["metadata"]["uid"])


async def test_a_delete_that_conflicts_because_the_object_is_another_or_gone_has_nothing_to_do(
    client: Client, api: Api
) -> None:
    namespace = api.namespace()
    first = await client.create(CONFIG_MAPS, config_map(namespace))
    await client.delete(CONFIG_MAPS, namespace, "c")
    assert not await client.delete(CONFIG_MAPS, namespace, "c", uid=first["metadata"]["uid"])
    second = await client.create(CONFIG_MAPS, config_map(namespace))
    assert not await client.delete(CONFIG_MAPS, namespace, "c", uid=first["metadata"]["uid"])
    assert api.get(CONFIG_MAPS, namespace, "c") == second
    api.delete(CONFIG_MAPS, namespace, "c")
    api.fault(CONFLICT)
    assert not await client.delete(CONFIG_MAPS, namespace, "c")


async def test_what_conflicts_when_it_is_deleted_stays_in_the_cache(client: Client, api: Api) -> None:
    namespace = api.namespace()
    cluster = CachedClient(client, Cache())
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "x"}]}}
    spec = {"schedule": "0 0 * * *", "jobTemplate": {"spec": {"template": template}}}
    await cluster.apply(CRON_JOBS.typed({"metadata": {"name": "n", "namespace": namespace}, "spec": spec}))
    api.fault(CONFLICT)
    with pytest.raises(errors.ConflictError):
        await cluster.delete(CRON_JOBS, namespace, "n")
    assert cluster.cache.get(CRON_JOBS, namespace, "n") is not None


async def test_a_pod_whose_deletion_conflicts_is_deleted_later(client: Client, api: Api) -> None:
    namespace = api.namespace()
    spec = {"containers": [{"name": "main", "image": "x"}]}
    pod = await client.create(PODS, {"metadata": {"name": "p", "namespace": namespace}, "spec": spec})
    api.fault({**CONFLICT, "times": 1})
    await remove(client, pod)
    assert api.get(PODS, namespace, "p") is None


class ForgetfulServer:
    """A server whose pages expire before the next one is asked for."""

    def __init__(self) -> None:
        self.lists: list[dict[str, str]] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.lists.append(dict(request.query))
        if "continue" in request.query:
            expired = {"kind": "Status", "code": 410, "reason": "Expired", "message": "the continue token is too old"}
            return web.json_response(expired, status=410)
        names, metadata = ["a", "b", "c"], {"resourceVersion": str(len(self.lists))}
        if "limit" in request.query:
            names, metadata["continue"] = names[:2], "token"
        return web.json_response({"items": [{"metadata": {"name": name}} for name in names], "metadata": metadata})


async def test_a_list_that_the_server_forgets_between_two_pages_is_asked_for_as_a_whole() -> None:
    forgetful = ForgetfulServer()
    async with serving(forgetful.answer) as url, Client(Connection(url)) as client:
        items, version = await client.list(CONFIG_MAPS, "n", labels="team=a")
    assert [item["metadata"]["name"] for item in items] == ["a", "b", "c"]
    assert version == "3"
    assert forgetful.lists[2] == {"labelSelector": "team=a"}


@pytest.mark.parametrize("body", ["", "<html>Log in</html>", '{"items": [', "[]", '"ok"', "{}", '{"kind": "Status"}'])
async def test_an_answer_of_200_that_is_no_list_is_tried_again_and_not_taken_for_an_empty_one(body: str) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(text=body)

    async with serving(answer) as url, Client(Connection(url)) as client:
        with pytest.raises(errors.UnavailableError, match="GET /api/v1/namespaces/n/configmaps: the answer is no"):
            await client.list(CONFIG_MAPS, "n")


@asynccontextmanager
async def serving(answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


class Guarded:
    """A server that takes only the newest token, and counts what is under way."""

    def __init__(self) -> None:
        self.url = ""
        self.token = "old"
        self.logins = 0
        self.may_log_in = asyncio.Event()
        self.may_log_in.set()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.json_response({"message": "who are you?", "reason": "Unauthorized"}, status=401)
        if "watch" in request.query:
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(b'{"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "8"}}}\n')
            await asyncio.sleep(0.01)
            return response
        return web.json_response({"items": [], "metadata": {"name": "c", "resourceVersion": "7", "uid": "u"}})

    def connection(self) -> Connection:
        return Connection(self.url, headers={"Authorization": f"Bearer {self.token}"})

    async def log_in(self) -> Connection:
        await self.may_log_in.wait()
        await asyncio.sleep(0)
        self.logins += 1
        return self.connection()


@pytest.fixture
async def guarded() -> AsyncIterator[Guarded]:
    server = Guarded()
    async with serving(server.answer) as server.url:
        yield server


async def test_after_a_401_one_log_in_serves_all_who_were_refused(guarded: Guarded) -> None:
    metrics = KubeMetrics()
    async with Client(guarded.connection(), metrics=metrics, reconnect=guarded.log_in) as client:
        guarded.token = "new"
        guarded.may_log_in.clear()
        asked = [asyncio.create_task(client.get(CONFIG_MAPS, "n", "c")) for _ in range(5)]
        await until(lambda: metrics.requests.labels("GET", "ConfigMap", "401")._value.get() == len(asked))
        guarded.may_log_in.set()
        refused = await asyncio.gather(*asked, return_exceptions=True)
        assert [getattr(error, "status", None) for error in refused] == [401] * 5
        assert guarded.logins == 1
        assert await client.get(CONFIG_MAPS, "n", "c")


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.01)


async def watched(client: Client) -> None:
    events = client.watch(CONFIG_MAPS, "7")
    try:
        async for _ in events:
            pass
    finally:
        await events.aclose()


VERBS: dict[str, Callable[[Client], Awaitable[Any]]] = {
    "get": lambda client: client.get(CONFIG_MAPS, "n", "c"),
    "list": lambda client: client.list(CONFIG_MAPS),
    "create": lambda client: client.create(CONFIG_MAPS, config_map("n")),
    "patch": lambda client: client.patch(CONFIG_MAPS, "n", "c", {}),
    "delete": lambda client: client.delete(CONFIG_MAPS, "n", "c"),
    "watch": watched,
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("expired", [False, True], ids=["logged in", "logging in again"])
async def test_a_cancelled_request_leaves_nothing_half_held(guarded: Guarded, verb: str, expired: bool) -> None:
    places = 0

    async def ask() -> None:
        if expired:
            guarded.token = f"{guarded.token}+"
        with suppress(errors.UnavailableError):  # the 401
            await VERBS[verb](client)

    async with Client(guarded.connection(), reconnect=guarded.log_in) as client:
        async for place in everywhere(ask):
            places = place
            assert not client._reconnecting.locked()
            assert not client._session.connector._acquired, "a connection is still in use"
            async with asyncio.timeout(5):
                with suppress(errors.UnavailableError):  # the cancel came before the log-in
                    await client.get(CONFIG_MAPS, "n", "c")
                assert await client.get(CONFIG_MAPS, "n", "c")
    assert places > 1
