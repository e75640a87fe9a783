"""Sums are whole when every log was told to them, and each outcome counts once: several gateways, one real store."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from millrace_core.base.errors import NotFoundError, RetryError
from millrace_core.evidence.outcome import Exposure, Outcome
from millrace_core.experiments.assignment import Assignment
from millrace_core.experiments.published import Experiments, OutcomeMetric, PublishedExperiment
from millrace_data.evidence.lake import Lake
from millrace_data.online import sums_state
from millrace_data.online.experiment_sums import ACCEPTED, IDS_SECONDS
from millrace_services.gateway.experiments import filling
from millrace_services.gateway.experiments.logs import Logs
from millrace_services.gateway.experiments.recorder import PENDING, UNKNOWN, Recorder
from millrace_services.gateway.experiments.store import SumsStore, answer
from millrace_services.gateway.store import RowStore
from tests.services.gateway.conftest import Store

DAY = IDS_SECONDS * 1_000_000
START = 1_800_000_000_000_000
numbers = count()


class Cluster:
    """Gateways over one store and, maybe, a lake; the clock stands unless it is moved."""

    def __init__(self, root: Path, url: str) -> None:
        self.root = root
        self.now = START
        self.lake: Callable[[], Lake] | None = None
        self.rows = RowStore(url, 10.0)
        self.store = SumsStore(self.rows, lambda: self.now)
        metrics = (OutcomeMetric("value", "mean", "amount"),)
        assignment = Assignment("salt", "a", {}, {"a": 100}, 0)
        name = f"whole-{next(numbers)}"
        self.experiment = PublishedExperiment("ns", name, "uid", "Running", "a", 0, "x", assignment, {}, metrics)
        self.known = Experiments({("ns", name): self.experiment})

    def with_lake(self) -> None:
        made = Lake((self.root / "lake").as_uri(), {})
        self.lake = lambda: made

    def gateway(self, name: str) -> Recorder:
        logs = Logs(self.root / name, self.lake, 2**30)
        return Recorder(logs, self.store, lambda: self.known, lambda: self.now, name)

    def exposure(self, unit: str) -> Exposure:
        return Exposure("ns", self.experiment.name, "uid", unit, "a", 0, 1, self.now)

    def outcome(self, unit: str, identity: str) -> Outcome:
        return Outcome("ns", self.experiment.name, "uid", unit, "amount", 1.0, self.now, identity, self.now)

    async def lacks(self) -> str:
        return sums_state.lacking(self.experiment, await self.store.read(self.experiment), self.now)

    async def total(self) -> float:
        found = answer(self.experiment, await self.store.read(self.experiment), self.now)
        return found.metrics["value"].get(0, {})["a"].sum

    def lose(self, store: Store) -> None:
        for key in store.client.scan_iter(f"experiment-sums:*{self.experiment.name}/*"):
            store.client.delete(key)


@pytest.fixture
async def cluster(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cluster]:
    monkeypatch.setattr(filling, "_GRACE_SECONDS", 0.0)
    made = Cluster(tmp_path, store.url)
    yield made
    made.rows.close()


async def turn(gateway: Recorder) -> None:
    """One round of a gateway, with what it begins."""
    await gateway.filling.look(all_of_them=True)
    for task in list(gateway.filling._filling.values()):
        await task
    await gateway.filling.look(all_of_them=True)
    await gateway._catch_up()
    await gateway.filling.look(all_of_them=True)


async def logged(gateway: Recorder, *records: Any) -> list[int]:
    log = gateway.exposures if isinstance(records[0], Exposure) else gateway.outcomes
    return await (await log.add(records))  # type: ignore[arg-type]


def killed(gateway: Recorder) -> None:
    """What a killed process leaves: its files, and no lock on them."""
    gateway.logs.close()


async def test_a_gateway_that_starts_after_days_without_a_lake_counts_nothing_again(cluster: Cluster) -> None:
    gateway = cluster.gateway("one")
    await turn(gateway)
    assert await logged(gateway, cluster.exposure("u")) == [ACCEPTED]
    assert await logged(gateway, cluster.outcome("u", "1"), cluster.outcome("u", "2")) == [ACCEPTED] * 2
    gateway.logs.ship()
    await turn(gateway)
    killed(gateway)
    cluster.now += 5 * DAY
    gateway = cluster.gateway("one")
    await turn(gateway)
    assert (await cluster.lacks(), await cluster.total()) == ("", 2.0)


async def test_what_was_not_known_to_be_told_is_counted_by_sums_made_anew(cluster: Cluster) -> None:
    gateway = cluster.gateway("one")
    await turn(gateway)
    await logged(gateway, cluster.exposure("u"))
    await logged(gateway, cluster.outcome("u", "1"), cluster.outcome("u", "2"))
    killed(gateway)  # before it said how far it is
    cluster.now += 5 * DAY
    gateway = cluster.gateway("one")
    await gateway.filling.look()
    await gateway._catch_up()
    assert "being filled" in await cluster.lacks()
    await turn(gateway)
    assert (await cluster.lacks(), await cluster.total()) == ("", 2.0)


async def test_sums_are_not_whole_while_another_gateway_has_not_told_its_log(cluster: Cluster, store: Store) -> None:
    one, two = cluster.gateway("one"), cluster.gateway("two")
    for each in (one, two):
        await turn(each)
        await logged(each, cluster.exposure(f"unit-of-{each.logs.uid}"))
        await logged(each, cluster.outcome(f"unit-of-{each.logs.uid}", each.logs.uid))
        await turn(each)
    assert (await cluster.lacks(), await cluster.total()) == ("", 2.0)
    await turn(one)  # so that it knows of the other
    cluster.lose(store)
    await turn(one)
    assert "two" in await cluster.lacks()
    await turn(two)
    assert (await cluster.lacks(), await cluster.total()) == ("", 2.0)


async def test_a_log_that_is_gone_is_named_until_it_is_back_or_given_up(cluster: Cluster, store: Store) -> None:
    one, two = cluster.gateway("one"), cluster.gateway("two")
    await turn(one)
    await turn(two)
    await logged(two, cluster.exposure("u"))
    await logged(two, cluster.outcome("u", "1"))
    await turn(two)
    await turn(one)
    uid = two.logs.uid
    killed(two)
    cluster.now += sums_state.AWAY + 1
    await turn(one)
    assert await cluster.lacks() == ""  # it had told all of it
    cluster.lose(store)
    await turn(one)
    assert f"the log {uid} of the gateway two" in await cluster.lacks()
    with pytest.raises(RetryError, match=f"--without {uid}") as refused:
        await one.filling.rebuild(cluster.experiment)
    assert refused.value.reason == "LogMissing"
    two = cluster.gateway("two")
    await turn(two)
    await turn(one)
    assert (await cluster.lacks(), await cluster.total()) == ("", 1.0)


async def test_sums_go_on_without_a_log_that_is_given_up(cluster: Cluster, store: Store) -> None:
    one, two = cluster.gateway("one"), cluster.gateway("two")
    for each, unit in ((one, "u"), (two, "v")):
        await turn(each)
        await logged(each, cluster.exposure(unit))
        await logged(each, cluster.outcome(unit, unit))
        await turn(each)
    await turn(one)
    killed(two)
    cluster.now += sums_state.AWAY + 1
    cluster.lose(store)
    await turn(one)
    with pytest.raises(NotFoundError, match="no gateway has a log 'nobody'"):
        await one.filling.rebuild(cluster.experiment, ["nobody"])
    rebuilding = asyncio.create_task(one.filling.rebuild(cluster.experiment, [two.logs.uid]))
    while not rebuilding.done():
        await turn(one)
    await rebuilding
    assert (await cluster.lacks(), await cluster.total()) == ("", 1.0)


async def test_sums_are_not_cleared_of_what_nobody_can_tell_again(cluster: Cluster) -> None:
    one, two = cluster.gateway("one"), cluster.gateway("two")
    await turn(one)
    await turn(two)
    await logged(two, cluster.exposure("u"))
    await logged(two, cluster.outcome("u", "1"))
    await turn(two)
    killed(two)
    cluster.now += sums_state.AWAY + 1
    await cluster.store.doubt(cluster.experiment)
    await turn(one)
    assert "the gateway two" in await cluster.lacks()
    assert await cluster.total() == 1.0


async def test_a_gateway_that_left_with_all_in_the_lake_is_waited_for_by_nobody(cluster: Cluster, store: Store) -> None:
    cluster.with_lake()
    one, two = cluster.gateway("one"), cluster.gateway("two")
    await turn(one)
    await turn(two)
    await logged(two, cluster.exposure("u"))
    await logged(two, cluster.outcome("u", "1"))
    await turn(two)
    await turn(one)
    await two.close()
    await turn(one)
    cluster.now += sums_state.AWAY + 1
    cluster.lose(store)
    await turn(one)
    assert (await cluster.lacks(), await cluster.total()) == ("", 1.0)


async def test_what_goes_to_the_lake_while_another_gateway_reads_it_is_not_lost(cluster: Cluster, store: Store) -> None:
    cluster.with_lake()
    one, two = cluster.gateway("one"), cluster.gateway("two")
    await turn(one)
    await turn(two)
    await logged(two, cluster.exposure("u"))
    await logged(two, cluster.outcome("u", "1"))
    await turn(two)
    await turn(one)
    cluster.lose(store)
    await turn(one)  # it has listed the lake, and two does not know of it yet
    two.logs.ship()
    await turn(two)
    assert (await cluster.lacks(), await cluster.total()) == ("", 1.0)


async def test_rows_of_an_experiment_that_cannot_be_read_just_now_are_counted_when_it_can(cluster: Cluster) -> None:
    gateway = cluster.gateway("one")
    await turn(gateway)
    await logged(gateway, cluster.exposure("u"))
    good = cluster.known
    cluster.known = Experiments({}, {("ns", cluster.experiment.name): "no weights"})
    assert await logged(gateway, cluster.outcome("u", "1")) == [PENDING]
    await turn(gateway)
    gateway.logs.ship()
    cluster.known = good
    assert gateway.logs.outcomes.told == 0
    await turn(gateway)
    assert (await cluster.lacks(), await cluster.total()) == ("", 1.0)


async def test_rows_of_an_experiment_that_is_gone_are_unknown_and_counted_where_it_comes_back(
    cluster: Cluster,
) -> None:
    gateway = cluster.gateway("one")
    await turn(gateway)
    await logged(gateway, cluster.exposure("u"))
    good = cluster.known
    cluster.known = Experiments({})
    assert await logged(gateway, cluster.outcome("u", "1")) == [UNKNOWN]
    cluster.known = good
    await gateway._found_again()
    await turn(gateway)
    assert (await cluster.lacks(), await cluster.total()) == ("", 1.0)


async def test_a_lock_that_expired_is_not_taken_from_whoever_has_it_now(cluster: Cluster) -> None:
    store, experiment = cluster.store, cluster.experiment
    assert await store.lock(experiment, "mine", 0.001)
    while not await store.lock(experiment, "theirs", 60):
        pass
    assert not await store.keep_lock(experiment, "mine", 60)
    await store.unlock(experiment, "mine")
    assert not await store.lock(experiment, "another", 60)
    assert await store.keep_lock(experiment, "theirs", 60)
    await store.unlock(experiment, "theirs")
    assert await store.lock(experiment, "another", 60)


async def test_a_gateway_that_is_killed_while_it_fills_holds_others_up_for_seconds(
    cluster: Cluster, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway, reading, killed = cluster.gateway("one"), threading.Event(), threading.Event()

    def known(_: PublishedExperiment) -> Iterator[list[Exposure]]:
        reading.set()
        killed.wait(60)
        return iter(())

    monkeypatch.setattr(gateway.logs, "known_exposures", known)
    monkeypatch.setattr(filling, "_LOCK_SECONDS", 0.4)
    filled = asyncio.create_task(gateway.filling._fill(cluster.experiment, clear=False))
    await asyncio.to_thread(reading.wait)
    [lock] = store.client.scan_iter(f"experiment-sums:*{cluster.experiment.name}/*lock")
    await asyncio.sleep(1)  # it is renewed, so that nobody else begins
    assert not await cluster.store.lock(cluster.experiment, "another", 1)
    assert 0 < int(store.client.pttl(lock)) <= 400  # type: ignore[arg-type]
    killed.set()
    await filled
    assert not store.client.exists(lock)
