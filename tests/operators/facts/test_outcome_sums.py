"""What the gateway says of an experiment's units, and what of its answers is none."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from millrace_core.experiments.sums import ExperimentSums
from millrace_operators.facts.fact import Absent, Fact, Failed, Known, Stale
from millrace_operators.facts.gathering import FactGatherer
from millrace_operators.facts.outcome_sums import Outcomes, OutcomeSums
from tests.virtual_time import START

SUMS = ExperimentSums(as_of=START, whole=True, exposures={0: {"control": 10, "v2": 3}})


async def fact(answer: Any, status: int = 200) -> Fact[ExperimentSums]:
    """What is known where the gateway answers so."""

    async def said(_: web.Request) -> web.Response:
        text = answer.model_dump_json(by_alias=True) if isinstance(answer, ExperimentSums) else answer
        return web.Response(text=text, status=status)

    app = web.Application()
    app.router.add_get("/experiments/shop/ab/sums", said)
    request = OutcomeSums("shop", "ab")
    async with TestServer(app) as server:
        source = Outcomes(str(server.make_url("/")), lambda: START)
        return (await FactGatherer([source], clock=lambda: START).gather([request])).get(request)


async def test_the_sums_are_known_as_of_when_they_were_read() -> None:
    assert await fact(SUMS) == Known(SUMS, "the gateway", START)


async def test_sums_of_long_ago_are_none() -> None:
    old = START - timedelta(minutes=3)
    assert await fact(SUMS.model_copy(update={"as_of": old})) == Stale("the gateway", old, timedelta(minutes=2))


async def test_an_experiment_that_the_gateway_does_not_know_has_none() -> None:
    assert await fact("{}", 404) == Absent("the gateway", START)


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        (SUMS.model_copy(update={"whole": False}), 200, "being rebuilt"),
        ("", 200, "an answer that is none"),
        ("[]", 200, "an answer that is none"),
        ('{"asOf": "2026-01-01T00:00:00Z", "whole": true, "exposures": {"0": {"v2": -1}}}', 200, "none"),
        ('{"asOf": "2026-01-01T00:00:00", "whole": true}', 200, "an answer that is none"),
        ("busy", 503, "status 503"),
    ],
)
async def test_what_is_no_answer_says_why(answer: Any, status: int, said: str) -> None:
    found = await fact(answer, status)
    assert isinstance(found, Failed)
    assert said in found.message


async def test_without_a_gateway_it_is_said_how_one_is_named() -> None:
    request = OutcomeSums("shop", "ab")
    found = (await FactGatherer([Outcomes("", lambda: START)]).gather([request])).get(request)
    assert isinstance(found, Failed)
    assert "MILLRACE_GATEWAY_URL" in found.message
