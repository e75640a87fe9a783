"""What a shadow says beside its control, as the gateway answers, and what of its answers is none."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from millrace_core.experiments.compared import ComparedOutput, ComparedPredictions
from millrace_operators.facts.copies_compared import CopiesCompared, LoggedPredictions
from millrace_operators.facts.fact import Absent, Fact, Failed, Known, Stale
from millrace_operators.facts.gathering import FactGatherer
from tests.virtual_time import START

OUTPUT = ComparedOutput(name="score", pairs=9, agreement=0.5, psi=0.1, jensen_shannon=0.2)
FOUND = ComparedPredictions(as_of=START, requests=10, rows=9, outputs=[OUTPUT])
REQUEST = CopiesCompared("shop", "ranker", "v1", "v2", START - timedelta(minutes=5), 0.01)


async def fact(answer: Any, status: int = 200) -> Fact[ComparedPredictions]:
    """What is known where the gateway answers so."""

    async def said(request: web.Request) -> web.Response:
        since = (START - timedelta(minutes=5)).isoformat().replace("+00:00", "Z")
        assert dict(request.query) == {"control": "v1", "shadow": "v2", "since": since, "tolerance": "0.01"}
        text = answer.model_dump_json(by_alias=True) if isinstance(answer, ComparedPredictions) else answer
        return web.Response(text=text, status=status)

    app = web.Application()
    app.router.add_get("/v1/predictions/shop/ranker/comparison", said)
    async with TestServer(app) as server:
        source = LoggedPredictions(str(server.make_url("/")), lambda: START)
        return (await FactGatherer([source], clock=lambda: START).gather([REQUEST])).get(REQUEST)


async def test_the_comparison_is_known_as_of_when_the_lake_was_read() -> None:
    assert await fact(FOUND) == Known(FOUND, "the gateway", START)
    old = START - timedelta(minutes=3)
    assert await fact(FOUND.model_copy(update={"as_of": old})) == Stale("the gateway", old, timedelta(minutes=2))


async def test_requests_that_neither_has_are_none() -> None:
    assert await fact("{}", 404) == Absent("the gateway", START)


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        ("", 200, "an answer that is none"),
        ('{"asOf": "2026-01-01T00:00:00Z", "requests": 1, "rows": -1}', 200, "an answer that is none"),
        ('{"error": "no lake", "reason": "NoLake"}', 500, "status 500: no lake"),
    ],
)
async def test_what_is_no_answer_says_why(answer: str, status: int, said: str) -> None:
    found = await fact(answer, status)
    assert isinstance(found, Failed)
    assert said in found.message


async def test_without_a_gateway_it_is_said_how_one_is_named() -> None:
    found = (await FactGatherer([LoggedPredictions("", lambda: START)]).gather([REQUEST])).get(REQUEST)
    assert isinstance(found, Failed)
    assert "MILLRACE_GATEWAY_URL" in found.message
