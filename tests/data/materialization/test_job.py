from __future__ import annotations

import random
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from millrace_core.base.errors import MillraceError, RetryError
from millrace_core.features.evaluation.engine import Engine
from millrace_core.features.history.history import TimeRange
from millrace_core.features.online.generation import TOLERANCE
from millrace_core.features.online.shard import Shard
from millrace_data.materialization import job
from millrace_data.materialization.job import Result, RunRequest
from millrace_data.materialization.later_rows import LAST_MOMENT
from millrace_data.materialization.ledger import (
    Ledger,
    Position,
    Replaces,
    RunInterval,
    RunShard,
    SupersededError,
)
from millrace_data.online.patience import StoreRestartedError
from millrace_data.online.store import Store
from millrace_data.sources.credentials import Credentials
from millrace_data.sources.opening import open_source
from tests.core.features.histories import TableSource
from tests.data.online.rows import rows_of, write
from tests.lake import Lake

DAY = 86_400_000_000
HOUR = 3_600_000_000
MINUTE = 60_000_000


def run(lake: Lake, store: Store, now: int, start: int | None = None, end: int | None = None, **options: Any) -> Result:
    definition, part = lake.definition, options.get("part")
    asked = RunRequest(start, end, options.pop("full", False))
    covers = job.run_interval(definition, Ledger(store, definition).position(), now, asked)
    if part is not None:
        covers = Ledger(store, definition).begin(part, covers)
    source = options.pop("source", None) or open_source(definition, Credentials())
    return job.run(
        definition, source, store, Engine(str(lake.folder.parent / "spill"), threads=1), covers, patience=0.2, **options
    )


def amounts(lake: Lake, store: Store, users: range) -> list[Any]:
    rows = [lake.read(store, user) for user in users]
    return [row and row.values[0] for row in rows]


def test_the_latest_row_of_every_entity_is_written(lake: Lake, store: Store) -> None:
    lake.add((1, 10, 1.0), (2, 30, 2.0), (1, 20, 3.0))
    lake.add((1, 15, 4.0), (3, 99, 5.0))
    result = run(lake, store, now=50)
    assert (result.rows, result.written, result.skipped, result.keys) == (2, 2, 0, 2)
    assert amounts(lake, store, range(1, 4)) == [3.0, 2.0, None]
    assert store.watermark(lake.definition) == 50


def test_a_run_goes_on_from_the_watermark_and_waits_for_the_lag(lake: Lake, store: Store) -> None:
    lake.having("spec.materialization.lag", "1s")
    lake.add((1, 1_000_000, 1.0), (1, 1_000_001, 2.0))
    assert run(lake, store, now=2_000_000).interval[:2] == (None, 1_000_000)
    assert amounts(lake, store, range(1, 2)) == [1.0]
    assert run(lake, store, now=2_000_001).interval[:2] == (1_000_000, 1_000_001)
    assert amounts(lake, store, range(1, 2)) == [2.0]
    assert run(lake, store, now=2_000_001).rows == 0


def test_a_row_of_exactly_start_from_is_taken_and_older_ones_are_not(lake: Lake, store: Store) -> None:
    lake.having("spec.materialization.startFrom", "1970-01-02T00:00:00Z")
    lake.add((1, DAY, 1.0), (2, DAY - 1, 2.0))
    result = run(lake, store, now=2 * DAY)
    assert amounts(lake, store, range(1, 3)) == [1.0, None]
    assert job.as_dict(result, 0.5, 3 * DAY)["interval"] == {
        "start": "1970-01-02T00:00:00Z",
        "end": "1970-01-03T00:00:00Z",
    }
    store.client.flushall()
    assert run(lake, store, now=9 * DAY, start=DAY, end=2 * DAY).rows == 1


def test_the_watermark_moves_only_where_nothing_before_is_missing(lake: Lake, store: Store) -> None:
    lake.add((1, 10, 1.0))
    run(lake, store, now=9 * DAY, start=50, end=60)
    assert store.watermark(lake.definition) is None
    run(lake, store, now=9 * DAY, end=40)
    assert store.watermark(lake.definition) == 40
    run(lake, store, now=9 * DAY, start=45, end=60)
    assert store.watermark(lake.definition) == 40
    run(lake, store, now=9 * DAY, start=30, end=50)
    assert store.watermark(lake.definition) == 50
    run(lake, store, now=9 * DAY, end=20)
    assert store.watermark(lake.definition) == 50


