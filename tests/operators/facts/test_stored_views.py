"""What the gateway says of a view's rows, and answers of it that are none."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from millrace_core.base.errors import RetryError
from millrace_operators.facts.source import NoReading, Reading
from millrace_operators.facts.stored_views import StoredViews, StoredWatermark
from tests.virtual_time import START


async def read(answer: Any) -> Any:
    """What is read where the gateway answers so."""

    async def said(_: web.Request) -> web.Response:
        return web.Response(text=answer) if isinstance(answer, str) else web.json_response(answer)

    app = web.Application()
    app.router.add_get("/v1/feature-views/shop/stats/online", said)
    async with TestServer(app) as server:
        return await StoredViews(str(server.make_url("")), lambda: START).read(StoredWatermark("shop", "stats"))


async def test_the_watermark_is_read_and_may_be_absent() -> None:
    assert await read({"watermark": "2026-01-01T00:00:00Z"}) == Reading(START, START)
    assert await read({"watermark": None}) == NoReading(START)


@pytest.mark.parametrize(
    "answer", ["", "[", [], {}, 5, {"watermark": "soon"}, {"watermark": 5}, {"watermark": []}, {"watermark": ""}]
)
async def test_an_answer_that_is_none_is_asked_for_again(answer: Any) -> None:
    with pytest.raises(RetryError, match=r"the gateway http://127\.0\.0\.1:.* does not say"):
        await read(answer)
