"""Leader election: one at a time, whoever dies, hangs or is cut off."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest

from millrace_kube import connection, errors, lease
from millrace_kube.client import Client
from millrace_kube.lease import LeaderLease
from millrace_kube.resources import LEASES
from millrace_local.apiserver.process import RunningServer
from tests.operators.harness import Api, eventually


class Candidates:
    """Processes that want the Lease of one namespace, with a clock that the test moves."""

    def __init__(self, client: Client, namespace: str) -> None:
        self.client = client
        self.namespace = namespace
        self.now = 0.0
        self.dead: set[str] = set()

    def __call__(self, name: str) -> LeaderLease:
        return LeaderLease(
            self.client,
            self.namespace,
            "operator",
            name,
            is_dead=self.dead.__contains__,
            clock=lambda: self.now,
            retry=0.02,
            answer=60,
        )


@pytest.fixture
async def candidates(server: RunningServer, api: Api) -> AsyncIterator[Candidates]:
    found = await connection.connect({"KUBECONFIG": str(server.kubeconfig)})
    async with Client(found) as client:
        yield Candidates(client, api.namespace())


async def stays_waiting(task: asyncio.Task[None]) -> bool:
    await asyncio.sleep(0.1)
    return not task.done()


async def test_the_first_one_leads_and_the_second_waits_until_it_lets_go(candidates: Candidates, api: Api) -> None:
    first, second = candidates("first"), candidates("second")
    await first.acquire()
    assert first.held
    waiting = asyncio.create_task(second.acquire())
    assert await stays_waiting(waiting)
    await first.release()
    assert not first.held
    await asyncio.wait_for(waiting, 60)
    assert second.held
    stored = api.get(LEASES, candidates.namespace, "operator")
    assert stored is not None
    assert stored["spec"]["holderIdentity"] == "second"
    assert stored["spec"]["leaseTransitions"] == 1


async def test_a_silent_leader_is_replaced_after_the_duration_and_has_stopped_before(candidates: Candidates) -> None:
    first, second = candidates("first"), candidates("second")
    await first.acquire()
    waiting = asyncio.create_task(second.acquire())
    assert await stays_waiting(waiting)
    candidates.now = lease.DEADLINE
    assert not first.held
    with pytest.raises(errors.LostLeadershipError):
        first.fence()
    assert await stays_waiting(waiting), "there is a time when nobody leads, and never one when two do"
    candidates.now = lease.DURATION + 0.1
    await asyncio.wait_for(waiting, 60)


async def test_a_leader_that_renews_is_not_replaced(candidates: Candidates, api: Api) -> None:
    def version() -> str:
        return str(api.list(LEASES, candidates.namespace)[0]["metadata"]["resourceVersion"])

    first, second = candidates("first"), candidates("second")
    await first.acquire()
    keeping, waiting = asyncio.create_task(first.keep()), asyncio.create_task(second.acquire())
    for _ in range(8):
        before = version()
        await eventually(lambda before=before: version() != before)
        # The server shows a renewal before its answer has come: two such steps must be within the deadline.
        candidates.now += lease.DEADLINE * 0.4
    assert first.held
    assert not waiting.done()
    keeping.cancel()
    waiting.cancel()


async def test_a_leader_whose_lease_was_taken_stops_at_once(candidates: Candidates, api: Api) -> None:
    first = candidates("first")
    await first.acquire()
    keeping = asyncio.create_task(first.keep())
    api.merge(LEASES, candidates.namespace, "operator", {"spec": {"holderIdentity": "thief"}})
    await asyncio.wait_for(keeping, 60)
    assert not first.held


async def test_a_leader_that_cannot_renew_stops_at_its_deadline(server: RunningServer, api: Api) -> None:
    found = await connection.connect({"KUBECONFIG": str(server.kubeconfig)})
    async with Client(found) as client:
        first = LeaderLease(
            client, api.namespace(), "operator", "first", is_dead=lambda _: False, deadline=0.3, retry=0.05, answer=60
        )
        await first.acquire()
        api.fault({"resource": "leases", "action": "status", "code": 500})
        await asyncio.wait_for(first.keep(), 60)
        assert not first.held


async def test_a_failing_api_server_does_not_end_the_wait(candidates: Candidates, api: Api) -> None:
    api.fault({"resource": "leases", "action": "drop", "times": 3})
    await asyncio.wait_for(candidates("first").acquire(), 60)


async def test_a_leader_that_is_known_to_be_dead_is_replaced_at_once(candidates: Candidates) -> None:
    await candidates("first").acquire()
    candidates.dead.add("first")
    await asyncio.wait_for(candidates("second").acquire(), 60)


async def test_of_two_that_come_at_once_one_leads(candidates: Candidates) -> None:
    both = [candidates("first"), candidates("second")]
    tasks = [asyncio.create_task(one.acquire()) for one in both]
    await eventually(lambda: any(one.held for one in both))
    await asyncio.sleep(0.1)
    assert [one.held for one in both].count(True) == 1
    for task in tasks:
        task.cancel()


def test_a_process_is_told_from_another_and_the_dead_from_the_living() -> None:
    mine = lease.identity()
    assert mine == lease.identity()
    assert not lease.is_dead(mine)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        theirs = lease.identity(other.pid)
        assert not lease.is_dead(theirs)
        other.kill()
        other.wait()
    assert lease.is_dead(theirs)
    reused = f"{mine.rpartition('.')[0]}.1"
    assert lease.is_dead(reused), "the same pid, started at another time"


def test_of_other_machines_nothing_is_known() -> None:
    boot, space, _pid, _started = lease.identity().rpartition("_")[2].split(".")
    for stranger in (
        f"other-host_{boot}.{space}.999999.1",
        f"{os.uname().nodename}_ffffffff.{space}.999999.1",
        f"{os.uname().nodename}_{boot}.1.999999.1",
        "operator-6f7d-abcde",
        "",
    ):
        assert not lease.is_dead(stranger)