def test_a_new_schema_begins_from_the_beginning_and_replaces_the_rows(lake: Lake, store: Store) -> None:
    lake.add((1, 10, 1.0), (2, 20, 2.0))
    run(lake, store, now=50)
    lake.having("spec.features", [{"name": "amount", "type": "float32"}])
    result = run(lake, store, now=60)
    assert (result.interval[:2], result.rows, result.written) == ((None, 60), 2, 2)
    assert amounts(lake, store, range(1, 3)) == [1.0, 2.0]


def test_rows_older_than_the_ttl_are_not_written(lake: Lake, store: Store) -> None:
    lake.having("spec.ttl", "36500d")
    age = 36500 * DAY
    now = int(store.client.time()[0]) * 1_000_000  # type: ignore[index]
    lake.add((1, now - age, 1.0), (2, now - age - 1, 2.0))
    assert run(lake, store, now=now).rows == 1


@pytest.mark.slow
def test_intervals_in_any_order_and_again_end_in_the_same_store(lake: Lake, store: Store) -> None:
    rng = random.Random(5)
    for _ in range(3):
        lake.add(*((rng.randrange(20), rng.randrange(100), rng.random()) for _ in range(100)))
    run(lake, store, now=100)
    expected = amounts(lake, store, range(20))
    for _ in range(5):
        store.client.flushall()
        stretches = [(None, 25), (25, 50), (50, 75), (75, 100), (10, 60)] * 2
        rng.shuffle(stretches)
        for start, end in stretches:
            run(lake, store, now=9 * DAY, start=start, end=end)
        assert amounts(lake, store, range(20)) == expected


class Breaking:
    """A source that fails at some batch of some scan."""

    def __init__(self, source: Any, scans: int, batches: int) -> None:
        self._source = source
        self.columns = source.columns
        self._left = [scans, batches]

    def scan(self, columns: Sequence[str], time_range: TimeRange) -> Iterator[Any]:
        self._left[0] -= 1
        for count, batch in enumerate(self._source.scan(columns, time_range)):
            if self._left[0] == 0 and count == self._left[1]:
                raise RetryError("the network is gone")
            yield batch


@pytest.mark.parametrize(("scans", "batches"), [(1, 0), (1, 3), (2, 0), (2, 1), (2, 5)])
def test_a_run_that_dies_half_way_costs_time_only(lake: Lake, store: Store, scans: int, batches: int) -> None:
    for first in range(6):
        lake.add(*((user, 10 + user, float(user)) for user in range(first * 10, first * 10 + 10)))
    definition = lake.definition
    broken = Breaking(open_source(definition, Credentials()), scans, batches)
    with pytest.raises(RetryError, match="the network is gone"):
        run(lake, store, now=1000, source=broken)
    assert store.watermark(definition) is None
    result = run(lake, store, now=1000)
    assert (result.rows, result.keys) == (60, 60)
    assert amounts(lake, store, range(60)) == [float(user) for user in range(60)]


def test_a_source_whose_column_changed_leaves_the_last_good_values(lake: Lake, store: Store) -> None:
    lake.add((1, 10, 1.0))
    run(lake, store, now=20)
    lake.having("spec.features", [{"name": "amount", "type": "string"}])
    with pytest.raises(MillraceError, match="column 'amount' has the type double"):
        run(lake, store, now=30)
    lake.having("spec.features", [{"name": "amount", "type": "float64"}, {"name": "visits", "type": "int64"}])
    assert amounts(lake, store, range(1, 2)) == [1.0]


def test_progress_tells_rows_and_the_share_done(lake: Lake, store: Store) -> None:
    for first in range(4):
        lake.add(*((user, 10, 0.0) for user in range(first * 10, first * 10 + 10)))
    seen: list[tuple[int, float]] = []
    run(lake, store, now=20, progress=lambda rows, done: seen.append((rows, done)))
    assert seen[-1] == (40, 1.0)
    assert seen == sorted(seen)


