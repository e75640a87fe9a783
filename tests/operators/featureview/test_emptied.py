"""An online store that has lost a view: the gateway is asked, and what it does not say changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

from millrace_operators.facts.fact import Absent, Failed, Known
from millrace_operators.facts.gathering import FactGatherer
from millrace_operators.facts.source import FactSource, NoReading, Reading
from millrace_operators.facts.stored_views import StoredViews, StoredWatermark
from millrace_operators.featureview.emptied import LOOK_SECONDS, StoreRecord, question, record
from tests.operators.featureview.world import Worlds, clicks

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
ASKED = StoredWatermark("shop", "clicks")


@asynccontextmanager
async def gateway(answer: Callable[[], web.Response]) -> AsyncIterator[str]:
    """A server that answers so to the one path that is asked."""

    async def handle(_: web.Request) -> web.Response:
        return answer()

    app = web.Application()
    app.router.add_get("/v1/feature-views/shop/clicks/online", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
    finally:
        await runner.cleanup()


def known(answer: Callable[[], web.Response]) -> Any:
    async def ask() -> Any:
        async with gateway(answer) as url:
            facts = FactGatherer([StoredViews(url, lambda: NOW)], deadline=60, clock=lambda: NOW)
            return (await facts.gather([ASKED])).get(ASKED)

    return asyncio.run(ask())


def test_what_the_gateway_answers_becomes_a_fact() -> None:
    assert known(lambda: web.json_response({"watermark": "2026-11-20T11:00:00Z"})) == Known(
        datetime(2026, 11, 20, 11, tzinfo=UTC), "the gateway", NOW
    )
    assert known(lambda: web.json_response({"watermark": None})) == Absent("the gateway", NOW)


@pytest.mark.parametrize(
    "answer",
    [
        lambda: web.json_response({"error": "the store is away"}, status=503),
        lambda: web.json_response({}),
        lambda: web.json_response([]),
        lambda: web.Response(text="no JSON", content_type="application/json"),
        lambda: web.json_response({"watermark": "soon"}),
    ],
)
def test_an_answer_that_says_nothing_is_no_loss(answer: Callable[[], web.Response]) -> None:
    fact = known(answer)
    assert isinstance(fact, Failed)
    assert record({"online": {"keys": 3}, "watermark": "2026-11-20T11:00:00Z"}, fact) is StoreRecord.THERE
    assert record({"online": {"keys": 0}}, fact) is StoreRecord.UNKNOWN


def test_only_of_what_the_store_once_had_it_is_asked_whether_it_is_gone() -> None:
    view = {"metadata": {"name": "clicks", "namespace": "shop"}, "spec": {}}
    assert question(view) is None
    assert question({**view, "status": {"watermark": "2026-11-20T11:00:00Z"}}) is None
    assert question({**view, "status": {"online": {"keys": 0}}}) == ASKED


class Store(FactSource):
    """What the gateway says of every view."""

    name = "the gateway"
    answers = StoredWatermark
    emptied = False

    async def read(self, _: StoredWatermark) -> Reading[datetime] | NoReading:
        return NoReading(NOW) if self.emptied else Reading(NOW, NOW)


async def test_a_view_that_the_store_lost_is_written_anew_with_one_event_and_the_store_is_asked_again_soon(
    worlds: Worlds,
) -> None:
    world, store = worlds(), Store()
    world.facts = FactGatherer([store], deadline=60, clock=lambda: world.now)
    world.create(clicks())
    await world.settle()
    [job] = world.jobs()
    world.succeed(job)
    await world.settle()
    assert world.condition("Materialized") == ("True", "Covered")
    assert world.wake is not None
    assert world.wake.after <= LOOK_SECONDS
    store.emptied = True
    world.now += timedelta(minutes=6)
    await world.settle()
    assert world.condition("Materialized") == ("False", "StoreEmptied")
    assert world.condition("Ready")[0] == "False"
    [again] = world.jobs()
    store.emptied = False
    world.succeed(again)
    await world.settle()
    assert world.condition("Ready")[0] == "True"
    assert world.jobs() == []
    assert [reason for reason, _ in world.events()].count("StoreEmptied") >= 1
