"""Whoever is cancelled, wherever it waits, leaves nothing half-held: no task, no connection, no key, no Lease."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial

import pytest

from millrace_kube import kopf_streams
from millrace_kube.client import Client
from millrace_kube.connection import connect, load
from millrace_kube.events import Recorder
from millrace_kube.informer import Informer, Informers
from millrace_kube.lease import LeaderLease
from millrace_kube.loop import Loop
from millrace_kube.queue import Key, Requeue, WorkQueue
from millrace_kube.resources import CONFIG_MAPS, FEATURE_VIEWS, LEASES, PODS
from millrace_kube.stopping import until
from millrace_kube.store import Store
from millrace_local.apiserver.process import RunningServer
from tests.kube.cancelling import everywhere
from tests.operators.harness import Api, eventually


@pytest.fixture
async def client(server: RunningServer) -> AsyncIterator[Client]:
    async with Client(load(server.kubeconfig)) as client:
        yield client


def others() -> set[asyncio.Task[object]]:
    """The tasks beside this one, but for the server's that fixtures run."""
    return {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}


async def test_an_informer_leaves_no_connection_and_a_store_that_the_next_one_makes_true(
    client: Client, api: Api
) -> None:
    namespace = api.namespace()
    for number in range(3):
        api.create(CONFIG_MAPS, {"metadata": {"name": f"c{number}", "namespace": namespace}})
    store, before = Store(CONFIG_MAPS), others()
    store.subscribe(lambda _old, _new: None)

    async def follow() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                await Informer(client, store).run()

    places = 0
    async for place in everywhere(follow, at_most=8):
        places = place
        assert others() == before
        assert not client._session.connector._acquired
        name = f"later-{place}"
        api.create(CONFIG_MAPS, {"metadata": {"name": name, "namespace": namespace}})
        following = asyncio.create_task(Informer(client, store).run())
        await eventually(lambda name=name: store.get(namespace, name))
        following.cancel()
        await asyncio.wait([following])
    assert places >= 4


async def test_informers_end_together(client: Client) -> None:
    before = others()
    informers = Informers(client)
    for resource in (CONFIG_MAPS, PODS):
        informers.of(resource)
    async for place in everywhere(informers.run, at_most=1):
        assert place == 1
        assert others() == before
    running = asyncio.create_task(informers.run())
    await informers.synced()
    running.cancel()
    await asyncio.wait([running])
    assert others() == before
    assert not client._session.connector._acquired


async def test_a_candidate_that_is_cut_off_leads_only_where_the_lease_says_so_and_lets_go(
    client: Client, api: Api
) -> None:
    namespace, number = api.namespace(), 0

    def candidate(name: str) -> LeaderLease:
        return LeaderLease(
            client, namespace, "operator", name, is_dead=lambda _: False, clock=lambda: 0.0, retry=0.02, answer=60
        )

    mine = candidate("0")

    async def acquire() -> None:
        nonlocal mine, number
        number += 1
        mine = candidate(str(number))
        await mine.acquire()

    places = 0
    async for place in everywhere(acquire):
        places = place
        stored = api.get(LEASES, namespace, "operator")
        holder = stored["spec"].get("holderIdentity") if stored else None
        assert not mine.held or holder == str(number)
        await mine.release()
        async with asyncio.timeout(60):  # a Lease that was not let go is never free: its time does not pass
            other = candidate("other")
            await other.acquire()
            await other.release()
    assert places > 2


async def test_a_leader_that_is_cut_off_while_it_lets_go_leads_no_more(client: Client, api: Api) -> None:
    namespace = api.namespace()
    mine = LeaderLease(client, namespace, "operator", "mine", is_dead=lambda _: False, retry=0.02, answer=60)

    async def lead_and_let_go() -> None:
        await mine.release()

    await mine.acquire()
    async for _ in everywhere(lead_and_let_go):
        assert not mine.held
        await mine.acquire()


