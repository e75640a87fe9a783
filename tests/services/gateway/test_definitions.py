"""Definitions are fetched once per change, and stay until a registry gives newer ones that may replace them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from millrace_core.base.errors import RetryError
from millrace_core.features.online.edition import CATALOGUE, REVISION, Edition
from millrace_core.features.online.kept_definitions import Head, Kept, decode, encode, head
from millrace_services.gateway.definitions import Definitions
from millrace_services.gateway.kept_copy import KeptCopy
from tests.builders import feature_view
from tests.running_service import StartService
from tests.told_registry import tell


def view(name: str) -> dict[str, Any]:
    document = feature_view(name).build()
    document["metadata"] |= {"namespace": "rides", "uid": name, "generation": 1}
    return document


class MemoryStore:
    """Where a copy is kept, for as long as the test lasts."""

    def __init__(self) -> None:
        self.value: bytes | None = None
        self.writes = 0

    async def kept_head(self) -> Head | None:
        return head((self.value or b"")[:512])

    async def kept(self) -> Kept | None:
        return None if self.value is None else decode(self.value)

    async def keep(self, copy: bytes) -> None:
        self.value = copy
        self.writes += 1


class Registry:
    """A registry whose answers the test writes: (catalogue, revision, names of views), or a status."""

    def __init__(self) -> None:
        self.said: tuple[str, int, tuple[str, ...]] | int = 503
        self.asked = 0
        self.transport = httpx.MockTransport(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        if isinstance(self.said, int):
            return httpx.Response(self.said)
        catalogue, revision, names = self.said
        etag = '"' + "-".join(names) + '"'
        headers = {CATALOGUE: catalogue, REVISION: str(revision), "etag": etag}
        if request.headers.get("if-none-match") == etag:
            return httpx.Response(304, headers=headers)
        body = {"featureViews": [view(name) for name in names], "modelDeployments": []}
        return httpx.Response(200, content=orjson.dumps(body), headers=headers)


@asynccontextmanager
async def asking(registry: Registry, store: MemoryStore | None = None) -> AsyncIterator[Definitions]:
    async with httpx.AsyncClient(base_url="http://registry", transport=registry.transport) as client:
        yield Definitions(client, 0.01, KeptCopy(store or MemoryStore()))


def names(definitions: Definitions) -> list[str]:
    return sorted(name for _, name in definitions.current.views)


async def test_definitions_that_are_known_are_not_fetched_again(start: StartService, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/registry.db"
    registry = start("-m", "millrace_services.registry", MILLRACE_DATABASE_URL=url)
    answers: list[tuple[int, int]] = []

    async def seen(response: httpx.Response) -> None:
        answers.append((response.status_code, len(await response.aread()) > 0))

    async def publish(*names: str) -> None:
        await asyncio.to_thread(tell, registry.url, *(view(name) for name in names))
        answers.clear()

    async with httpx.AsyncClient(base_url=registry.url, event_hooks={"response": [seen]}) as client:
        definitions = Definitions(client, 1.0, KeptCopy(MemoryStore()))
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
    headers = {CATALOGUE: "a", REVISION: "1"}
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=next(answers), headers=headers))
    async with httpx.AsyncClient(base_url="http://registry", transport=transport) as client:
        definitions = Definitions(client, 1.0, KeptCopy(MemoryStore()))
        await definitions.refresh()
        known = definitions.current
        await definitions.refresh()
        assert definitions.current is known
        await definitions.refresh()
        assert definitions.current is not known
        assert definitions.current.view("rides", "first")


# What is held, what the registry says then, and whether that is taken.
ANSWERS = [
    (("a", 5, ("x", "y")), ("a", 6, ("x",)), True),
    (("a", 5, ("x", "y")), ("a", 6, ()), True),
    (("a", 5, ("x", "y")), ("a", 5, ("x",)), True),
    (("a", 5, ("x", "y")), ("a", 4, ("x", "y", "z")), False),
    (("a", 5, ("x", "y")), ("b", 1, ("x",)), True),
    (("a", 5, ("x", "y")), ("b", 9, ()), False),
    (("a", 5, ("x", "y")), ("", 9, ("x",)), False),
    (("a", 5, ()), ("b", 1, ()), False),
]


@pytest.mark.parametrize(("held", "said", "taken"), ANSWERS)
async def test_an_answer_replaces_what_is_held_only_where_the_registry_stands_by_it(
    held: Any, said: Any, taken: bool
) -> None:
    registry = Registry()
    async with asking(registry) as definitions:
        registry.said = held
        await definitions.refresh()
        registry.said = said
        await definitions.refresh()
        assert names(definitions) == sorted(said[2] if taken else held[2])
        assert definitions.loaded


async def test_a_catalogue_of_another_database_may_be_emptied_once_it_had_the_same_definitions() -> None:
    registry, store = Registry(), MemoryStore()
    async with asking(registry, store) as definitions:
        for said in (("b", 5, ("x",)), ("a", 1, ("x",)), ("a", 2, ())):
            registry.said = said
            await definitions.refresh()
        assert names(definitions) == []


async def test_what_is_not_known_may_exist_all_the_same_while_the_registry_says_nothing() -> None:
    registry = Registry()
    async with asking(registry) as definitions:
        with pytest.raises(RetryError, match="the registry gives no newer ones just now"):
            await definitions.look_again()
        registry.said = ("a", 5, ("x",))
        await definitions.refresh()
        assert not await definitions.look_again()


async def test_what_was_saved_since_a_look_of_a_moment_ago_is_found_by_all_who_ask_with_one_more_look() -> None:
    registry = Registry()
    registry.said = ("a", 5, ("x",))
    async with asking(registry) as definitions:
        await definitions.refresh()
        registry.said, before = ("a", 6, ("x", "y")), registry.asked
        async with asyncio.TaskGroup() as group:
            looks = [group.create_task(definitions.look_again()) for _ in range(5)]
        assert names(definitions) == ["x", "y"]
        assert all(look.result() for look in looks)
        assert registry.asked == before + 1


@asynccontextmanager
async def running(definitions: Definitions) -> AsyncIterator[None]:
    task = asyncio.create_task(definitions.run())
    try:
        async with asyncio.timeout(60):
            await definitions.first_look()
        yield
    finally:
        task.cancel()


async def until(true: Any) -> None:
    async with asyncio.timeout(60):
        while not true():
            await asyncio.sleep(0.005)


async def test_a_start_without_a_registry_goes_by_the_copy_and_is_held_to_its_edition() -> None:
    registry, store = Registry(), MemoryStore()
    registry.said = ("a", 5, ("x", "y"))
    async with asking(registry, store) as definitions, running(definitions):
        await until(lambda: store.value)
    registry.said = 503
    async with asking(registry, store) as definitions, running(definitions):
        assert names(definitions) == ["x", "y"]
        assert definitions.age != definitions.age  # nobody has confirmed them
        for said in (("a", 4, ("x",)), ("b", 9, ())):
            registry.said = said
            await definitions.refresh()
            assert names(definitions) == ["x", "y"]
        registry.said = ("a", 6, ("z",))
        await until(lambda: names(definitions) == ["z"])
        await until(lambda: store.value and decode(store.value).head.edition.revision == 6)
    assert store.writes == 2


async def test_a_registry_that_answers_goes_before_the_copy() -> None:
    registry, store = Registry(), MemoryStore()
    body = orjson.dumps({"featureViews": [view("old")], "modelDeployments": []})
    store.value = encode(Head(Edition("a", 1), "old"), body)
    registry.said = ("b", 1, ("new",))
    async with asking(registry, store) as definitions, running(definitions):
        assert names(definitions) == ["new"]


async def test_a_start_with_neither_waits_for_either() -> None:
    registry, store = Registry(), MemoryStore()
    async with asking(registry, store) as definitions, running(definitions):
        assert not definitions.loaded
        body = orjson.dumps({"featureViews": [view("x")], "modelDeployments": []})
        store.value = encode(Head(Edition("a", 1), "x"), body)
        await until(lambda: names(definitions) == ["x"])


async def test_a_copy_of_a_later_revision_stays_and_one_that_was_lost_or_damaged_is_stored_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [0.0]
    monkeypatch.setattr("millrace_services.gateway.kept_copy.monotonic", lambda: clock[0])
    store = MemoryStore()
    copy, late = KeptCopy(store), KeptCopy(store)
    for each, revision in ((copy, 6), (late, 5)):
        await each.take(Head(Edition("a", revision), f"etag-{revision}"), b"{}")
        clock[0] += 1
        await each.see_to()
    assert store.writes == 1
    store.value = None
    await copy.see_to()
    assert store.value is None  # it is not looked for every second
    clock[0] += 60
    await copy.see_to()
    assert store.writes == 2
    store.value = store.value[:-9]  # type: ignore[index]
    assert await copy.load() is None
    clock[0] += 60
    await copy.see_to()
    assert (await copy.load()) == Kept(Head(Edition("a", 6), "etag-6"), b"{}")
