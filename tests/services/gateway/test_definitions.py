"""Definitions are fetched once per change; between changes the registry answers 304 without a body."""

from __future__ import annotations

from pathlib import Path

import httpx
import orjson
import pytest

from millrace_services.gateway.definitions import Definitions
from tests.builders import feature_view
from tests.running_service import StartService


def view(name: str) -> dict[str, object]:
    document = feature_view(name).build()
    document["metadata"] |= {"namespace": "rides", "uid": name, "generation": 1}
    return document


async def test_definitions_that_are_known_are_not_fetched_again(start: StartService, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/registry.db"
    registry = start("-m", "millrace_services.registry", MILLRACE_DATABASE_URL=url)
    answers: list[tuple[int, int]] = []

    async def seen(response: httpx.Response) -> None:
        answers.append((response.status_code, len(await response.aread()) > 0))

    async def publish(*names: str) -> None:
        items = [view(name) for name in names]
        (await client.put("/v1/catalogue/FeatureView", json={"items": items})).raise_for_status()
        answers.clear()

    async with httpx.AsyncClient(base_url=registry.url, event_hooks={"response": [seen]}) as client:
        definitions = Definitions(client, 1.0)
        await publish("first")
        for _ in range(3):
            await definitions.refresh()
        assert answers == [(200, True), (304, False), (304, False)]
        known = definitions.current
        assert known.view("rides", "first")
        await publish("first", "second")
        for _ in range(2):
            await definitions.refresh()
        assert answers == [(200, True), (304, False)]
        assert definitions.current is not known
        assert definitions.current.view("rides", "second")
        await publish()
        await definitions.refresh()
        assert answers == [(200, True)]
        assert not definitions.current.views


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b'{"featureViews": [], "modelDeployments": 7}',
        b'{"featureViews": null, "modelDeployments": []}',
    ],
)
async def test_an_answer_that_is_none_leaves_what_is_known_and_the_next_one_counts(content: bytes) -> None:
    good = orjson.dumps({"featureViews": [view("first")], "modelDeployments": []})
    answers = iter([good, content, good])
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=next(answers)))
    async with httpx.AsyncClient(base_url="http://registry", transport=transport) as client:
        definitions = Definitions(client, 1.0)
        await definitions.refresh()
        known = definitions.current
        await definitions.refresh()
        assert definitions.current is known
        await definitions.refresh()
        assert definitions.current is not known
        assert definitions.current.view("rides", "first")
