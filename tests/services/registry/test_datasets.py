"""Datasets: recorded once, found by id, view and namespace, with their lineage."""

from __future__ import annotations

import pytest

from millrace_core.base.errors import NotFoundError, RejectError
from millrace_services.registry.catalogue import Catalogue
from millrace_services.registry.database import Database
from millrace_services.registry.datasets import Datasets
from millrace_services.registry.documents import entry
from tests.builders import feature_view, model_deployment

FIRST, SECOND = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def manifest(identity: str, *views: str, project: str = "shop") -> dict[str, object]:
    made = [{"project": project, "name": view, "schemaHash": f"sha256:{view}"} for view in views]
    return {"id": identity, "uri": f"s3://lake/{identity[7:]}", "createdAt": "2026-01-01T00:00:00Z", "views": made}


def test_a_dataset_is_found_by_the_beginning_of_its_id_and_by_its_views(database: Database) -> None:
    datasets = Datasets(database)
    datasets.put(FIRST, manifest(FIRST, "stats", "visits"))
    datasets.put(SECOND, manifest(SECOND, "stats", project="other"))
    assert datasets.get("aaaa")["uri"] == f"s3://lake/{'a' * 64}"
    assert [each["id"] for each in datasets.list(namespace="", view="stats", limit=10)] == [SECOND, FIRST]
    assert [each["id"] for each in datasets.list(namespace="shop", view="stats", limit=10)] == [FIRST]
    assert datasets.list(namespace="other", view="visits", limit=10) == []
    with pytest.raises(NotFoundError, match="no dataset cccc"):
        datasets.get("cccc")


def test_recording_it_again_keeps_its_place_in_time(database: Database) -> None:
    datasets = Datasets(database)
    datasets.put(FIRST, manifest(FIRST, "stats"))
    datasets.put(SECOND, manifest(SECOND, "stats"))
    datasets.put(FIRST, {**manifest(FIRST, "stats"), "uri": "s3://elsewhere"})
    assert [each["uri"] for each in datasets.list(namespace="", view="", limit=10)][1] == "s3://elsewhere"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"id": SECOND}, f"{SECOND!r} came, {FIRST} is expected"),
        ({"id": None}, f"it is missing, {FIRST} is expected"),
        ({"uri": ""}, "where the dataset lies"),
        ({"views": [1]}, "views"),
    ],
)
def test_a_record_that_means_nothing_is_refused(database: Database, change: dict[str, object], words: str) -> None:
    with pytest.raises(RejectError, match=words):
        Datasets(database).put(FIRST, {**manifest(FIRST, "stats"), **change})


def test_the_lineage_of_a_view_goes_from_its_source_to_datasets_and_deployments(database: Database) -> None:
    catalogue, datasets = Catalogue(database), Datasets(database)
    for kind in ("FeatureView", "ModelDeployment"):
        catalogue.replace(kind, [])
    view = feature_view("stats", "s3://lake/stats/").having("metadata.namespace", "shop").build()
    deployment = model_deployment("ranker").having("metadata.namespace", "shop")
    refs = {"refs": ["stats:amount", "other:visits"], "input": "x"}
    catalogue.put(entry("FeatureView", view))
    catalogue.put(entry("ModelDeployment", deployment.having("spec.features", refs).build()))
    datasets.put(FIRST, manifest(FIRST, "stats"))
    found = datasets.lineage("shop", "stats")
    assert found["source"]["parquet"] == {"uri": "s3://lake/stats/"}
    assert [(each["id"], each["schemaHash"]) for each in found["datasets"]] == [(FIRST, "sha256:stats")]
    assert found["modelDeployments"] == [{"name": "ranker", "service": "ranker", "features": ["amount"]}]
    with pytest.raises(NotFoundError, match="no FeatureView shop/nothing"):
        datasets.lineage("shop", "nothing")
