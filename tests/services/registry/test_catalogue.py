"""The catalogue finds what was mirrored, whole and consistent, on SQLite and on PostgreSQL."""

from __future__ import annotations

import threading
from typing import Any

import orjson
import pytest

from millrace_core.base.errors import MillraceError, NotFoundError, RejectError
from millrace_services.registry.catalogue import WHOLE, Catalogue, Part, Search
from millrace_services.registry.database import Database
from millrace_services.registry.documents import KINDS, Entry, canonical_kind, entry
from millrace_services.web.errors import ConflictError


def told(database: Database) -> Catalogue:
    """A catalogue that knows of everything that there is nothing."""
    made = Catalogue(database)
    for kind in KINDS:
        made.replace(kind, [])
    return made


def view(
    name: str, namespace: str = "shop", *, entity: str = "user_id", feature: str = "age", **spec: Any
) -> dict[str, Any]:
    return {
        "apiVersion": "millrace.dev/v1alpha1",
        "kind": "FeatureView",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "entities": [{"name": entity, "type": "int64"}],
            "source": {"parquet": {"uri": "file:///x"}, "timestampField": "t"},
            "features": [{"name": feature, "type": "int64"}],
            **spec,
        },
    }


def deployment(name: str, refs: list[str]) -> dict[str, Any]:
    return {
        "kind": "ModelDeployment",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"model": {"uri": "file:///m"}, "features": {"refs": refs}},
    }


@pytest.fixture
def catalogue(database: Database) -> Catalogue:
    made = told(database)
    made.replace(
        "FeatureView",
        [
            entry("FeatureView", view("user-stats", owner="growth@example.com", tags={"team": "growth"})),
            entry("FeatureView", view("User-100%", description="Purchase behaviour", tags={"team": "ads", "pii": ""})),
            entry("FeatureView", view("orders", "other", entity="order_id", feature="total")),
        ],
    )
    made.put(entry("ModelDeployment", deployment("ranker", ["user-stats:age"])))
    return made


def found(catalogue: Catalogue, **search: Any) -> list[str]:
    items, total = catalogue.search(Search(**search), 100, 0)
    assert total == len(items)
    return [item["metadata"]["name"] for item in items]


@pytest.mark.parametrize(
    ("search", "names"),
    [
        ({}, ["User-100%", "orders", "ranker", "user-stats"]),
        ({"kind": "ModelDeployment"}, ["ranker"]),
        ({"namespace": "other"}, ["orders"]),
        ({"namespace": "-"}, []),
        ({"name": "USER"}, ["User-100%", "user-stats"]),
        ({"name": "%"}, ["User-100%"]),
        ({"name": "_"}, []),
        ({"owner": "growth@example.com"}, ["user-stats"]),
        ({"owner": "growth"}, []),
        ({"tags": ["team=ads"]}, ["User-100%"]),
        ({"tags": ["team"]}, ["User-100%", "user-stats"]),
        ({"tags": ["team=ads", "pii="]}, ["User-100%"]),
        ({"tags": ["team=ads", "team=growth"]}, []),
        ({"entity": "order_id"}, ["orders"]),
        ({"feature": "age"}, ["User-100%", "ranker", "user-stats"]),
        ({"feature": "user-stats:age"}, ["ranker"]),
        ({"words": ["purchase", "AGE"]}, ["User-100%"]),
        ({"words": ["example.com"]}, ["user-stats"]),
        ({"words": ["'; drop table objects; --"]}, []),
    ],
)
def test_objects_are_found_by_what_people_know_of_them(catalogue, search, names):
    assert sorted(found(catalogue, **search)) == names


def test_a_page_says_how_many_there_are_in_all(catalogue):
    items, total = catalogue.search(Search(), 2, 1)
    assert (len(items), total) == (2, 4)


def test_a_snapshot_replaces_all_of_its_kind_and_nothing_else(catalogue):
    catalogue.replace("FeatureView", [entry("FeatureView", view("new", tags={"a": "b"}))])
    assert sorted(found(catalogue)) == ["new", "ranker"]
    assert found(catalogue, tags=["team"]) == []
    assert found(catalogue, tags=["a=b"]) == ["new"]


def test_a_change_takes_the_place_of_what_was_there(catalogue):
    catalogue.put(entry("FeatureView", view("user-stats", feature="height")))
    assert catalogue.get("FeatureView", "shop", "user-stats")["spec"]["features"][0]["name"] == "height"
    assert found(catalogue, feature="age", kind="FeatureView") == ["User-100%"]
    assert found(catalogue, owner="growth@example.com") == []


