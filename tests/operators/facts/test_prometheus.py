"""What Prometheus says of a query, and the many ways in which it says nothing: none of them is a number."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from millrace_operators.facts.fact import Absent, Fact, Failed, Known, Stale
from millrace_operators.facts.gathering import FactGatherer
from millrace_operators.facts.prometheus import Prometheus, PrometheusNumber
from tests.virtual_time import START

AT = START.timestamp()
REQUEST = PrometheusNumber("errors", "v2", "sum(rate(errors[60s]))")


async def fact(answer: Any, status: int = 200) -> Fact[float]:
    """What is known where Prometheus answers so."""

    async def said(request: web.Request) -> web.Response:
        assert request.query["query"] == REQUEST.query
        if isinstance(answer, bytes):
            return web.Response(body=answer, status=status)
        return web.json_response(answer, status=status)

    app = web.Application()
    app.router.add_get("/api/v1/query", said)
    async with TestServer(app) as server:
        source = Prometheus(str(server.make_url("/")), lambda: START)
        gathered = await FactGatherer([source], clock=lambda: START).gather([REQUEST])
    return gathered.get(REQUEST)


def vector(*values: Any, **more: Any) -> dict[str, Any]:
    series = [{"metric": {"pod": str(number)}, "value": [AT, value]} for number, value in enumerate(values)]
    return {"status": "success", "data": {"resultType": "vector", "result": series}, **more}


def of_kind(kind: str, result: Any) -> dict[str, Any]:
    return {"status": "success", "data": {"resultType": kind, "result": result}}


async def test_one_series_or_a_scalar_is_a_number_of_its_time() -> None:
    assert await fact(vector("0.25")) == Known(0.25, "Prometheus", START)
    assert await fact(of_kind("scalar", [AT, "7"])) == Known(7.0, "Prometheus", START)


async def test_no_series_is_no_number() -> None:
    assert await fact(vector()) == Absent("Prometheus", START)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("timeout", 503),
        ("unavailable", 503),
        ("internal", 500),
        ("canceled", 499),
        ("server_error", 500),
        ("too_many_requests", 429),
    ],
)
async def test_an_outage_is_no_fault_of_the_query(kind: str, status: int) -> None:
    failed = await fact({"status": "error", "errorType": kind, "error": "query timed out"}, status)
    assert failed == Failed("Prometheus", "Unavailable", "no answer just now: query timed out")


async def test_an_answer_of_long_ago_is_no_number() -> None:
    old = await fact(of_kind("scalar", [AT - 121, "7"]))
    assert old == Stale("Prometheus", START - timedelta(seconds=121), timedelta(minutes=2))


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        (vector("1", "2"), 200, "2 series came; one is expected"),
        (vector("NaN"), 200, "nan came"),
        (vector("+Inf"), 200, "inf came"),
        (of_kind("matrix", []), 200, "a matrix came; one number is expected"),
        (of_kind("string", [AT, "x"]), 200, "a string came"),
        ({"status": "error", "errorType": "bad_data", "error": "1:4: parse error"}, 400, "refused: 1:4: parse error"),
        ({"status": "error", "errorType": "execution", "error": "many-to-many"}, 422, "refused: many-to-many"),
        (vector("1", warnings=["a store did not answer"]), 200, "a part only"),
        (b"<html>", 502, "status 502, and no answer of Prometheus"),
        (b"", 200, "no answer of Prometheus"),
        (b"[" * 5000, 200, "no answer of Prometheus"),
        ([], 200, "no answer of Prometheus"),
        ({"status": "success"}, 200, "no answer of Prometheus"),
        (of_kind("vector", [{}]), 200, "no answer of Prometheus"),
        (of_kind("vector", 5), 200, "no answer of Prometheus"),
        (of_kind("vector", {"a": 1}), 200, "no answer of Prometheus"),
        (of_kind("scalar", [AT, "many"]), 200, "no answer of Prometheus"),
        (of_kind("scalar", [1e300, "1"]), 200, "no answer of Prometheus"),
        (b" " * (2 << 20), 200, "more than a MiB"),
    ],
)
async def test_what_is_not_one_number_is_none_and_says_why(answer: Any, status: int, said: str) -> None:
    found = await fact(answer, status)
    assert isinstance(found, Failed)
    assert said in found.message


async def test_a_server_that_is_down_or_not_there_is_told() -> None:
    down = await FactGatherer([Prometheus("http://127.77.0.1:9", lambda: START)]).gather([REQUEST])
    none = await FactGatherer([Prometheus("", lambda: START)]).gather([REQUEST])
    found = [down.get(REQUEST), none.get(REQUEST)]
    assert [each.reason for each in found if isinstance(each, Failed)] == ["Unavailable", "Internal"]
    assert "MILLRACE_PROMETHEUS_URL" in str(found[1])
