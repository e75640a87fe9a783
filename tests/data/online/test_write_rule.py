from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace_core.features.definition.definition import Definition
from millrace_data.online.commands import KEYS_AT_ONCE, expiries
from millrace_data.online.store import Store
from tests.core.features.histories import view
from tests.data.online.rows import read, rows_of, write
from tests.examples import examples

FIXED = view(("x", "int64"), created="written")
VARIABLE = view(("x", "int64"), ("s", "string"), created="written")


def values(definition: Definition, number: int) -> tuple[Any, ...]:
    return (number, f"row {number}")[: len(definition.features)]


@pytest.mark.parametrize("definition", [FIXED, VARIABLE], ids=["fixed", "variable"])
@settings(max_examples=examples(0.6))
@given(seed=st.integers(0, 2**32))
def test_writers_in_any_order_leave_the_newest_row_of_each_entity(
    server: Any, definition: Definition, seed: int
) -> None:
    store = Store(f"redis://127.0.0.1:{server.port}/0")
    store.client.flushall()
    rng = random.Random(seed)
    times = [-(2**62), -(2**32) - 1, -(2**32), -1, 0, 1, 2**32 - 1, 2**32, 2**53 + 1, 2**62]
    given_rows = [
        (rng.randrange(5), rng.choice(times), rng.choice([None, *times]), values(definition, number))
        for number in range(40)
    ]
    newest: dict[int, Any] = {}
    for key, event, created, row in given_rows:
        low = -(2**63)
        at = (event, low if created is None else created)
        if key not in newest or at >= newest[key][0]:
            newest[key] = (at, row)
    rows = list(given_rows)
    while rows:
        # One row per entity in a batch, as every writer has it.
        batch = {row[0]: row for row in reversed(rows[: rng.randint(1, 10)])}
        write(store, definition, rows_of(definition, list(batch.values())))
        rows = [row for row in rows if row not in batch.values()]
    for key, (at, row) in newest.items():
        got = read(store, definition, key)
        assert got is not None
        assert (got.event_time, -(2**63) if got.created_time is None else got.created_time) == at
        if sum(r[0] == key and (r[1], -(2**63) if r[2] is None else r[2]) == at for r in given_rows) == 1:
            assert got.values == row


@pytest.mark.parametrize("definition", [FIXED, VARIABLE], ids=["fixed", "variable"])
def test_older_rows_are_skipped_and_corrections_land(store: Store, definition: Definition) -> None:
    def once(event: int, created: int | None, number: int) -> tuple[int, int]:
        written = write(store, definition, rows_of(definition, [(7, event, created, values(definition, number))]))
        return written.changed, written.skipped

    assert once(10, None, 1) == (1, 0)
    assert once(9, 99, 2) == (0, 1)
    assert once(10, 5, 3) == (1, 0)
    assert once(10, 4, 4) == (0, 1)
    assert once(10, 6, 5) == (1, 0)
    assert once(10, 6, 5) == (0, 1), "the very same row"
    assert once(10, 6, 6) == (1, 0), "at equal times the row that comes later stays"
    assert once(11, None, 7) == (1, 0)
    got = read(store, definition, 7)
    assert got is not None
    assert got.values == values(definition, 7)


def test_a_row_of_a_new_schema_replaces_an_equally_old_one_of_the_former(store: Store) -> None:
    write(store, FIXED, rows_of(FIXED, [(7, 10, 5, (1,))]))
    assert write(store, VARIABLE, rows_of(VARIABLE, [(7, 10, 5, (1, "one"))])).changed == 1
    got = read(store, VARIABLE, 7)
    assert got is not None
    assert got.values == (1, "one")


@pytest.mark.parametrize("rubbish", [b"", b"rubbish", b"x" * 200])
def test_what_is_no_row_under_a_row_s_key_does_not_stop_the_run(store: Store, rubbish: bytes) -> None:
    store.client.set("default:v:{7}", rubbish)
    for definition in (FIXED, VARIABLE):
        write(store, definition, rows_of(definition, [(7, 2**62, None, values(definition, 1))]))


def test_a_key_goes_when_its_row_is_older_than_the_ttl_or_less_than_a_thousandth_of_it_later(store: Store) -> None:
    definition = view(("x", "int64"), ttl="1h")
    seconds, _ = store.client.time()  # type: ignore[misc]
    now = seconds * 1_000_000
    hour = 3_600_000_000
    rows = [(number, now - number * 1_234_567, None, (number,)) for number in range(300)]
    write(store, definition, rows_of(definition, [*rows, (300, now - 2 * hour, None, (300,))]))
    for number, event, *_ in rows:
        goes = store.client.pexpiretime(f"default:v:{{{number}}}")
        assert (event + hour) // 1000 < goes <= (event + hour + hour // 1000) // 1000  # type: ignore[operator]
    assert read(store, definition, 300) is None


