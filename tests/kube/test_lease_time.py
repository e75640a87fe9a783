"""The Lease while the clock moves during requests: a slow API server, a machine that sleeps in the middle of one."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from millrace_kube import lease
from millrace_kube.errors import AlreadyExistsError, ConflictError
from millrace_kube.lease import LeaderLease
from millrace_kube.resources import Object, Resource
from tests import virtual_time

START = datetime(2026, 11, 30, tzinfo=UTC)


class SlowServer:
    """An API server with one Lease; ``passes`` is what happens on the way of a request, and again of its answer."""

    def __init__(self, passes: Callable[[], Awaitable[None]]) -> None:
        self.stored: Object | None = None
        self._passes = passes
        self._version = 0

    async def get(self, _: Resource, namespace: str, name: str) -> Object | None:
        await self._passes()
        found = copy.deepcopy(self.stored)
        await self._passes()
        return found

    async def create(self, _: Resource, document: Object) -> Object:
        await self._passes()
        if self.stored is not None:
            raise AlreadyExistsError("there")
        return await self._store(document)

    async def replace(self, _: Resource, document: Object) -> Object:
        await self._passes()
        if self.stored is None or self.stored["metadata"]["resourceVersion"] != document["metadata"]["resourceVersion"]:
            raise ConflictError("changed")
        return await self._store(document)

    async def _store(self, document: Object) -> Object:
        self._version += 1
        version = {"resourceVersion": str(self._version)}
        self.stored = {**document, "metadata": {**document["metadata"], **version}}
        await self._passes()
        return self.stored


class Time:
    """One clock for all; only requests, and the test, move it."""

    def __init__(self) -> None:
        self.now = 0.0

    def candidate(self, server: SlowServer, name: str, *, ahead: timedelta = timedelta()) -> LeaderLease:
        """A candidate; its time of day is ``ahead`` of that of the others."""
        return LeaderLease(
            server,  # type: ignore[arg-type]
            "ns",
            "operator",
            name,
            is_dead=lambda _: False,
            clock=lambda: self.now,
            wall=lambda: START + timedelta(seconds=self.now) + ahead,
        )


def slow(time: Time, seconds: float) -> Callable[[], Awaitable[None]]:
    async def passes() -> None:
        time.now += seconds

    return passes


async def test_the_lease_is_valid_from_before_the_request_and_not_from_the_answer() -> None:
    time = Time()
    leader = time.candidate(SlowServer(slow(time, 1.0)), "first")
    await leader._try()  # a get and a create, each a second there and a second back
    assert time.now == 4.0
    assert leader.held
    time.now = lease.DEADLINE - 0.01
    assert leader.held
    time.now = lease.DEADLINE
    assert not leader.held


async def test_an_answer_that_comes_after_the_deadline_leads_nobody() -> None:
    time = Time()
    leader = time.candidate(SlowServer(slow(time, lease.DEADLINE / 4)), "first")
    assert await leader._try()
    assert not leader.held, "others may take over by now"


async def test_silence_is_measured_from_when_the_lease_was_seen_and_not_from_the_request() -> None:
    """The holder may have renewed while the request was on its way."""
    time = Time()
    server = SlowServer(slow(time, 0.0))
    holder, other = time.candidate(server, "holder"), time.candidate(server, "other")
    await holder._try()

    async def sleeps_on_the_way() -> None:
        if server.stored and time.now == 0.0:
            time.now = 9.0
            server._passes = slow(time, 0.0)
            await holder._try()  # valid until 19

    server._passes = sleeps_on_the_way
    assert not await other._try()
    time.now = lease.DURATION + 1.0
    assert holder.held
    assert not await other._try(), "it saw the Lease at 9 only"


@pytest.mark.parametrize("stalled", range(1, 5), ids=["get there", "get back", "put there", "put back"])
def test_one_request_without_an_answer_does_not_end_leadership(stalled: int) -> None:
    """As where a packet is lost, or the API server's etcd elects a leader."""
    left = iter([0.05] * (4 + stalled - 1) + [3600.0])

    async def passes() -> None:
        await asyncio.sleep(next(left, 0.05))

    async def lead() -> bool:
        clock = asyncio.get_running_loop().time
        leader = LeaderLease(
            SlowServer(passes),  # type: ignore[arg-type]
            "ns",
            "operator",
            "first",
            is_dead=lambda _: False,
            clock=clock,
        )
        await leader.acquire()
        keeping = asyncio.create_task(leader.keep())
        await asyncio.wait([keeping], timeout=60.0)
        keeping.cancel()
        return leader.held

    assert virtual_time.run(lead())


@pytest.mark.parametrize("ahead", [timedelta(days=1), timedelta(days=-1)], ids=["ahead", "behind"])
async def test_clocks_need_not_agree_on_the_time_of_day(ahead: timedelta) -> None:
    time = Time()
    server = SlowServer(slow(time, 0.0))
    holder, other = time.candidate(server, "holder"), time.candidate(server, "other", ahead=ahead)
    await holder._try()
    assert not await other._try()
    time.now = lease.DURATION
    assert not await other._try()
    time.now = lease.DURATION + 0.1
    assert await other._try()
    assert not await holder._try()


@settings(phases=[Phase.explicit, Phase.reuse, Phase.generate])  # to shrink a failure takes minutes
@given(st.data())
def test_never_do_two_lead_whatever_requests_take_and_whoever_acts_meanwhile(data: st.DataObject) -> None:
    async def life() -> None:
        time = Time()
        busy: set[str] = set()

        async def passes() -> None:
            # Mostly quick, or hardly any request would be over while the Lease that it wrote is valid.
            time.now += data.draw(st.sampled_from([*[0.0] * 6, 0.1, 2.0, 4.9, 9.9, 10.0, 14.9, 15.1]), "on the way")
            one_leads()
            await somebody_acts()

        async def somebody_acts() -> None:
            name = data.draw(st.sampled_from([None, *(name for name in candidates if name not in busy)]), "acts")
            if name is not None:
                busy.add(name)
                await candidates[name]._try()
                busy.remove(name)
                one_leads()

        def one_leads() -> None:
            assert sum(one.held for one in candidates.values()) <= 1

        server = SlowServer(passes)
        aheads = {"a": timedelta(), "b": timedelta(minutes=-5), "c": timedelta(days=1)}  # clocks need not agree
        candidates = {name: time.candidate(server, name, ahead=ahead) for name, ahead in aheads.items()}
        for _ in range(8):
            await somebody_acts()
            time.now += data.draw(st.sampled_from([0.0, 3.0, 9.9, 15.1]), "between")
            one_leads()

    asyncio.run(life())
