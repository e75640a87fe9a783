"""Shares of entities: every entity in exactly one, and in the same one everywhere."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.features.history.history import TimeRange
from millrace_core.features.online.shard import Shard, ShardedSource, shard_of
from tests.core.features.histories import TableSource, view

KEYS = pa.array([b"default:v:{1001}", b"default:v:{a\\p|}", None, b"default:v:{}"], pa.binary())


def test_the_share_of_a_key_never_changes() -> None:
    assert shard_of(KEYS, 7).tolist() == [1, 4, -1, 1]


@given(st.lists(st.one_of(st.none(), st.integers(-(2**31), 2**31 - 1)), max_size=40), st.integers(1, 8))
def test_shares_split_the_rows_without_a_remainder_whatever_the_width_of_the_key(
    keys: list[int | None], count: int
) -> None:
    whole = pa.table({"id": pa.array(keys, pa.int64()), "x": pa.array(range(len(keys)), pa.int64())})
    narrow = whole.set_column(0, "id", whole["id"].cast(pa.int32()))
    seen: list[int] = []
    for index in range(count):
        parts = []
        for table in (whole, narrow):
            source = ShardedSource(TableSource(table, 3), view(("x", "int64")), Shard(index, count))
            batches = list(source.scan(["x"], TimeRange(None, 0)))
            assert all(batch.schema.names == ["x"] for batch in batches)
            parts.append([value for batch in batches for value in batch["x"].to_pylist()])
        assert parts[0] == parts[1]
        seen += parts[0]
    assert sorted(seen) == [row for row, key in enumerate(keys) if key is not None]


def test_shares_are_about_equal() -> None:
    keys = pa.array([b"default:v:{%d}" % number for number in range(10_000)], pa.binary())
    for count in (2, 3, 7, 64):
        found = shard_of(keys, count).tolist()
        sizes = [found.count(index) for index in range(count)]
        assert max(sizes) < 1.5 * min(sizes)
