"""The runtime on kopf's watches: what happens is seen, and what a watch loses is found."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from millrace_core.api import names
from millrace_core.base.errors import RejectError, RetryError
from millrace_kube.cached_client import CachedClient
from millrace_kube.owners import owner_reference
from millrace_kube.queue import Key, Requeue
from millrace_kube.resources import CRON_JOBS, FEATURE_VIEWS, Object, name_of, namespace_of
from millrace_kube.runtime import Controller, by_label, itself
from millrace_local.apiserver.process import RunningServer
from tests.api_server import start
from tests.builders import feature_view
from tests.operators.harness import AGENT, WRITES, Api, eventually, operators


def child_of(view: Object) -> Object:
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {
            "name": f"fv-{name_of(view)}",
            "namespace": namespace_of(view),
            "labels": {names.VIEW: name_of(view)},
            "ownerReferences": [owner_reference(view)],
        },
        "spec": {
            "schedule": view["spec"]["materialization"]["schedule"],
            "jobTemplate": {
                "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "m", "image": "x"}]}}}
            },
        },
    }


class Toy:
    """A controller that gives each view of one namespace a CronJob; ``before`` may interfere."""

    def __init__(self, namespace: str, before: Callable[[Key], Awaitable[Requeue | None]] | None = None) -> None:
        self._namespace = namespace
        self._before = before

    def __call__(self, cluster: CachedClient) -> list[Controller]:
        async def reconcile(key: Key) -> Requeue | None:
            if key.namespace != self._namespace:
                return None
            if self._before is not None and (wish := await self._before(key)):
                return wish
            view = cluster.cache.get(FEATURE_VIEWS, key.namespace, key.name)
            if view is not None:
                await cluster.apply(child_of(view))
            return None

        return [Controller("Toy", reconcile, {FEATURE_VIEWS: itself, CRON_JOBS: by_label(names.VIEW)})]


def make(api: Api, namespace: str, name: str = "clicks") -> Object:
    return api.create(FEATURE_VIEWS, feature_view(name).having("metadata.namespace", namespace).build())


async def test_a_new_object_gets_its_child_and_a_lost_child_comes_back(server: RunningServer, api: Api) -> None:
    namespace = api.namespace()
    async with operators(server, Toy(namespace)):
        make(api, namespace)
        await eventually(lambda: api.get(CRON_JOBS, namespace, "fv-clicks"))
        api.delete(CRON_JOBS, namespace, "fv-clicks")
        await eventually(lambda: api.get(CRON_JOBS, namespace, "fv-clicks"))
        api.merge(CRON_JOBS, namespace, "fv-clicks", {"spec": {"schedule": "1 1 1 1 1"}})
        await eventually(lambda: api.list(CRON_JOBS, namespace)[0]["spec"]["schedule"] == "0 0 1 1 *")


async def test_watching_leaves_no_trace_on_a_users_object(server: RunningServer, api: Api) -> None:
    namespace = api.namespace()
    made = make(api, namespace)
    toy = Toy(namespace)
    api.fault({"verb": WRITES, "userAgent": "^(?!a-user|millrace-operator)", "action": "latency", "seconds": 0})
    async with operators(server, toy) as running:
        await eventually(lambda: api.get(CRON_JOBS, namespace, "fv-clicks"))
        api.merge(FEATURE_VIEWS, namespace, "clicks", {"metadata": {"labels": {"a": "b"}}})
        await eventually(
            lambda: running.runtime.cluster.cache.all(FEATURE_VIEWS, namespace)[0]["metadata"].get("labels")
        )
        await running.settle()
    assert api.rules()[0]["calls"] == 0, "kopf wrote something"
    after = api.get(FEATURE_VIEWS, namespace, "clicks")
    assert after is not None
    assert "finalizers" not in after["metadata"]
    assert "annotations" not in after["metadata"]
    assert after["spec"] == made["spec"]


async def test_a_settled_object_is_written_no_more_also_by_a_restarted_operator(
    server: RunningServer, api: Api
) -> None:
    namespace = api.namespace()
    make(api, namespace)
    async with operators(server, Toy(namespace)) as running:
        await eventually(lambda: api.get(CRON_JOBS, namespace, "fv-clicks"))
        await running.settle()
    api.count_writes()
    async with operators(server, Toy(namespace), resync=0.3) as running:
        await asyncio.sleep(1)
        await running.settle(quiet=0.1)
    assert api.writes() == 0


async def test_cut_watches_go_on(server: RunningServer, api: Api) -> None:
    namespace = api.namespace()
    async with operators(server, Toy(namespace)) as running:
        await running.settle()
        api.drop_watches()
        make(api, namespace)
        await eventually(lambda: api.get(CRON_JOBS, namespace, "fv-clicks"))


async def test_a_child_that_went_while_the_watch_was_down_is_made_again(server: RunningServer, api: Api) -> None:
    """kopf lists anew after 410 and tells nothing of what is not in the list."""
    namespace = api.namespace()
    make(api, namespace)
    make(api, namespace, "other")
    async with operators(server, Toy(namespace)) as running:
        await eventually(lambda: len(api.list(CRON_JOBS, namespace)) == 2)
        await running.settle()
        api.fault({"verb": "watch", "resource": "cronjobs", "action": "status", "code": 503})
        api.drop_watches()
        await asyncio.sleep(0.3)
        api.delete(CRON_JOBS, namespace, "fv-clicks")
        api.forget_history()
        api.no_faults()
        await eventually(lambda: api.get(CRON_JOBS, namespace, "fv-clicks"), seconds=20)


def pauses() -> list[asyncio.Task[None]]:
    """kopf's tasks, one a stream, that an ending stream cancels and then waits for, whatever cancels come meanwhile."""
    return [task for task in asyncio.all_tasks() if task.get_name().startswith("pause-waiter") and not task.done()]