async def test_a_leader_that_is_cut_off_while_it_renews_keeps_what_it_had(client: Client, api: Api) -> None:
    namespace = api.namespace()
    now = [0.0]
    mine = LeaderLease(
        client, namespace, "operator", "mine", is_dead=lambda _: False, clock=lambda: now[0], retry=0.3, answer=60
    )
    await mine.acquire()

    async for _ in everywhere(mine.keep, at_most=5):
        assert mine.held
        now[0] += 1.0
        assert await mine._try()
        now[0] += 9.0
        assert mine.held, "renewed at the last call"
        assert await mine._try()


async def test_a_worker_that_is_cut_off_takes_no_key_with_it() -> None:
    queue, key = WorkQueue(), Key("A", "ns", "x")
    for _ in range(3):
        first, second = (asyncio.create_task(queue.take()) for _ in range(2))
        await asyncio.sleep(0)
        queue.add(key)
        first.cancel()  # it was woken, and has not run yet
        assert await asyncio.wait_for(second, 5) == key
        await asyncio.wait([first])
        queue.done(key)
    assert queue.idle


async def test_a_loop_that_is_cut_off_in_a_reconcile_leaves_no_key_at_work_and_no_timer() -> None:
    key, before = Key("A", "ns", "x"), others()
    started, ended = asyncio.Event(), []

    async def reconcile(key: Key) -> Requeue | None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(key)
        return None

    loop = Loop({"A": reconcile}, workers=2)
    running = asyncio.create_task(loop.run())
    loop.queue.add_after(Key("A", "ns", "later"), 3600)
    loop.queue.add(key)
    await started.wait()
    running.cancel()
    await asyncio.wait([running])
    assert ended == [key]
    assert loop.queue.idle
    assert not loop.queue._timers
    assert others() == before


@pytest.mark.parametrize("stopped", [True, False], ids=["stopped", "cancelled"])
async def test_work_that_runs_until_a_stop_has_ended_when_the_call_has(stopped: bool) -> None:
    before, stop, ended = others(), asyncio.Event(), []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(10):
                await asyncio.sleep(0)
            ended.append(True)

    running = asyncio.create_task(until(stop, work()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    stop.set() if stopped else running.cancel()
    await asyncio.wait([running])
    assert ended == [True]
    assert running.cancelled() is not stopped
    assert others() == before


async def test_a_recorder_that_is_cut_off_writes_no_more(client: Client) -> None:
    before = others()
    async for place in everywhere(partial(Recorder(client).run, asyncio.Event()), at_most=1):
        assert place == 1
        assert others() == before


async def test_kopfs_streams_end_wherever_they_are_cut_off(server: RunningServer, client: Client) -> None:
    before = others()
    environ = {"KUBECONFIG": str(server.kubeconfig)}

    async def follow() -> None:
        informer = Informer(client, Store(FEATURE_VIEWS))
        with suppress(TimeoutError):
            async with asyncio.timeout(2):
                await kopf_streams.follow([informer], partial(connect, environ))

    async for _ in everywhere(follow, at_most=3):
        await eventually(lambda: others() == before)
    for turns in range(6):  # of the event loop, in which kopf starts its tasks
        following = asyncio.create_task(follow())
        for _ in range(turns):
            await asyncio.sleep(0)
        following.cancel()
        await asyncio.wait([following])
        await eventually(lambda: others() == before)
    assert not client._session.connector._acquired


async def test_kopf_names_its_tasks_as_the_end_of_its_streams_leans_on(server: RunningServer, client: Client) -> None:
    """Where this fails, a newer kopf calls them otherwise: see ``kopf_streams.STREAMS``."""
    store = Store(FEATURE_VIEWS)
    environ = {"KUBECONFIG": str(server.kubeconfig)}
    following = asyncio.create_task(kopf_streams.follow([Informer(client, store)], partial(connect, environ)))

    def streams() -> list[str]:
        return [name for name in kopf_streams.STREAMS if any(t.get_name().startswith(name) for t in others())]

    await eventually(lambda: streams() == list(kopf_streams.STREAMS))
    following.cancel()
    await asyncio.wait([following])
    assert streams() == []