def test_rows_of_about_one_time_expire_together_and_go_by_few_calls(store: Store) -> None:
    definition = view(("x", "int64"), ttl="1000d")
    now = 1_000_000 * store.client.time()[0]  # type: ignore[index]
    rows = [(number, now - number * 100_000_000, None, (number,)) for number in range(2 * KEYS_AT_ONCE)]
    store.client.config_resetstat()
    write(store, definition, rows_of(definition, rows))
    stats: Any = store.client.info("commandstats")
    assert "cmdstat_set" not in stats
    assert stats["cmdstat_msetex"]["calls"] <= 4, "two calls of the rule, each with a day's end at most"


@given(
    events=st.lists(st.integers(-(2**50), 2**50), min_size=1, max_size=20),
    ttl=st.sampled_from(["1ms", "999ms", "1s", "1h", "30d", "36500d"]),
)
def test_no_key_goes_before_its_row_is_too_old_to_be_read(events: list[int], ttl: str) -> None:
    definition = view(("x", "int64"), ttl=ttl)
    life = definition.ttl or 0
    found = expiries(definition, rows_of(definition, [(7, event, None, (1,)) for event in events]))
    assert found is not None
    for event, goes in zip(events, found.tolist(), strict=True):
        soonest = max((event + life) // 1000 + 1, 1)
        assert soonest <= goes < soonest + max(life // 1_000_000, 1)


@pytest.mark.parametrize("fixed", [True, False], ids=["fixed", "variable"])
@pytest.mark.parametrize("rights", ["+@all", "+@all -msetex"], ids=["MSETEX", "no MSETEX"])
def test_rows_that_expire_land_by_the_same_rule_whatever_the_server_knows(
    store: Store, rights: str, fixed: bool
) -> None:
    definition = view(("x", "int64"), *([] if fixed else [("s", "string")]), created="written", ttl="36500d")
    store.client.execute_command("ACL", "SETUSER", "writer", "reset", "on", ">secret", "~*", *rights.split())
    host = store.where.hosts[0]
    writer = Store(f"redis://writer:secret@{host.name}:{host.port}/0")
    year = 365 * 86_400_000_000
    first = [(key, key % 7 * year, None, values(definition, key)) for key in range(250)]
    second = [(key, (key * 3) % 7 * year, None, values(definition, key + 1000)) for key in range(300)]
    write(writer, definition, rows_of(definition, first))
    landed = {key: row for key, *_, row in first} | {
        key: row for key, event, _, row in second if key >= 250 or event >= key % 7 * year
    }
    written = write(writer, definition, rows_of(definition, second))
    assert written.changed == sum(row[0] >= 1000 for row in landed.values())
    assert written.skipped == 300 - written.changed
    for key, row in landed.items():
        got = read(store, definition, key)
        assert got is not None
        assert got.values == row
        goes: Any = store.client.pexpiretime(f"default:v:{{{key}}}")
        assert 0 <= goes - (got.event_time + 100 * year) // 1000 - 1 < 100 * year // 1_000_000


def test_msetex_is_tried_once_per_call_where_it_is_refused(store: Store) -> None:
    client = store.client
    client.execute_command("ACL", "SETUSER", "writer", "reset", "on", ">secret", "~*", "+@all", "-msetex")
    client.acl_log_reset()
    host = store.where.hosts[0]
    writer = Store(f"redis://writer:secret@{host.name}:{host.port}/0")
    definition, year = view(("x", "int64"), ttl="36500d"), 365 * 86_400_000_000
    rows = [(key, key % 7 * year, None, (key,)) for key in range(3 * KEYS_AT_ONCE)]
    assert write(writer, definition, rows_of(definition, rows)).changed == len(rows)
    assert sum(entry["count"] for entry in client.acl_log()) == 3


def test_a_row_that_comes_again_takes_the_ttl_of_its_view_as_it_is_now(store: Store) -> None:
    row = (7, 2**50, None, (1,))
    for ttl, expires in (("36500d", True), (None, False), ("40000d", True)):
        definition = view(("x", "int64"), ttl=ttl)
        write(store, definition, rows_of(definition, [row]))
        assert (store.client.pexpiretime("default:v:{7}") > 0) == expires  # type: ignore[operator]


@pytest.mark.parametrize("event", [-(2**62), 2**62])
def test_a_time_beyond_all_calendars_neither_overflows_nor_fails(store: Store, event: int) -> None:
    definition = view(("x", "int64"), ttl="1h")
    write(store, definition, rows_of(definition, [(1, event, None, (1,))]))
    assert (read(store, definition, 1) is None) == (event < 0)
