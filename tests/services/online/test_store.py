from __future__ import annotations

import pytest

from millrace.base.errors import RejectError
from millrace.features.reading import layouts_of
from millrace.features.row import Layout
from millrace.online import store as stores
from millrace.online.store import Store
from tests.core.features.histories import view
from tests.services.online.rows import rows_of, write

OLD = view(("x", "int64"))
NEW = view(("x", "float64"))


def test_the_watermark_moves_forward_only(store: Store) -> None:
    assert store.watermark(OLD) is None
    for moment in (-5, 2**52, 7):
        store.advance(OLD, moment)
    assert store.watermark(OLD) == 2**52


def test_a_watermark_counts_for_the_schema_that_it_was_reached_with(store: Store) -> None:
    store.advance(OLD, 100)
    assert store.watermark(NEW) is None
    store.advance(NEW, 50)
    assert (store.watermark(OLD), store.watermark(NEW)) == (None, 50)


def test_layouts_of_all_schemas_stay_known(store: Store) -> None:
    store.announce(OLD)
    store.announce(NEW)
    known = layouts_of(store.client.hgetall("default:v:meta"))  # type: ignore[arg-type]
    assert known == {OLD.schema_id: Layout.of(OLD), NEW.schema_id: Layout.of(NEW)}


def test_a_purge_takes_the_rows_and_the_meta_key_of_its_view_and_nothing_else(store: Store) -> None:
    others = [view(("x", "int64"), name=name) for name in ("v2", "w", "a-v")]
    for definition in (OLD, *others):
        write(store, definition, rows_of(definition, [(i, 1, None, (i,)) for i in range(5000)]))
        store.announce(definition)
    store.client.set("default:v", "someone else's")
    assert store.purge("default", "v") == 5000
    assert store.count("default", "v") == 0
    assert not store.client.exists("default:v:meta")
    assert store.client.dbsize() == 3 * 5001 + 1
    assert store.purge("default", "v") == 0


def test_keys_are_counted_by_view(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    other = view(("x", "int64"), name="other")
    write(store, OLD, rows_of(OLD, [(i, 1, None, (i,)) for i in range(3000)]))
    write(store, other, rows_of(other, [(i, 1, None, (i,)) for i in range(9000)]))
    assert store.count("default", "v") == 3000
    monkeypatch.setattr(stores, "_COUNTED", 1000)
    monkeypatch.setattr(stores, "_SAMPLE", 4000)
    assert store.count("default", "v") == pytest.approx(3000, rel=0.15)


def test_a_url_of_another_kind_is_refused() -> None:
    with pytest.raises(RejectError, match=r"MILLRACE_STORE_URL: 'http://x' is no URL of an online store"):
        Store("http://x")
