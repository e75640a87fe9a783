"""A master and its replica under a sentinel: writers and the gateway follow the master."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from millrace_core.base.errors import RetryError
from millrace_core.features.online import keys, store_url
from millrace_data.online.client import open_client
from millrace_data.online.resp import KeyGroup
from millrace_data.online.store import Store
from millrace_data.online.store_errors import StoreError
from millrace_data.online.writer import RowWriter
from tests.core.features.histories import view
from tests.data.online.rows import END, read, rows_of, write
from tests.data.online.topologies import under_sentinels, until

DEFINITION = view(("x", "int64"))


def many(count: int, first: int = 0) -> Any:
    return rows_of(DEFINITION, [(first + i, 1, None, (i,)) for i in range(count)])


@pytest.mark.slow
async def test_a_master_that_dies_is_replaced_for_readers_and_writers(tmp_path: Path) -> None:
    with under_sentinels(tmp_path) as (url, (master, replica), _):
        other = url.replace("/rows/0", "/columns")
        with pytest.raises(StoreError, match="no sentinel knows a master of 'columns'"):
            await open_client(store_url.parse(other), 1.0).mget([KeyGroup(b"", [b"x"])])
        with pytest.raises(RetryError, match=r"no sentinel knows a master of 'columns'"):
            Store(other).run_ids()
        store = Store(url)
        assert write(store, DEFINITION, many(1000)).changed == 1000
        client = open_client(store_url.parse(url), 1.0)
        wanted = [key for key in keys.store_keys(DEFINITION, {"id": [1, 2, 5000]}) if key is not None]
        before = await client.mget([KeyGroup(b"", wanted)])
        assert [row is None for row in before] == [False, False, True]
        until(lambda: replica.client.dbsize() == 1000)
        outcome: list[Any] = []
        started = threading.Event()

        def run() -> None:
            try:
                with RowWriter(store, DEFINITION, patience=60.0, now=lambda: END).running() as writer:
                    for _ in range(40):
                        writer.write(many(1000))
                        started.set()
                        threading.Event().wait(0.02)
            except Exception as error:
                outcome.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        await asyncio.to_thread(started.wait)
        master.kill()
        with pytest.raises(StoreError):
            await client.mget([KeyGroup(b"", wanted)])
        for _ in range(600):
            try:
                assert await client.mget([KeyGroup(b"", wanted)]) == before
                break
            except StoreError:  # the failover lasts
                await asyncio.sleep(0.05)
        else:
            pytest.fail("the gateway did not come back")
        await asyncio.to_thread(thread.join)
        assert [getattr(error, "reason", error) for error in outcome] == ["StoreRestarted"]
        assert write(store, DEFINITION, many(1, 5000)).changed == 1
        assert read(store, DEFINITION, 5000)
        assert (await client.mget([KeyGroup(b"", wanted)]))[2] is not None
        client.close()


async def test_a_caller_that_is_cancelled_disturbs_no_other_under_sentinels(tmp_path: Path) -> None:
    with under_sentinels(tmp_path) as (url, [master, _], _):
        master.client.mset({f"k{i}": f"value {i}" for i in range(6)})
        for steps in range(0, 40, 3):
            async with asyncio.timeout(30):
                client = open_client(store_url.parse(url), 5.0)
                groups = [[KeyGroup(b"k", [b"%d" % i])] for i in range(6)]
                callers = [asyncio.ensure_future(client.mget(group)) for group in groups]
                for _ in range(steps):
                    await asyncio.sleep(0)
                unfinished = [caller for caller in callers[::2] if not caller.done()]
                for caller in unfinished:
                    caller.cancel()
                replies = await asyncio.gather(*callers, return_exceptions=True)
                for index, (caller, reply) in enumerate(zip(callers, replies, strict=True)):
                    assert caller in unfinished or reply == [b"value %d" % index]
                client.close()
