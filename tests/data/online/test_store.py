from __future__ import annotations

import pytest

from millrace_core.base.errors import RejectError, ReportError
from millrace_core.features.online.row import Layout
from millrace_core.features.online.row_reader import layouts_of
from millrace_data.online import meta
from millrace_data.online import store as stores
from millrace_data.online.store import Store
from tests.core.features.histories import view
from tests.data.online.rows import rows_of, write

OLD = view(("x", "int64"))
NEW = view(("x", "float64"))


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


def test_the_layouts_of_a_view_are_bounded_and_the_newest_stay(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meta, "LAYOUTS_KEPT", 3)
    definitions = [view((f"x{i}", "int64")) for i in range(5)]
    for definition in definitions:
        store.announce(definition)
    store.announce(definitions[2])
    store.announce(view(("y", "string")))
    known = store.layouts("default", "v")
    assert list(known.values()).count(Layout.of(definitions[2])) == 1
    assert len(known) == 3
    assert definitions[3].schema_id not in known


def test_a_url_of_another_kind_is_refused() -> None:
    with pytest.raises(RejectError, match=r"MILLRACE_STORE_URL: 'http://x' is no URL of an online store"):
        Store("http://x")


def test_a_user_of_the_acl_needs_no_more_than_the_rows_and_the_scripts(store: Store) -> None:
    rights = "+@read +@write +@scripting +@connection +info +dbsize +scan -@dangerous +info"
    store.client.execute_command("ACL SETUSER", "millrace", "on", ">s3cret", "~default:*", *rights.split())
    store.client.execute_command("ACL SETUSER", "reader", "on", ">s3cret", "~default:*", "+@read", "-@dangerous")
    host = store.where.hosts[0]
    writer = Store(f"redis://millrace:s3cret@{host}/0")
    write(writer, OLD, rows_of(OLD, [(1, 1, None, (1,))]))
    writer.announce(OLD)
    assert (writer.count("default", "v"), writer.purge("default", "v")) == (1, 1)
    reader = Store(f"redis://reader:s3cret@{host}/0")
    assert reader.rows([b"default:v:{1}"]) == [None]
    with pytest.raises(ReportError, match=r"does not permit this: .*To mend it, give the user in") as caught:
        reader.announce(OLD)
    assert "s3cret" not in str(caught.value)
    with pytest.raises(ReportError, match="refuses"):
        Store(f"redis://millrace:wrong@{host}/0").count("default", "v")
