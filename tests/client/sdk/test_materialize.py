"""From YAML files alone: materialize, read online, check for skew."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
import redis

from millrace import FeatureStore
from millrace.sdk import embedded
from millrace_core.base.errors import RejectError
from millrace_core.features.online import keys
from millrace_core.features.online.row import Layout
from tests.client.conftest import DAY, NOON, Lake

REFS = ["stats:amount", "stats:visits"]
MICROSECOND = timedelta(microseconds=1)


def store_of(lake: Lake, *views: Any) -> FeatureStore:
    return FeatureStore.from_files([lake.write(*views)], online=lake.online)


def test_what_is_materialized_is_read_with_types_statuses_and_times(lake: Lake) -> None:
    lake.add((3, NOON, None, 7))
    store = store_of(lake)
    made = store.materialize("stats", end=NOON + DAY)
    assert (made.view, made.rows, made.written, made.skipped, made.keys) == ("stats", 3, 3, 0, 3)
    assert (made.start, made.end) == (None, NOON + DAY)
    found = store.get_online_features(REFS, [{"user_id": user} for user in (1, 2, 3, 9)])
    assert found.to_dict() == {
        "user_id": [1, 2, 3, 9],
        "amount": [2.0, 3.0, None, None],
        "visits": [20, 30, 7, None],
    }
    assert found.statuses["amount"] == ["PRESENT", "PRESENT", "NULL_VALUE", "NOT_FOUND"]
    assert found.event_timestamps["amount"] == [NOON + DAY, NOON, NOON, None]
    assert found.to_dict(include_statuses=True)["visits__status"][3] == "NOT_FOUND"
    nothing = store.get_online_features(REFS, [{"user_id": 9}]).to_arrow()
    assert nothing.schema == pa.schema({"user_id": pa.int64(), "amount": pa.float64(), "visits": pa.int64()})
    assert len(found.to_pandas()) == len(found.to_polars()) == 4


def test_the_end_may_be_a_text_a_date_or_left_out(lake: Lake) -> None:
    store = store_of(lake)
    assert store.materialize("stats", "2026-01-01T12:00:00Z").rows == 2
    assert store.materialize("stats", (NOON + DAY + DAY).date(), start=NOON).rows == 1
    assert store.materialize("stats").start == datetime(2026, 1, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"end": NOON, "start": NOON}, "is not before end"),
        ({"end": 5}, "end: 5 came, a datetime or a time such as"),
        ({"end": "yesterday"}, "end: 'yesterday' is no time"),
    ],
)
def test_a_stretch_that_means_nothing_is_refused(lake: Lake, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(RejectError, match=words):
        store_of(lake).materialize("stats", **arguments)


def test_without_an_online_store_it_says_how_to_have_one(lake: Lake) -> None:
    store = FeatureStore.from_files([lake.write()])
    for act in (
        lambda: store.materialize("stats", NOON),
        lambda: store.get_online_features(REFS, [{"user_id": 1}]),
        lambda: store.verify("stats"),
    ):
        with pytest.raises(RejectError, match='online="embedded"'):
            act()


def test_the_skew_check_finds_nothing_after_a_run(lake: Lake) -> None:
    store = store_of(lake, lake.view().having("spec.source.createdTimestampField", "created"))
    store.materialize("stats", NOON + DAY)
    verdict = store.verify("stats", 100)
    assert (verdict.rows, verdict.values, verdict.different, verdict.ahead, verdict.waiting) == (2, 4, 0, 0, 0)
    assert verdict.clean


def test_the_skew_check_names_a_value_that_was_changed_in_the_store(lake: Lake) -> None:
    store = store_of(lake)
    store.materialize("stats", NOON + DAY)
    definition = store.definition("stats")
    client = redis.Redis.from_url(embedded.resolve(lake.online)())
    [key] = keys.store_keys(definition, {"user_id": [2]})
    layout = Layout.of(definition)
    event, created, values = layout.decode(client.get(key))
    client.set(key, layout.encode(event, created, [values[0], 31]))
    verdict = store.verify("stats")
    assert not verdict.clean
    [found] = verdict.mismatches
    assert (found.entity, found.feature, found.online, found.offline) == ({"user_id": 2}, "visits", 31, 30)


def test_a_row_that_came_after_the_run_waits_for_the_next_and_is_no_skew(lake: Lake) -> None:
    store = store_of(lake, lake.view().having("spec.source.createdTimestampField", "created"))
    store.materialize("stats", NOON + DAY)
    lake.add((2, NOON + MICROSECOND, 4.0, 40), created=NOON + DAY + DAY)
    verdict = store.verify("stats")
    assert (verdict.different, verdict.waiting) == (0, 1)


def test_a_row_later_than_the_watermark_is_compared_at_its_own_time(lake: Lake) -> None:
    store = store_of(lake)
    store.materialize("stats", NOON + DAY)
    definition = store.definition("stats")
    client = redis.Redis.from_url(embedded.resolve(lake.online)())
    for user in (2, 7):
        [key] = keys.store_keys(definition, {"user_id": [user]})
        moment = keys.times.microseconds(NOON + DAY + DAY)
        client.set(key, Layout.of(definition).encode(moment, None, [9.0, user]))
    assert (store.verify("stats").ahead, store.verify("stats").different) == (2, 0)
    lake.add((2, NOON + DAY + DAY, 9.0, 2), (7, NOON + DAY + DAY, 9.0, 8))
    verdict = store.verify("stats")
    assert (verdict.ahead, verdict.different) == (0, 1)
    assert store.verify("stats", as_of=NOON + DAY).rows == 1


def test_a_row_past_its_ttl_at_the_watermark_is_absent_on_both_sides(lake: Lake) -> None:
    lake.add((4, datetime.now(UTC) - timedelta(hours=1), 5.0, 50))
    store = store_of(lake, lake.view().having("spec.ttl", "30d"))
    store.materialize("stats", datetime.now(UTC))
    assert store.verify("stats").rows == 1


def test_aggregates_are_verified_as_of_the_snapshots_own_moment(lake: Lake) -> None:
    features = [
        {"name": "last", "type": "float64", "column": "amount"},
        {"name": "spent", "type": "float64", "aggregate": {"function": "sum", "column": "amount", "window": "2d"}},
        {"name": "share", "type": "float64", "expression": "last / nullif(spent, 0)"},
    ]
    store = store_of(lake, lake.view().having("spec.features", features))
    store.materialize("stats", NOON + DAY)
    verdict = store.verify("stats")
    assert (verdict.rows, verdict.values, verdict.different) == (2, 6, 0)
    lake.add((2, NOON - timedelta(hours=1), 0.5, 1))
    verdict = store.verify("stats")
    assert {each.feature for each in verdict.mismatches} == {"spent", "share"}


def test_the_skew_check_finds_rows_that_are_later_than_now_and_a_rebuild_removes_them(lake: Lake) -> None:
    store = store_of(lake)
    store.materialize("stats", NOON + DAY)
    definition = store.definition("stats")
    client = redis.Redis.from_url(embedded.resolve(lake.online)())
    [key] = keys.store_keys(definition, {"user_id": [2]})
    far = keys.times.microseconds(datetime(2099, 1, 1, tzinfo=UTC))
    client.set(key, Layout.of(definition).encode(far, None, [9.0, 9]))
    verdict = store.verify("stats")
    assert (verdict.clean, verdict.different, verdict.later) == (False, 0, 1)
    assert [(each.entity, each.event_time) for each in verdict.later_rows] == [({"user_id": 2}, far)]
    assert store.rebuild("stats").written == 1
    verdict = store.verify("stats")
    assert (verdict.clean, verdict.rows) == (True, 2)
    assert store.get_online_features(["stats:visits"], [{"user_id": 2}]).to_dict()["visits"] == [30]


def test_a_good_row_is_seen_although_one_that_is_later_than_now_was_there_before(lake: Lake) -> None:
    store = store_of(lake)
    definition = store.definition("stats")
    client = redis.Redis.from_url(embedded.resolve(lake.online)())
    [key] = keys.store_keys(definition, {"user_id": [2]})
    far = keys.times.microseconds(datetime(2099, 1, 1, tzinfo=UTC))
    client.set(key, Layout.of(definition).encode(far, None, [9.0, 9]))
    store.materialize("stats", NOON + DAY)
    assert store.get_online_features(["stats:visits"], [{"user_id": 2}]).to_dict()["visits"] == [30]
    assert store.verify("stats").later == 1
