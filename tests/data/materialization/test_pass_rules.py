"""Each rule of passes by itself: which rows one takes away, which stay, and what is told to runs beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from millrace_core.features.definition.definition import Definition
from millrace_core.features.online import keys, stored_value
from millrace_core.features.online.generation import TOLERANCE, Generation
from millrace_core.features.online.row import Layout
from millrace_core.features.online.shard import Shard
from millrace_data.materialization.ledger import Ledger, Replaces, RunInterval, RunShard, SupersededError
from millrace_data.online.store import Store
from millrace_data.online.sweeping import sweep
from tests.core.features.histories import view
from tests.data.online.rows import rows_of, write

MINUTE = 60_000_000
NOW = 1_900_000_000_000_000
FIXED = view(("x", "int64"))
VARIABLE = view(("x", "int64"), ("s", "string"))


@dataclass
class Table:
    """The rows of a view in a store, in which one run has ended before ``NOW``."""

    store: Store
    definition: Definition

    def __post_init__(self) -> None:
        self.store.announce(self.definition)
        covers = self.begin("first", Replaces.FORMER, -60)
        assert self.ledger.written(covers, None, whole("first"))
        assert self.ledger.end(covers, None, whole("first"))
        self.before = Generation(covers.generation or 0)

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.store, self.definition)

    def begin(self, name: str, replaces: Replaces, minutes: int = 0) -> RunInterval:
        began = NOW + minutes * MINUTE
        return self.ledger.begin(whole(name), RunInterval(None, began, began=began, replaces=replaces))

    def put(self, key: int, event: int, value: int, generation: Generation, **more: Any) -> None:
        values = (value, f"row {value}")[: len(self.definition.features)]
        rows = rows_of(self.definition, [(key, NOW + event, None, values)])
        write(self.store, self.definition, rows, **{"now": NOW, "generation": generation, **more})

    def push(self, key: int, event: int, value: int) -> None:
        self.put(key, event, value, self.store.announce(self.definition), pushed=True)

    def sweep(self) -> int:
        found = self.ledger.last_pass()
        assert found is not None
        return sweep(self.store, self.definition.project, self.definition.view, *found)

    def seen(self, key: int, as_of: int = 0) -> int | None:
        """The value that a reader is told at a moment."""
        (name,) = keys.store_keys(self.definition, {"id": [key]})
        found: Any = self.store.client.get(name or b"")
        if found is None:
            return None
        row = Layout.of(self.definition).decode(stored_value.visible(found, NOW + as_of))
        return row.values[0] if row.event_time <= NOW + as_of else None  # type: ignore[return-value]


def whole(name: str) -> RunShard:
    return RunShard(name, Shard(0, 1))


def stamped(covers: RunInterval) -> Generation:
    return Generation(covers.generation or 0, covers.doubtful)


@pytest.fixture(params=[FIXED, VARIABLE], ids=["fixed", "variable"])
def table(store: Store, request: pytest.FixtureRequest) -> Table:
    return Table(store, request.param)


def test_a_pass_that_takes_up_another_leaves_what_was_pushed_since_that_began(table: Table) -> None:
    table.push(1, -5, 1)
    first = table.begin("a", Replaces.ALL)
    table.push(2, -5, 2)
    second = table.begin("b", Replaces.ALL, 1)
    assert (first.since, second.since) == (first.generation, first.generation)
    assert (second.generation or 0) > (first.generation or 0)
    assert table.sweep() == 1
    assert (table.seen(1), table.seen(2)) == (None, 2)


def test_a_pass_that_takes_up_another_takes_away_what_that_wrote(table: Table) -> None:
    first = table.begin("a", Replaces.ALL)
    table.put(1, -5, 1, stamped(first), full_pass=first.full_pass)
    second = table.begin("b", Replaces.ALL, 1)
    table.put(2, -9, 2, stamped(second), full_pass=second.full_pass)
    assert table.sweep() == 1
    assert (table.seen(1), table.seen(2)) == (None, 2)


def test_a_pass_after_one_that_ended_begins_anew(table: Table) -> None:
    first = table.begin("a", Replaces.ALL)
    table.push(1, -5, 1)
    assert table.ledger.written(first, None, whole("a"))
    assert table.ledger.end(first, None, whole("a"))
    second = table.begin("b", Replaces.ALL, 1)
    assert second.since == second.generation
    assert table.sweep() == 1, "what was pushed between is to be in the source by now"


def test_a_pass_replaces_a_void_row_however_new_it_is_and_no_other_run_does(table: Table) -> None:
    for key in (1, 2):
        table.put(key, -5, key, table.before)
    covers = table.begin("a", Replaces.ALL)
    table.put(1, -9, 10, stamped(covers), full_pass=covers.full_pass)
    table.put(2, -9, 20, table.before)
    assert (table.seen(1), table.seen(2)) == (10, 2)


def test_rows_later_than_a_pass_stay_as_far_as_a_push_may_be_ahead(table: Table) -> None:
    covers = table.begin("a", Replaces.ALL)
    assert covers.full_pass is not None
    for key, event in ((1, 0), (2, 1), (3, TOLERANCE), (4, TOLERANCE + 1)):
        table.put(key, event, key, table.before, now=NOW + 2 * TOLERANCE)
    assert table.sweep() == 2
    assert [table.seen(key, 2 * TOLERANCE) for key in range(1, 5)] == [None, 2, 3, None]


def test_a_first_run_sweeps_former_definitions_alone(store: Store) -> None:
    table, other = Table(store, FIXED), view(("y", "int64"))
    table.put(1, -5, 1, table.before)
    table.definition = other
    table.put(2, -5, 2, table.before)
    table.begin("a", Replaces.FORMER)
    assert table.sweep() == 1
    assert table.seen(2) == 2
    (former,) = keys.store_keys(FIXED, {"id": [1]})
    assert store.client.get(former or b"") is None


def test_a_row_later_than_now_waits_beside_the_one_to_read(table: Table) -> None:
    table.push(1, -5, 1)
    table.push(1, MINUTE, 2)
    assert (table.seen(1), table.seen(1, MINUTE - 1), table.seen(1, MINUTE)) == (1, 1, 2)
    table.push(1, -3, 3)
    assert (table.seen(1), table.seen(1, MINUTE)) == (3, 2)


def test_a_row_to_read_lands_beneath_one_that_is_later_than_now(table: Table) -> None:
    table.push(1, MINUTE, 2)
    table.push(1, -5, 1)
    assert (table.seen(1), table.seen(1, MINUTE)) == (1, 2)


def test_beneath_a_row_that_a_full_run_may_take_away_an_older_one_is_kept(table: Table) -> None:
    table.put(1, -5, 1, table.before)
    covers = table.begin("a", Replaces.ALL)
    assert table.store.announce(table.definition) == Generation(covers.generation or 0, covers.since)
    table.push(1, -9, 2)
    assert table.seen(1) == 1
    assert table.sweep() == 0
    assert table.seen(1) == 2


def test_a_push_that_does_not_know_of_a_pass_counts_as_after_it_and_a_run_does_not_count(table: Table) -> None:
    covers = table.begin("a", Replaces.ALL)
    for key in (1, 2):
        table.put(key, -9, key, stamped(covers), full_pass=covers.full_pass)
    table.put(1, -5, 10, table.before, pushed=True)
    table.put(2, -5, 20, table.before)
    assert table.sweep() == 0
    assert (table.seen(1), table.seen(2)) == (10, 2)


def test_a_run_that_a_pass_overtook_is_told_whether_that_may_have_swept(table: Table) -> None:
    slow = table.begin("slow", Replaces.NOTHING)
    covers = table.begin("a", Replaces.ALL)
    with pytest.raises(SupersededError) as told:
        table.ledger.end(slow, None, whole("slow"))
    assert not told.value.swept
    assert table.ledger.written(covers, None, whole("a"))
    with pytest.raises(SupersededError) as told:
        table.ledger.end(slow, None, whole("slow"))
    assert told.value.swept
    assert table.ledger.end(covers, None, whole("a"))
    with pytest.raises(SupersededError) as told:
        table.ledger.end(slow, None, whole("slow"))
    assert told.value.swept
    again = table.begin("slow", Replaces.NOTHING)
    assert again.generation == covers.generation, "a run that was superseded begins anew"
    assert table.ledger.end(again, None, whole("slow"))