def test_progress_goes_on_over_rows_that_came_late(lake: Lake, store: Store) -> None:
    lake.having("spec.source.createdTimestampField", "created_timestamp")
    lake.add((1, 10, 0.0), created=10)
    run(lake, store, now=20)
    lake.add((2, 15, 0.0), (3, 25, 0.0), created=25)
    seen: list[tuple[int, float]] = []
    run(lake, store, now=30, progress=lambda rows, done: seen.append((rows, done)))
    assert seen == [(1, 0.5), (2, 1.0)]


def test_rows_that_are_written_late_are_caught_whatever_their_event_time(lake: Lake, store: Store) -> None:
    lake.having("spec.source.createdTimestampField", "created_timestamp")
    lake.add((1, 10, 1.0), (2, 20, 2.0), created=25)
    run(lake, store, now=30)
    lake.add((1, 15, 1.5), (2, 5, 9.9), (3, 1, 3.0), created=31)
    result = run(lake, store, now=40)
    assert (result.rows, result.written, result.skipped) == (3, 2, 1)
    assert amounts(lake, store, range(1, 4)) == [1.5, 2.0, 3.0]
    assert run(lake, store, now=50).rows == 0, "each is read once"


@pytest.mark.parametrize("seed", [1, 3])
def test_whatever_runs_and_writes_come_between_the_next_run_has_every_row(lake: Lake, store: Store, seed: int) -> None:
    """Rows of any event time, seen up to the lag after they were created; runs of every sort, shards that never end."""
    rng, lag = random.Random(seed), 1_000_000
    lake.having("spec.source.createdTimestampField", "created_timestamp")
    lake.having("spec.materialization.lag", "1s")
    now, best = 10 * lag, dict[int, tuple[int, int, float]]()
    for step in range(25):
        now += rng.randrange(1, lag // 5)
        match rng.choice(["write", "write", "news", "news", "stretch", "shards"]):
            case "write":
                created = now - rng.randrange(lag)
                rows = [
                    (rng.randrange(200), rng.randrange(created + 1), rng.random()) for _ in range(rng.randrange(1, 5))
                ]
                lake.add(*rows, created=created)
                for user, event, amount in rows:
                    best[user] = max(best.get(user, (-1, -1, 0.0)), (event, created, amount), key=lambda row: row[:2])
            case "shards" if lake.files:
                for index in rng.sample(range(2), rng.choice([1, 2, 2])):
                    run(lake, store, now=now, part=RunShard(f"run-{step}", Shard(index, 2)))
            case "stretch" if lake.files:
                start = rng.randrange(now)
                run(lake, store, now=now, start=start, end=rng.randrange(start, now))
            case "news" | "full" as kind if lake.files:
                run(lake, store, now=now, full=kind == "full")
    now += lag
    lake.add((999, 0, 0.0), created=now)
    run(lake, store, now=now)
    assert amounts(lake, store, range(200)) == [best[user][2] if user in best else None for user in range(200)]


def test_a_correction_of_an_equal_event_time_lands(lake: Lake, store: Store) -> None:
    lake.having("spec.source.createdTimestampField", "created_timestamp")
    lake.add((1, 10, 1.0), created=11)
    run(lake, store, now=30)
    lake.add((1, 10, 2.0), created=35)
    run(lake, store, now=40)
    assert amounts(lake, store, range(1, 2)) == [2.0]


def test_a_created_time_in_the_future_hides_nothing_that_comes_after_it(lake: Lake, store: Store) -> None:
    lake.having("spec.source.createdTimestampField", "created_timestamp")
    lake.add((1, 10, 1.0), created=DAY)
    run(lake, store, now=30)
    lake.add((2, 10, 2.0), created=31)
    run(lake, store, now=40)
    assert amounts(lake, store, range(1, 3)) == [1.0, 2.0]


def test_a_row_that_is_seen_some_time_after_it_was_created_is_caught_within_the_lag(lake: Lake, store: Store) -> None:
    lake.having("spec.source.createdTimestampField", "created_timestamp")
    lake.having("spec.materialization.lag", "1s")
    lake.add((1, 10, 1.0), created=1_500_000)
    run(lake, store, now=2_000_000)
    lake.add((2, 10, 2.0), created=500_001)
    lake.add((3, 10, 3.0), created=500_000)
    run(lake, store, now=3_000_000)
    assert amounts(lake, store, range(1, 4)) == [1.0, 2.0, None]


def test_late_rows_beyond_ttl_or_before_start_from_stay_out(lake: Lake, store: Store) -> None:
    lake.having("spec.source.createdTimestampField", "created_timestamp")
    lake.having("spec.materialization.startFrom", "1970-01-02T00:00:00Z")
    run_at = 10 * DAY
    lake.add((1, 9 * DAY, 1.0), created=9 * DAY)
    run(lake, store, now=run_at)
    lake.add((2, DAY - 1, 2.0), (3, DAY, 3.0), created=run_at + 1)
    assert run(lake, store, now=run_at + 2).rows == 1
    assert amounts(lake, store, range(1, 4)) == [1.0, None, 3.0]


def test_without_created_times_lateness_says_how_far_back_is_read_again(lake: Lake, store: Store) -> None:
    lake.having("spec.materialization.lateness", "1s")
    lake.add((1, 2_000_000, 1.0))
    run(lake, store, now=3_000_000)
    lake.add((2, 2_000_001, 2.0), (3, 2_000_000, 3.0))
    assert run(lake, store, now=4_000_000).interval[:2] == (2_000_000, 4_000_000)
    assert amounts(lake, store, range(1, 4)) == [1.0, 2.0, None]


def test_a_full_run_reads_everything_again(lake: Lake, store: Store) -> None:
    lake.add((1, 20, 1.0))
    run(lake, store, now=30)
    lake.add((2, 10, 2.0))
    assert run(lake, store, now=40).rows == 0
    assert run(lake, store, now=40, full=True).rows == 2
    assert amounts(lake, store, range(1, 3)) == [1.0, 2.0]


def test_shares_of_a_run_cover_one_stretch_and_the_last_to_end_moves_the_watermark(lake: Lake, store: Store) -> None:
    lake.having("spec.source.createdTimestampField", "created_timestamp")
    lake.add(*((user, 10 + user, float(user)) for user in range(100)), created=50)
    parts = [RunShard("one", Shard(index, 3)) for index in range(3)]
    first = run(lake, store, now=200, part=parts[2])
    again = run(lake, store, now=300, part=parts[2])
    second = run(lake, store, now=400, part=parts[0])
    assert [first.complete, again.complete, second.complete] == [False, False, False]
    assert store.watermark(lake.definition) is None
    last = run(lake, store, now=500, part=parts[1])
    assert last.complete
    assert {each.interval.upto for each in (first, again, second, last)} == {200}
    assert first.rows + second.rows + last.rows == 100
    assert Ledger(store, lake.definition).position() == Position(200, 50)
    assert amounts(lake, store, range(100)) == [float(user) for user in range(100)]
    assert not [name for name in store.client.hkeys("shop:user-stats:meta") if name.startswith(b"run:")]  # type: ignore[union-attr]


def test_a_store_that_lost_a_share_is_never_called_complete(lake: Lake, store: Store) -> None:
    lake.add(*((user, 10, 0.0) for user in range(20)))
    run(lake, store, now=20, part=RunShard("one", Shard(0, 2)))
    store.client.flushall()
    assert not run(lake, store, now=20, part=RunShard("one", Shard(1, 2))).complete
    assert store.watermark(lake.definition) is None
    for index in range(2):
        result = run(lake, store, now=20, part=RunShard("two", Shard(index, 2)))
    assert result.complete
    assert result.keys == 20


def test_what_a_failed_run_of_shares_left_is_removed_in_time(lake: Lake, store: Store) -> None:
    lake.add((1, 10, 0.0))
    run(lake, store, now=20, part=RunShard("dead", Shard(0, 2)))
    run(lake, store, now=2 * DAY, part=RunShard("next", Shard(0, 2)))
    names: Any = store.client.hkeys("shop:user-stats:meta")
    assert b"run:dead" in names
    run(lake, store, now=2 * DAY + 21, part=RunShard("later", Shard(0, 2)))
    names = store.client.hkeys("shop:user-stats:meta")
    assert b"run:dead" not in names
    assert b"run:next" in names


def test_snapshots_are_made_from_all_that_they_need_and_their_quality_is_that_of_the_new_rows(lake: Lake) -> None:
    total = {"name": "total", "type": "float64", "aggregate": {"function": "sum", "column": "amount", "window": "7d"}}
    lake.having("spec.source.createdTimestampField", "created_timestamp")
    lake.having("spec.ttl", "1h")
    lake.having("spec.features", [total])
    covers = job.run_interval(lake.definition, Position(2 * DAY, DAY), 3 * DAY)
    assert job.time_ranges(lake.definition, TableSource(pa.table({})), covers) == [TimeRange(-4 * DAY + 1, 3 * DAY)]
    assert job.news(lake.definition, covers) == [TimeRange(2 * DAY + 1, 3 * DAY), TimeRange(None, 2 * DAY, DAY)]


def test_nothing_is_left_on_disk(lake: Lake, store: Store, tmp_path: Path) -> None:
    lake.add((1, 10, 1.0))
    run(lake, store, now=20)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lake"]


def test_a_run_whose_end_is_to_come_goes_up_to_now(lake: Lake, store: Store) -> None:
    lake.add((1, 10, 1.0), (1, 20, 2.0))
    assert run(lake, store, now=10, end=30).interval.upto == 10
    assert amounts(lake, store, range(1, 2)) == [1.0]
    assert store.watermark(lake.definition) == 10


def test_a_full_run_has_readers_see_what_the_source_has_and_nothing_else(lake: Lake, store: Store) -> None:
    lake.add((1, 10, 1.0), (2, 10, 2.0), (3, 10, 3.0))
    run(lake, store, now=50)
    lake.replace((1, 5, 1.5), (3, 10, 3.0))
    result = run(lake, store, now=60)
    assert (amounts(lake, store, range(1, 4)), result.removed) == ([1.0, 2.0, 3.0], 0)
    result = run(lake, store, now=70, full=True)
    assert amounts(lake, store, range(1, 4)) == [1.5, None, 3.0]
    assert (result.rows, result.written, result.skipped, result.removed, result.keys) == (2, 1, 1, 1, 2)


@pytest.mark.parametrize(("tolerance", "stays"), [(TOLERANCE, None), (2 * HOUR, 2.0)])
def test_a_full_run_keeps_rows_as_late_as_pushes_were_allowed_to_be(
    lake: Lake, store: Store, tolerance: int, stays: float | None
) -> None:
    lake.add((1, 10, 1.0))
    run(lake, store, now=50)
    generation = store.announce(lake.definition, tolerance)
    values = (2.0, *[None] * (len(lake.definition.features) - 1))
    pushed = rows_of(lake.definition, [(2, HOUR, None, values)])
    write(store, lake.definition, pushed, now=60, generation=generation, pushed=True)
    store.announce(lake.definition)  # by one who allows less
    assert store.tolerance(lake.definition) == tolerance
    run(lake, store, now=70, full=True)
    assert amounts(lake, store, range(1, 3)) == [1.0, stays]


@pytest.mark.parametrize(("days", "stays"), [(1, 2.0), (3, None)])
def test_a_full_run_that_did_not_end_is_taken_up_for_two_days(
    lake: Lake, store: Store, days: int, stays: float | None
) -> None:
    lake.add((1, 10, 1.0))
    definition, ledger, began = lake.definition, Ledger(store, lake.definition), 20_000 * DAY
    run(lake, store, now=began)
    ledger.begin(RunShard("killed", Shard(0, 1)), RunInterval(None, began, began=began, replaces=Replaces.ALL))
    values = (2.0, *[None] * (len(definition.features) - 1))
    pushed = rows_of(definition, [(2, began, None, values)])
    write(store, definition, pushed, now=began, generation=store.announce(definition), pushed=True)
    run(lake, store, now=began + days * DAY, full=True)
    assert amounts(lake, store, range(1, 3)) == [1.0, stays]


def test_a_run_that_ended_is_told_so_again_where_the_answer_did_not_come(lake: Lake, store: Store) -> None:
    ledger, part = Ledger(store, lake.definition), RunShard("a", Shard(0, 1))
    covers = ledger.begin(part, RunInterval(None, 50, began=50, replaces=Replaces.FORMER))
    assert ledger.end(covers, None, part)
    assert ledger.end(covers, None, part)
    store.client.flushall()
    with pytest.raises(StoreRestartedError):
        ledger.end(covers, None, part)


def test_the_first_run_of_a_changed_definition_replaces_rows_that_are_newer(lake: Lake, store: Store) -> None:
    lake.add((1, 10, 1.0), (2, 20, 2.0), (2, 5, 0.5))
    run(lake, store, now=50)
    lake.having("spec.source.where", "amount < 1.5")
    result = run(lake, store, now=60)
    assert (result.written, result.removed) == (2, 0)
    assert amounts(lake, store, range(1, 3)) == [1.0, 0.5]
    lake.having("spec.source.where", "amount < 0.75")
    assert run(lake, store, now=70).removed == 1
    assert amounts(lake, store, range(1, 3)) == [None, 0.5]


def test_the_last_shard_of_a_full_run_sweeps_for_all(lake: Lake, store: Store) -> None:
    lake.having("spec.materialization.parallelism", 2)
    lake.add(*((user, 10, 1.0) for user in range(20)))
    run(lake, store, now=50)
    lake.replace(*((user, 10, 2.0) for user in range(0, 20, 2)))
    one, two = (run(lake, store, now=60, full=True, part=RunShard("a", Shard(index, 2))) for index in (1, 0))
    assert (one.complete, one.removed, two.complete, two.removed) == (False, 0, True, 10)
    assert amounts(lake, store, range(20)) == [2.0, None] * 10


def test_a_run_that_a_full_run_overtook_is_told_and_leaves_nothing(lake: Lake, store: Store) -> None:
    lake.add((1, 10, 1.0), (2, 10, 2.0))
    run(lake, store, now=50)
    lake.add((3, 55, 3.0))
    ledger, definition = Ledger(store, lake.definition), lake.definition
    slow = job.begin(ledger, job.run_interval(definition, ledger.position(), 60, RunRequest()), None, 0.2)
    shutil.copytree(lake.folder, lake.folder.parent / "as it was")
    uri = lake.definition.source.parquet.uri  # type: ignore[union-attr]
    lake.having("spec.source.parquet.uri", f"file://{lake.folder.parent}/as it was/")
    source = open_source(lake.definition, Credentials())
    lake.having("spec.source.parquet.uri", uri)
    lake.replace((1, 10, 1.0))
    run(lake, store, now=70, full=True)
    with pytest.raises(SupersededError, match="a full run of feature view 'user-stats' began during this one"):
        job.run(definition, source, store, Engine(str(lake.folder.parent / "spill"), threads=1), slow, patience=0.2)
    assert amounts(lake, store, range(1, 4)) == [1.0, None, None]


@pytest.mark.parametrize("shards", [1, 3])
def test_rows_later_than_now_are_counted_and_not_written(lake: Lake, store: Store, shards: int) -> None:
    lake.having("spec.materialization.lag", "1m")
    now = 3 * DAY
    lake.add((1, now - 2 * MINUTE, 1.0), (2, now, 2.0), (3, now + TOLERANCE, 3.0))
    lake.add((4, now + TOLERANCE + 1, 4.0), (5, now + 900 * DAY, 5.0), (1, LAST_MOMENT, 6.0))
    parts = [RunShard("r", Shard(index, shards)) for index in range(shards)]
    results = [run(lake, store, now, part=part) for part in parts]
    assert sum(result.later or 0 for result in results) == 3
    assert sum(result.rows for result in results) == 1
    assert amounts(lake, store, range(1, 6)) == [1.0, None, None, None, None]
    assert all(job.as_dict(result, 0.0, now)["later"] == result.later for result in results)
    assert run(lake, store, now + DAY).later == 2, "the others' time has come"


def test_a_run_over_earlier_times_does_not_look_for_later_rows(lake: Lake, store: Store) -> None:
    lake.add((1, DAY, 1.0), (2, 9 * DAY, 2.0))
    result = run(lake, store, 3 * DAY, end=2 * DAY)
    assert result.later is None
    assert "later" not in job.as_dict(result, 0.0, 3 * DAY)
    assert run(lake, store, 3 * DAY, end=100 * DAY).later == 1, "an end beyond now is now"
