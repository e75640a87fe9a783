"""Events: once each, or counted up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from millrace_kube import errors
from millrace_kube.client import Client
from millrace_kube.connection import load
from millrace_kube.events import Emit, Recorder
from millrace_kube.resources import CONFIG_MAPS, EVENTS, FEATURE_VIEWS, Object, namespace_of
from millrace_local.apiserver.process import RunningServer
from tests.builders import feature_view
from tests.operators.harness import Api, eventually, operators

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture
async def client(server: RunningServer) -> AsyncIterator[Client]:
    async with Client(load(server.kubeconfig)) as client:
        yield client


@pytest.fixture
def about(api: Api) -> Object:
    return api.create(CONFIG_MAPS, {"metadata": {"name": "c", "namespace": api.namespace()}})


def found(api: Api, about: Object) -> list[tuple[str, str, int]]:
    events = api.list(EVENTS, about["metadata"]["namespace"])
    return [(event["type"], event["reason"], event["count"]) for event in events]


async def written(recorder: Recorder) -> None:
    stop = asyncio.Event()
    stop.set()
    await recorder.run(stop)


async def test_an_event_repeated_is_counted_also_by_the_next_recorder(client: Client, api: Api, about: Object) -> None:
    for _ in range(2):
        recorder = Recorder(client, "test")
        for _ in range(3):
            recorder.enqueue(about, "Warning", "Odd", "something is odd")
        await written(recorder)
    assert found(api, about) == [("Warning", "Odd", 6)]


async def test_an_event_that_has_expired_is_written_anew(client: Client, api: Api, about: Object) -> None:
    recorder = Recorder(client, "test")
    for _ in range(2):
        recorder.enqueue(about, "Normal", "Odd", "something is odd")
        await written(recorder)
        [event] = api.list(EVENTS, about["metadata"]["namespace"])
        api.delete(EVENTS, about["metadata"]["namespace"], event["metadata"]["name"])
    recorder.enqueue(about, "Normal", "Odd", "something is odd")
    await written(recorder)
    assert found(api, about) == [("Normal", "Odd", 1)]


async def test_an_event_of_an_identity_is_written_once_however_often_it_is_tried(
    client: Client, api: Api, about: Object
) -> None:
    for _ in range(3):
        await Recorder(client, clock=lambda: AT).emit(about, "Normal", "Turned", "it turned", identity=["a", 1])
    await Recorder(client).emit(about, "Normal", "Turned", "it turned", identity=["a", 2])
    assert found(api, about) == [("Normal", "Turned", 1)] * 2


@pytest.mark.parametrize("fault", [{"action": "status", "code": 500}, {"action": "drop"}, {"action": "dropAfter"}])
async def test_an_event_that_is_not_answered_holds_nothing_up_and_is_written_later(
    client: Client, api: Api, about: Object, fault: Object
) -> None:
    api.fault({"verb": "create", "resource": "events", "times": 4, **fault})
    recorder = Recorder(client)
    await recorder.emit(about, "Normal", "Turned", "it turned", identity=1)
    recorder.enqueue(about, "Normal", "Odd", "something is odd")
    stop = asyncio.Event()
    running = asyncio.create_task(recorder.run(stop))
    await eventually(lambda: {reason for _, reason, _ in found(api, about)} == {"Turned", "Odd"})
    stop.set()
    await running


async def test_an_event_that_must_not_be_written_is_forgotten_and_those_after_it_are_not(
    client: Client, api: Api, about: Object
) -> None:
    api.fault({"verb": "create", "resource": "events", "times": 2, "action": "status", "code": 403})
    recorder = Recorder(client)
    await recorder.emit(about, "Normal", "Turned", "it turned", identity=1)
    recorder.enqueue(about, "Normal", "Odd", "something is odd")
    recorder.enqueue(about, "Normal", "Even", "something is even")
    await written(recorder)
    assert [reason for _, reason, _ in found(api, about)] == ["Even"]


async def test_a_process_that_lost_the_lease_hears_so_when_it_tells_an_event(client: Client, about: Object) -> None:
    def fence() -> None:
        raise errors.LostLeadershipError("not leading")

    client.fence = fence
    with pytest.raises(errors.LostLeadershipError):
        await Recorder(client).emit(about, "Normal", "Turned", "it turned", identity=1)


async def test_what_a_status_write_tells_is_not_told_where_it_lost_to_somebody_elses(
    client: Client, api: Api, about: Object
) -> None:
    """Its answer did not come, and the object is newer, but for another write."""
    recorder = Recorder(client)
    also = [Emit(about, "Normal", "Turned", "it turned", 1)]
    with pytest.raises(TimeoutError):
        async with recorder.of_status(about, {"phase": "ours"}, [], also):
            raise TimeoutError
    newer = {**about, "metadata": {**about["metadata"], "resourceVersion": "1000000"}, "status": {"phase": "theirs"}}
    async with recorder.of_status(newer, {"phase": "theirs"}, [], []):
        pass
    assert found(api, about) == []


async def test_what_waits_is_written_when_the_operators_end(server: RunningServer, api: Api, about: Object) -> None:
    api.fault({"verb": "create", "resource": "events", "action": "status", "code": 503})
    async with operators(server, lambda _: ()) as running:
        recorder = running.runtime.cluster.events
        recorder.enqueue(about, "Normal", "Odd", "something is odd")
        await recorder.emit(about, "Normal", "Turned", "it turned", identity=1)
        await eventually(lambda: api.rules()[0]["fired"] >= 5)  # its next try is seconds away
        api.no_faults()
    assert sorted(reason for _, reason, _ in found(api, about)) == ["Odd", "Turned"]


@pytest.mark.parametrize("done", [True, False], ids=["took effect", "did not"])
async def test_what_a_status_write_tells_is_told_where_it_is_cut_off_by_the_end_and_took_effect(
    client: Client, api: Api, about: Object, done: bool
) -> None:
    view = api.create(FEATURE_VIEWS, feature_view("v").having("metadata.namespace", namespace_of(about)).build())
    status = {"watermark": "2026-01-01T00:00:00Z"}
    recorder = Recorder(client)

    async def cut_off() -> None:
        async with recorder.of_status(view, status, [], [Emit(view, "Normal", "Turned", "it turned", 1)]):
            if done:
                api.merge(FEATURE_VIEWS, namespace_of(about), "v", {"status": status}, "status")
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await cut_off()
    await written(recorder)
    assert [reason for _, reason, _ in found(api, about)] == ["Turned"] * done


async def test_what_is_told_after_a_status_write_is_told_where_the_end_comes_in_between(
    client: Client, api: Api, about: Object
) -> None:
    api.fault({"verb": "create", "resource": "events", "action": "latency", "seconds": 60, "times": 1})
    recorder = Recorder(client)
    also = [Emit(about, "Normal", reason, "it turned", reason) for reason in ("One", "Two")]

    async def write() -> None:
        async with recorder.of_status(about, {"phase": "ours"}, [], also):
            pass

    writing = asyncio.create_task(write())
    await eventually(lambda: api.rules()[0]["fired"])
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    await written(recorder)
    assert {"One", "Two"} == {reason for _, reason, _ in found(api, about)}
