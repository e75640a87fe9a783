"""What clients see while pods fail, by the rules that the operator writes, through a real Envoy."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from tests.local.mesh import objects as o
from tests.local.mesh.conftest import Rig

HOST = "rec.default.svc.cluster.local"
RETRY_ON = "connect-failure,refused-stream,reset-before-request,reset,503,unavailable"
RETRIES = {"retries": {"attempts": 2, "perTryTimeout": "2s", "retryOn": RETRY_ON}, "timeout": "50s"}
NO_RETRIES = {"retries": {"attempts": 0}, "timeout": "50s"}
EJECTION = {
    "consecutive5xxErrors": 0,
    "consecutiveGatewayErrors": 3,
    "interval": "1s",
    "baseEjectionTime": "300s",
    "maxEjectionPercent": 100,
    "minHealthPercent": 1,
}
GOOD, BAD = "127.77.0.1", "127.77.0.2"

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]


async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """As a process that was stopped: its kernel accepts, and nobody reads."""
    await reader.read(-1)


async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As a process that is killed while it answers."""
    await reader.readuntil(b"\r\n\r\n")
    writer.transport.abort()


async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As a pod that loads its model."""
    while True:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\n{}")


async def fail(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As a model that raises."""
    while True:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 2\r\n\r\n{}")


@asynccontextmanager
async def bad_pod(rig: Rig, answer: Answer) -> AsyncIterator[Counter[str]]:
    """A pod that answers so; how many connections it had, under ``bad``."""
    seen: Counter[str] = Counter()
    writers: list[asyncio.StreamWriter] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen["bad"] += 1
        writers.append(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await answer(reader, writer)

    server = await asyncio.start_server(connected, BAD, rig.backends.port)
    try:
        yield seen
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()


def objects(rig: Rig, route: dict[str, Any], pods: dict[str, str], **policy: Any) -> dict[str, Any]:
    http = [{"route": [o.destination("rec-arms", "v1")], **route}]
    return {
        "services": [o.service("rec"), o.service("rec-arms")],
        "endpoint_slices": [o.endpoint_slice("rec-arms", pods, port=rig.backends.port)],
        "pods": [o.pod(name, arm="v1") for name in pods],
        "destination_rules": [o.destination_rule("rec-arms", {"v1": {"arm": "v1"}}, **policy)],
        "virtual_services": [o.virtual_service("rec", http)],
    }


@pytest.mark.parametrize("answer", [hang, break_off, refuse])
async def test_another_pod_answers_what_one_does_not(rig: Rig, answer: Answer) -> None:
    await rig.backends.start(GOOD, "good")
    async with bad_pod(rig, answer) as seen:
        assert await rig.apply(**objects(rig, RETRIES, {"good": GOOD, "bad": BAD})) == ()
        answers = await asyncio.gather(*(rig.get(HOST, method="POST") for _ in range(20)))
    assert [status for status, _ in answers] == [200] * 20
    assert seen["bad"] > 0


async def test_a_pod_that_nobody_answers_for_is_left_for_another_one(rig: Rig) -> None:
    await rig.backends.start(GOOD, "good")
    await rig.apply(**objects(rig, RETRIES, {"good": GOOD, "gone": BAD}))
    assert await rig.pods(HOST, 80) == {"good": 80}


async def test_the_models_own_error_is_an_answer_and_ejects_nobody(rig: Rig) -> None:
    await rig.backends.start(GOOD, "good")
    async with bad_pod(rig, fail):
        await rig.apply(**objects(rig, RETRIES, {"good": GOOD, "bad": BAD}, outlierDetection=EJECTION))
        found = await rig.pods(HOST, 80)
        assert found[500] > 3
        assert await rig.counter(r"cluster\..*\.outlier_detection\.ejections_enforced_total") == 0


@pytest.mark.parametrize(
    ("answer", "timeout"), [(break_off, "50s"), (refuse, "50s"), pytest.param(hang, "3s", marks=pytest.mark.slow)]
)
async def test_while_nothing_is_retried_a_failing_pod_is_ejected_after_three_requests(
    rig: Rig, answer: Answer, timeout: str
) -> None:
    await rig.backends.start(GOOD, "good")
    async with bad_pod(rig, answer):
        route = {**NO_RETRIES, "timeout": timeout}
        await rig.apply(**objects(rig, route, {"good": GOOD, "bad": BAD}, outlierDetection=EJECTION))
        lost = 0
        while not await rig.counter(r"cluster\..*\.outlier_detection\.ejections_active"):
            lost += (await rig.get(HOST))[0] in {503, 504}
        assert lost == 3
        assert await rig.pods(HOST, 80) == {"good": 80}


async def test_an_arm_whose_pods_all_fail_shows_that_it_does(rig: Rig) -> None:
    async with bad_pod(rig, refuse):
        await rig.apply(**objects(rig, NO_RETRIES, {"bad": BAD}, outlierDetection=EJECTION))
        answers = [await rig.get(HOST) for _ in range(20)]
        assert answers == [(503, {})] * 20
        assert await rig.counter(r"cluster\..*\.outlier_detection\.ejections_active") == 1