def test_a_removed_object_is_gone_and_removing_it_again_says_so(catalogue):
    catalogue.remove("FeatureView", "other", "orders")
    with pytest.raises(NotFoundError, match="there is no FeatureView other/orders"):
        catalogue.get("FeatureView", "other", "orders")
    with pytest.raises(NotFoundError):
        catalogue.remove("FeatureView", "other", "orders")


def test_bookkeeping_of_the_api_server_is_not_kept(catalogue):
    document = view("v")
    document["metadata"] |= {
        "managedFields": [{"manager": "kubectl"}],
        "resourceVersion": "5",
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "a": "b"},
    }
    catalogue.put(entry("FeatureView", document))
    kept = catalogue.get("FeatureView", "shop", "v")["metadata"]
    assert kept == {"name": "v", "namespace": "shop", "annotations": {"a": "b"}}


def test_definitions_carry_hashes_and_a_tag_of_their_content(catalogue):
    first = catalogue.definitions()
    assert catalogue.definitions() is first
    answer = orjson.loads(first.body)
    names = [item["metadata"]["name"] for item in answer["featureViews"]]
    assert sorted(names) == ["User-100%", "orders", "user-stats"]
    assert all(item["schemaHash"].startswith("sha256:") for item in answer["featureViews"])
    assert [item["metadata"]["name"] for item in answer["modelDeployments"]] == ["ranker"]
    original = view("user-stats", owner="growth@example.com", tags={"team": "growth"})
    catalogue.put(entry("FeatureView", view("user-stats")))
    assert catalogue.definitions().etag != first.etag
    catalogue.put(entry("FeatureView", original))
    assert catalogue.definitions().etag == first.etag


def test_a_view_that_means_nothing_is_kept_without_a_hash(catalogue):
    broken = view("broken")
    broken["spec"]["entities"] = "nonsense"
    catalogue.put(entry("FeatureView", broken))
    (definition,) = [
        item
        for item in orjson.loads(catalogue.definitions().body)["featureViews"]
        if item["metadata"]["name"] == "broken"
    ]
    assert "schemaHash" not in definition


def test_every_schema_a_view_ever_had_can_be_asked_for_by_the_beginning_of_its_hash(catalogue):
    before = catalogue.schemas("shop", "user-stats")[0]
    catalogue.put(entry("FeatureView", view("user-stats", feature="height")))
    catalogue.remove("FeatureView", "shop", "user-stats")
    listed = catalogue.schemas("shop", "user-stats")
    assert [item["spec"]["features"][0]["name"] for item in listed] == ["height", "age"]
    prefix = before["schemaHash"][: len("sha256:") + 16]
    assert catalogue.schemas("shop", "user-stats", prefix) == [before]
    with pytest.raises(NotFoundError, match="with schema hash sha256:00"):
        catalogue.schemas("shop", "user-stats", "sha256:00%")
    with pytest.raises(NotFoundError, match="no feature view shop/never"):
        catalogue.schemas("shop", "never")


def test_what_only_describes_a_view_does_not_change_its_schema(catalogue):
    catalogue.put(entry("FeatureView", view("user-stats", description="other words", ttl="5d")))
    assert len(catalogue.schemas("shop", "user-stats")) == 1


def test_writers_at_the_same_time_lose_nothing(catalogue):
    failures: list[MillraceError] = []

    def write(number: int) -> None:
        try:
            for turn in range(5):
                catalogue.put(entry("FeatureView", view(f"w-{number}-{turn}")))
                catalogue.put(entry("FeatureView", view("contended", feature=f"f{number}")))
                catalogue.definitions()
        except MillraceError as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(found(catalogue, name="w-")) == 30
    assert len(found(catalogue, name="contended")) == 1
    contended = catalogue.get("FeatureView", "shop", "contended")["spec"]["features"][0]["name"]
    assert "contended" in found(catalogue, feature=contended)


@pytest.mark.parametrize(
    ("kind", "document", "sentence"),
    [
        ("FeatureView", [], "a FeatureView is [], an object is expected"),
        ("FeatureView", {}, "metadata.name: the object has no name"),
        ("FeatureView", {"metadata": {"name": 5}}, "metadata.name: the object has no name"),
        ("FeatureView", {"metadata": {"name": "v"}}, "spec: v has no spec"),
        ("Experiment", view("v"), "kind: a 'FeatureView' came among objects of kind Experiment"),
    ],
)
def test_what_is_no_object_is_refused_with_its_field(kind, document, sentence):
    with pytest.raises(RejectError) as caught:
        entry(kind, document)
    assert sentence in str(caught.value)


def test_kinds_are_known_by_any_usual_name():
    assert canonical_kind("featureviews") == canonical_kind("FeatureView") == "FeatureView"
    with pytest.raises(NotFoundError, match="The kinds are FeatureView, ModelDeployment, Experiment"):
        canonical_kind("pods")