async def test_a_stop_that_meets_a_stream_on_its_way_to_the_next_one_stops_it_too(
    server: RunningServer, api: Api
) -> None:
    namespace = api.namespace()
    async with asyncio.timeout(30), operators(server, Toy(namespace)) as running:
        await running.settle()
        await eventually(pauses)
        gate = pauses()[0].get_coro().cr_frame.f_locals["self"]._condition  # which all of them pass at their end
        await gate.acquire()
        api.fault({"verb": "watch", "action": "status", "code": 503})
        api.drop_watches()
        make(api, namespace)
        api.forget_history()
        api.no_faults()
        met = await eventually(lambda: [task for task in pauses() if task.cancelling()])

        async def open_gate() -> None:
            while not all(task.cancelling() > 1 for task in met):  # a second time, by the stop
                await asyncio.sleep(0)
            gate.release()

        opening = asyncio.create_task(open_gate())
    await opening
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("watcher for ")]


async def test_what_no_watch_ever_tells_is_found_by_lists(server: RunningServer, api: Api) -> None:
    namespace = api.namespace()
    api.fault({"verb": "watch", "action": "status", "code": 503})
    async with operators(server, Toy(namespace), resync=0.5) as running:
        make(api, namespace)
        await eventually(lambda: api.get(CRON_JOBS, namespace, "fv-clicks"))
        api.delete(CRON_JOBS, namespace, "fv-clicks")
        await eventually(lambda: api.get(CRON_JOBS, namespace, "fv-clicks"), seconds=40)
        api.delete(FEATURE_VIEWS, namespace, "clicks")
        await eventually(lambda: not running.runtime.cluster.cache.all(FEATURE_VIEWS, namespace))


async def test_watches_that_run_behind_cause_no_second_write(server: RunningServer, api: Api) -> None:
    namespace = api.namespace()
    toy = Toy(namespace)
    api.fault(
        {"verb": WRITES, "userAgent": AGENT, "action": "latency", "seconds": 0},
        {"resource": "cronjobs", "action": "staleWatch"},
    )
    async with operators(server, toy) as running:
        await running.settle()
        make(api, namespace)
        await eventually(lambda: api.get(CRON_JOBS, namespace, "fv-clicks"))
        for number in range(3):
            api.merge(FEATURE_VIEWS, namespace, "clicks", {"metadata": {"labels": {"n": str(number)}}})
            await running.settle(quiet=0.1)
        assert api.rules()[0]["calls"] == 1


