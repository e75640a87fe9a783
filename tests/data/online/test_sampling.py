"""Rows drawn from a store: of one view, each at most once, every one with the same chance."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from millrace_core.features.online import keys
from millrace_data.online import sampling
from millrace_data.online.sampling import sample
from millrace_data.online.store import Store


def put(store: Store, view: str, count: int) -> None:
    store.client.mset({keys.prefix("shop", view) + b"%d}" % key: b"%d" % key for key in range(count)})


def test_all_rows_are_drawn_where_there_are_fewer(store: Store) -> None:
    put(store, "stats", 20)
    put(store, "stats-2", 20)
    found = sample(store, "shop", "stats", 100, Random(1))
    assert sorted(int(each.row) for each in found) == list(range(20))
    assert all(each.key.startswith(b"shop:stats:{") for each in found)
    assert sample(store, "shop", "nothing", 100, Random(1)) == []


def test_every_row_has_the_same_chance(store: Store) -> None:
    put(store, "stats", 20)
    drawn = Counter(int(each.row) for seed in range(400) for each in sample(store, "shop", "stats", 5, Random(seed)))
    assert sum(drawn.values()) == 2000
    # 100 expected of each; five standard deviations.
    assert all(57 <= drawn[row] <= 143 for row in range(20))


def test_of_a_large_view_the_first_rows_of_the_scan_will_do(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "_LEAST_SEEN", 50)
    put(store, "stats", 5000)
    assert len(sample(store, "shop", "stats", 3, Random(1))) == 3
