"""A master and its replica under a sentinel: writers and the gateway follow the master."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from millrace_core.base.errors import RetryError
from millrace_core.features.online import keys, store_url
from millrace_data.online.pipes import open_pipes
from millrace_data.online.store import Store
from millrace_data.online.wire import Keys, StoreError
from millrace_data.online.writer import RowWriter
from tests.core.features.histories import view
from tests.data.online.rows import read, rows_of, write
from tests.data.online.topologies import under_sentinels, until

DEFINITION = view(("x", "int64"))


def many(count: int, first: int = 0) -> Any:
    return rows_of(DEFINITION, [(first + i, 1, None, (i,)) for i in range(count)])


@pytest.mark.slow
async def test_a_master_that_dies_is_replaced_for_readers_and_writers(tmp_path: Path) -> None:
    with under_sentinels(tmp_path) as (url, (master, replica), _):
        other = url.replace("/rows/0", "/columns")
        with pytest.raises(StoreError, match="no sentinel knows a master of 'columns'"):
            await open_pipes(store_url.parse(other), 1.0).mget([Keys(b"", [b"x"])])
        with pytest.raises(RetryError, match=r"no sentinel knows a master of 'columns'"):
            Store(other).run_ids()
        store = Store(url)
        assert write(store, DEFINITION, many(1000)).changed == 1000
        pipes = open_pipes(store_url.parse(url), 1.0)
        wanted = [key for key in keys.store_keys(DEFINITION, {"id": [1, 2, 5000]}) if key is not None]
        before = await pipes.mget([Keys(b"", wanted)])
        assert [row is None for row in before] == [False, False, True]
        until(lambda: replica.client.dbsize() == 1000)
        outcome: list[Any] = []
        started = threading.Event()

        def run() -> None:
            try:
                with RowWriter(store, DEFINITION, patience=60.0).running() as writer:
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
            await pipes.mget([Keys(b"", wanted)])
        for _ in range(600):
            try:
                assert await pipes.mget([Keys(b"", wanted)]) == before
                break
            except StoreError:  # the failover lasts
                await asyncio.sleep(0.05)
        else:
            pytest.fail("the gateway did not come back")
        await asyncio.to_thread(thread.join)
        assert [getattr(error, "reason", error) for error in outcome] == ["StoreRestarted"]
        assert write(store, DEFINITION, many(1, 5000)).changed == 1
        assert read(store, DEFINITION, 5000)
        assert (await pipes.mget([Keys(b"", wanted)]))[2] is not None
        pipes.close()