async def test_refusals_of_the_api_server_are_survived(server: RunningServer, api: Api) -> None:
    namespace = api.namespace()
    api.fault(
        {"verb": "list|watch", "action": "status", "code": 500, "times": 12},
        {"verb": WRITES, "userAgent": AGENT, "action": "status", "code": 429, "retryAfter": 1, "times": 1},
        {"verb": WRITES, "userAgent": AGENT, "action": "status", "code": 409, "times": 2},
        {"verb": WRITES, "userAgent": AGENT, "action": "dropAfter", "times": 3},
    )
    async with operators(server, Toy(namespace)) as running:
        make(api, namespace)
        await eventually(lambda: api.get(CRON_JOBS, namespace, "fv-clicks"), seconds=30)
        await running.settle()
    assert len(api.list(CRON_JOBS, namespace)) == 1


async def test_errors_are_tried_again_later_and_do_not_stop_others(server: RunningServer, api: Api) -> None:
    namespace = api.namespace()
    errors = [RetryError("later", delay=0.01), RejectError("wrong"), KeyError("a bug"), RetryError("later", delay=0)]

    async def before(key: Key) -> Requeue | None:
        if key.name == "bad" and errors:
            raise errors.pop()
        return None

    async with operators(server, Toy(namespace, before)):
        make(api, namespace, "bad")
        make(api, namespace, "good")
        await eventually(lambda: api.get(CRON_JOBS, namespace, "fv-good"))
        await eventually(lambda: api.get(CRON_JOBS, namespace, "fv-bad"))
    assert not errors


async def test_a_reconcile_may_ask_to_come_back(server: RunningServer, api: Api) -> None:
    namespace = api.namespace()
    asked: list[Key] = []

    async def before(key: Key) -> Requeue | None:
        asked.append(key)
        return Requeue(0.05) if len(asked) < 3 else None

    async with operators(server, Toy(namespace, before)):
        make(api, namespace)
        await eventually(lambda: api.get(CRON_JOBS, namespace, "fv-clicks"))
    assert len(asked) >= 3


@pytest.mark.slow
async def test_an_api_server_that_goes_and_comes_back_is_found_again(fresh: RunningServer) -> None:
    api = Api(fresh)
    namespace = api.namespace()
    async with operators(fresh, Toy(namespace)) as running:
        make(api, namespace)
        await eventually(lambda: api.get(CRON_JOBS, namespace, "fv-clicks"))
        await running.settle()
        port = int(fresh.url.rpartition(":")[2])
        fresh.kill()
        await asyncio.sleep(0.5)
        again = await asyncio.to_thread(
            start, fresh.kubeconfig.parent / "data", port=port, kubeconfig=fresh.kubeconfig, faults=True
        )
        try:
            make(api, namespace, "second")
            await eventually(lambda: api.get(CRON_JOBS, namespace, "fv-second"), seconds=30)
        finally:
            again.stop()
    api.close()


async def test_nothing_is_reconciled_before_everything_is_listed(server: RunningServer, api: Api) -> None:
    """Else an owner whose children are not listed yet would look childless."""
    namespace = api.namespace()
    make(api, namespace)
    turns: list[Key] = []

    async def before(key: Key) -> Requeue | None:
        turns.append(key)
        return None

    api.fault({"verb": "list", "resource": "cronjobs", "userAgent": AGENT, "action": "status", "code": 500})
    async with operators(server, Toy(namespace, before)) as running:
        await asyncio.sleep(0.5)
        assert turns == []
        assert not running.runtime.synced
        api.no_faults()
        await eventually(lambda: turns)
        assert running.runtime.synced
