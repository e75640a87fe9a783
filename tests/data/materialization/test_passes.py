"""Full runs, first runs of changed definitions, other runs and pushes, step by step in any order, beside a model that
knows every row that was ever written and asks which of them still count."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millrace_core.features.definition.definition import Definition
from millrace_core.features.online import keys
from millrace_core.features.online.generation import TOLERANCE, Generation
from millrace_core.features.online.row import Layout
from millrace_core.features.online.row_reader import RowReader
from millrace_core.features.online.shard import Shard
from millrace_data.materialization.ledger import Ledger, Replaces, RunInterval, RunShard, SupersededError
from millrace_data.online.store import Store
from millrace_data.online.sweeping import sweep
from tests.core.features.histories import view
from tests.data.online.rows import rows_of, write
from tests.examples import examples

MINUTE = 60_000_000
BEGIN = 1_900_000_000_000_000
LAG = MINUTE
FIXED = [view(("x", "int64")), view(("y", "int64"))]
VARIABLE = [view(("x", "int64"), ("s", "string")), view(("y", "int64"), ("s", "string"))]
KEYS = range(4)


class Written(NamedTuple):
    """A row as the model knows it: ``value`` is its identity."""

    key: int
    event: int
    value: int
    schema: bytes
    generation: int
    pushed: bool


@dataclass
class World:
    """The store, the source, and the model."""

    rng: random.Random
    store: Store
    definitions: list[Definition]
    now: int = BEGIN
    value: int = 0
    generation: int = 0
    since: int = 0
    source: dict[int, list[tuple[int, int]]] = field(default_factory=lambda: {key: [] for key in KEYS})
    rows: list[Written] = field(default_factory=list)
    runs: list[Iterator[None]] = field(default_factory=list)
    kills: bool = True
    hidden: set[int] = field(default_factory=set)

    @property
    def definition(self) -> Definition:
        return self.definitions[0]

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.store, self.definition)

    def next(self) -> int:
        self.value += 1
        return self.value

    def grow(self) -> None:
        """The source gets a row, sometimes a late one."""
        age = self.rng.choice([0, MINUTE // 2, 2 * MINUTE, 9 * MINUTE])
        self.source[self.rng.choice(KEYS)].append((self.now - age - self.rng.randrange(5), self.next()))

    def shrink(self) -> None:
        """The source loses rows, but never the oldest of the first key, which every run reads."""
        key = self.rng.choice(KEYS)
        first = self.source[key][:1] if key == 0 else []
        self.source[key] = first + [row for row in self.source[key][len(first) :] if self.rng.random() < 0.4]

    def push(self) -> None:
        key = self.rng.choice(KEYS)
        ahead = self.rng.choice([-12 * MINUTE, -3 * MINUTE, -MINUTE // 2, 0, 1, MINUTE, 4 * MINUTE, TOLERANCE])
        row = (key, self.now + ahead, self.next())
        generation = self.store.announce(self.definition)
        assert generation.number == self.generation
        self._write([row], generation, pushed=True)

    def _write(
        self,
        rows: list[tuple[int, int, int]],
        generation: Generation,
        *,
        pushed: bool = False,
        by: RunInterval | None = None,
    ) -> None:
        definition = self.definition
        given_rows = [
            (key, event, None, (value, f"row {value}" * (value % 3))[: len(definition.features)])
            for key, event, value in rows
        ]
        full = by.full_pass if by is not None and by.replaces == Replaces.ALL else None
        write(
            self.store,
            definition,
            rows_of(definition, given_rows),
            now=self.now,
            generation=generation,
            pushed=pushed,
            full_pass=full,
        )
        if by is not None and full is not None:  # whether or not it has been overtaken
            self._void(by, b"", {key for key, *_ in rows})
        if generation.number != self.generation:
            return  # a pass has begun since, and what counts is what that writes
        for key, event, value in rows:
            new = Written(key, event, value, definition.schema_id, generation.number, pushed)
            # A row of another definition says nothing beside one of this, but for what is visible until it comes.
            self.rows = [
                old
                for old in self.rows
                if old.key != key or old.schema == new.schema or (event > self.now and old.event <= self.now)
            ]
            self.rows.append(new)

    def run(self, replaces: Replaces) -> Iterator[None]:
        """A run, step by step; whoever drops it kills it."""
        definition, ledger = self.definition, self.ledger
        upto = self.now - LAG
        part = RunShard(f"run-{self.next()}", Shard(0, 1))
        covers = ledger.begin(part, RunInterval(None, upto, began=self.now, replaces=replaces))
        assert covers.generation is not None
        if covers.since:
            assert covers.generation > self.generation
            self.since = self.since or covers.generation
            assert covers.since == self.since
        self.generation = covers.generation
        yield
        known = [(key, *max(rows)) for key in KEYS if (rows := [r for r in self.source[key] if r[0] <= upto])]
        yield
        self.store.announce(definition)
        self.rng.shuffle(known)
        for row in known:
            self._write([row], Generation(covers.generation, covers.doubtful), by=covers)
            yield
            if self.kills and covers.generation == self.generation and self.rng.random() < 0.05:
                return
        if covers.generation != self.generation:
            with pytest.raises(SupersededError) as superseded:
                ledger.end(covers, None, part)
            found = ledger.last_pass()
            if superseded.value.swept and found is not None:
                sweep(self.store, definition.project, definition.view, *found)
            return
        if covers.since:
            assert ledger.written(covers, None, part)
            found = ledger.last_pass()
            assert found is not None
            assert found[0] == covers.full_pass
            yield
            if covers.generation != self.generation:
                return
            sweep(self.store, definition.project, definition.view, *found)
            self._void(covers, found[1], set(KEYS))
            yield
        if covers.generation == self.generation:
            assert ledger.end(covers, None, part)
            self.since = 0 if covers.since else self.since

    def _void(self, covers: RunInterval, stays: bytes, among: set[int]) -> None:
        """What no longer counts after a pass: rows from before it that it has had to see, or that nobody may push."""
        horizon = covers.began + TOLERANCE
        # The run of an earlier try wrote a row that the source has lost by now: what it replaced may be lost with it.
        lost = [
            row
            for row in self.rows
            if row.key in among and not row.pushed and covers.since <= row.generation < (covers.generation or 0)
        ]
        self.hidden |= {row.value for row in self.rows for its in lost if row.key == its.key and row.event <= its.event}
        self.rows = [
            row
            for row in self.rows
            if row.key not in among
            or row.schema == stays
            or (row.generation >= covers.since if row.pushed else row.generation >= (covers.generation or 0))
            or covers.upto < row.event <= horizon
        ]

    def change(self) -> None:
        """Another definition, and its first run at once; the runs of the former one are ended."""
        if self.runs:
            return
        self.definitions.reverse()
        self.begin(Replaces.FORMER)

    def begin(self, replaces: Replaces) -> None:
        run = self.run(replaces)
        next(run)
        self.runs.append(run)

    def step(self) -> None:
        run = self.rng.choice(self.runs) if self.runs else None
        if run is not None and next(run, self) is self:
            self.runs.remove(run)

    def finish(self) -> None:
        while self.runs:
            self.step()

    def read(self, key: int, as_of: int) -> Any:
        """What a reader is told, by the definition that the row has."""
        (name,) = keys.store_keys(self.definition, {"id": [key]})
        found: Any = self.store.client.get(name or b"")
        for definition in self.definitions:
            layouts = {Layout.of(each).schema_id: Layout.of(each) for each in self.definitions}
            got = RowReader(definition, [definition.features[0].name]).read([found], as_of, layouts)
            if got.features[0].statuses == ["PRESENT"]:
                return got.features[0].values[0]
        return None

    def expected(self, key: int, as_of: int) -> set[int | None]:
        """What a reader may be told: the newest row that counts, or where that was hidden, the one before."""
        seen = [(row.event, place) for place, row in enumerate(self.rows) if row.key == key and row.event <= as_of]
        found: set[int | None] = set()
        for _, place in sorted(seen, reverse=True):
            found.add(self.rows[place].value)
            if self.rows[place].value not in self.hidden:
                return found
        return found | {None}


def play(store: Store, definitions: list[Definition], seed: int, steps: int) -> None:
    store.client.flushall()
    rng = random.Random(seed)
    world = World(rng, store, list(definitions))
    world.source[0].append((BEGIN - 2 * MINUTE, world.next()))
    world.begin(Replaces.FORMER)
    world.finish()
    doings = [world.grow, world.grow, world.shrink, world.push, world.push, world.change]
    doings += [lambda: world.begin(Replaces.NOTHING), lambda: world.begin(Replaces.ALL)]
    for _ in range(steps):
        if rng.random() < 0.6 and world.runs:
            world.step()
        else:
            rng.choice(doings)()
        if rng.random() < 0.3:
            world.now += rng.choice([1, MINUTE // 3, MINUTE, 3 * MINUTE])
        assert world.read(0, world.now) is not None, "a reader sees nothing"
    world.finish()
    world.kills = False
    world.begin(rng.choice([Replaces.ALL, Replaces.FORMER]))
    world.finish()
    for as_of in (world.now, world.now + MINUTE, world.now + 2 * TOLERANCE):
        for key in KEYS:
            assert world.read(key, as_of) in world.expected(key, as_of), (key, as_of, world.rows)


@pytest.mark.parametrize("definitions", [FIXED, VARIABLE], ids=["fixed", "variable"])
@settings(max_examples=examples(0.75), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_what_readers_are_told_is_what_the_source_has_and_what_was_pushed_since(
    server: Any, definitions: list[Definition], seed: int
) -> None:
    play(Store(f"redis://127.0.0.1:{server.port}/0"), definitions, seed, 60)