def names(catalogue: Catalogue, kind: str = "FeatureView") -> list[str]:
    """``namespace/name`` of all of a kind."""
    items, _ = catalogue.search(Search(kind), 100, 0)
    return [f"{item['metadata']['namespace']}/{item['metadata']['name']}" for item in items]


def part(release: str, *namespaces: str, scope: tuple[str, ...] = ()) -> Part:
    return Part(release, frozenset(namespaces), frozenset(scope or namespaces))


def views(*places: str) -> list[Entry]:
    split = [place.split("/") for place in places]
    return [entry("FeatureView", view(name, namespace)) for namespace, name in split]


def test_two_releases_replace_each_its_own_and_notice_nothing_of_each_other(database):
    catalogue = told(database)
    catalogue.replace("FeatureView", views("a/x", "b/y"), part=part("one", "a", "b"))
    left = catalogue.state().revision_of("one")
    catalogue.replace("FeatureView", views("c/z"), part=part("two", "c"))
    catalogue.put(views("c/w")[0])
    catalogue.put(entry("FeatureService", {"metadata": {"namespace": "a", "name": "s"}, "spec": {"refs": ["x:f"]}}))
    assert catalogue.state().revision_of("one") == left
    catalogue.replace("FeatureView", views("a/x"), part=part("one", "a", "b"))
    assert names(catalogue) == ["a/x", "c/w", "c/z"]
    assert catalogue.state().revision_of("one") > left
    left = catalogue.state().revision_of("one")
    catalogue.remove("FeatureView", "a", "x")  # by somebody else
    assert catalogue.state().revision_of("one") > left
    assert catalogue.state().revision_of("nobody") == 0


def test_a_namespace_of_which_nothing_is_said_stays_and_one_that_a_release_gave_up_goes(database):
    catalogue = told(database)
    catalogue.replace("FeatureView", views("a/x", "b/y", "c/z"), part=part("one", "a", "b", "c"))
    catalogue.replace("ModelDeployment", [entry("ModelDeployment", deployment("m", ["x:f"]))], part=WHOLE)
    catalogue.replace("FeatureView", views("a/x"), part=part("one", "a", scope=("a", "b")))
    assert names(catalogue) == ["a/x", "b/y"]
    with pytest.raises(ConflictError, match="has 1 of kind FeatureView"):
        catalogue.replace("FeatureView", [], part=part("one", "a", scope=("a", "b")))
    own = catalogue.state().revision_of("one")
    catalogue.put(views("c/z")[0])
    catalogue.replace("FeatureView", [], own, part=part("one", "a", scope=("a", "b")))
    assert names(catalogue) == ["b/y", "c/z"]
    assert names(catalogue, "ModelDeployment") == ["shop/m"]


def test_a_namespace_that_another_release_takes_over_is_no_longer_the_first_ones(database):
    catalogue = told(database)
    catalogue.replace("FeatureView", views("a/x", "b/y"), part=part("one", "a", "b"))
    left = catalogue.state().revision_of("one")
    catalogue.replace("FeatureView", views("b/y"), part=part("two", "b"))
    assert catalogue.state().revision_of("one") != left
    catalogue.replace("FeatureView", views("a/x"), part=part("one", "a"))
    assert names(catalogue) == ["a/x", "b/y"]
    catalogue.replace("FeatureView", views("a/x"), part=Part("wide"))
    assert names(catalogue) == ["a/x"]


def test_an_object_outside_of_the_namespaces_of_its_list_is_refused(database):
    with pytest.raises(RejectError, match="y is of 'b', which is not among the namespaces"):
        Catalogue(database).replace("FeatureView", views("a/x", "b/y"), part=part("one", "a"))


def test_a_release_sees_that_a_namespace_was_given_up_by_another(database):
    catalogue = told(database)
    catalogue.replace("FeatureView", views("a/x", "b/y"), part=Part("wide"))
    catalogue.replace("FeatureView", views("a/x", "b/y"), part=part("one", "a", "b"))
    catalogue.replace("FeatureView", views("c/z"), part=part("two", "c"))
    before = catalogue.state()
    catalogue.replace("FeatureView", views("a/x"), part=part("one", "a"))
    assert names(catalogue) == ["a/x", "c/z"]
    assert catalogue.state().revision_of("wide") > before.revision_of("wide")
    assert catalogue.state().revision_of("two") == before.revision_of("two")


def test_of_a_release_that_has_no_namespace_left_nothing_is_kept(database):
    catalogue = told(database)
    for name in ("one", "two", "three"):
        catalogue.replace("FeatureView", views("a/x"), part=part(name, "a"))
    assert list(catalogue.state().releases) == ["three"]
    assert catalogue.state().revision_of("one") == 0
