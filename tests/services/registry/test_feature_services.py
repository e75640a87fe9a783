"""Feature services: saved under a name, found, given to the gateway, and refused where they mean nothing."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from millrace_core.base.errors import NotFoundError, RejectError
from millrace_core.features.online.published import snapshot
from millrace_services.registry.catalogue import Catalogue, Search
from millrace_services.registry.database import Database
from millrace_services.registry.documents import KINDS, entry
from millrace_services.registry.feature_services import FeatureServices
from millrace_services.web.errors import ConflictError
from tests.builders import model_deployment

REFS = ["user-stats:visits", "user-stats as sender(user_id=sender_id):visits"]


def told(database: Database) -> Catalogue:
    """A catalogue that was told of every kind what there is: nothing."""
    catalogue = Catalogue(database)
    for kind in KINDS:
        catalogue.replace(kind, [])
    return catalogue


def test_what_is_saved_is_found_by_name_namespace_and_feature(database: Database) -> None:
    catalogue = told(database)
    services = FeatureServices(catalogue)
    made = services.put("shop", "fraud_check", {"features": REFS, "owner": "risk"})
    assert made == {"name": "fraud-check", "namespace": "shop", "features": REFS, "owner": "risk"}
    services.put("other", "fraud-check", {"features": ["a:b"]})
    assert services.get("shop", "fraud-check") == services.get("shop", "fraud_check") == made
    assert services.list("shop", 10) == [made]
    assert [each["namespace"] for each in services.list("", 10)] == ["other", "shop"]
    [found], total = catalogue.search(Search(feature="visits", owner="risk"), 10, 0)
    assert (found["metadata"]["name"], total) == ("fraud-check", 1)


def test_saving_again_replaces_and_what_is_removed_is_gone(database: Database) -> None:
    services = FeatureServices(Catalogue(database))
    services.put("shop", "one", {"features": REFS})
    assert services.put("shop", "one", {"features": ["a:b"]})["features"] == ["a:b"]
    services.remove("shop", "one")
    assert services.list("shop", 10) == []
    for act in (services.get, services.remove):
        with pytest.raises(NotFoundError, match="there is no FeatureService shop/one"):
            act("shop", "one")


def test_the_gateway_gets_them_with_the_definitions_and_they_go_before_a_deployment_of_the_name(
    database: Database,
) -> None:
    catalogue = told(database)
    deployment = model_deployment("fraud").having("spec.features", {"refs": ["a:b"]}).build()
    catalogue.put(entry("ModelDeployment", deployment))
    before = catalogue.definitions()
    assert snapshot(before.body, "").feature_service("default", "fraud") == ("a:b",)
    FeatureServices(catalogue).put("default", "fraud", {"features": REFS})
    after = catalogue.definitions()
    assert after.etag != before.etag
    assert snapshot(after.body, "").feature_service("default", "fraud") == tuple(REFS)
    # What another release of the registry answers.
    old = {name: value for name, value in orjson.loads(after.body).items() if name != "featureServices"}
    assert snapshot(orjson.dumps(old), "").feature_service("default", "fraud") == ("a:b",)


def test_the_list_of_a_deployment_is_not_deleted_here(database: Database) -> None:
    catalogue = told(database)
    deployment = model_deployment("fraud").having("spec.features", {"refs": ["a:b"]}).build()
    catalogue.put(entry("ModelDeployment", deployment))
    with pytest.raises(ConflictError, match=r"the list of the ModelDeployment default/fraud.*spec.features.refs"):
        FeatureServices(catalogue).remove("default", "fraud")


@pytest.mark.parametrize(
    ("name", "body", "field"),
    [
        ("Fraud", {"features": ["a:b"]}, "name"),
        ("x" * 64, {"features": ["a:b"]}, "name"),
        ("x", {}, "features"),
        ("x", {"features": []}, "features"),
        ("x", {"features": "a:b"}, "features"),
        ("x", {"features": ["a:b", 7]}, "features[1]"),
        ("x", {"features": ["a:b", "c"]}, "features[1]"),
        ("x", {"features": ["a:b", "a:b"]}, "features[1]"),
        ("x", {"features": ["a as p(k=x):b", "a as p(k=y):c"]}, "features"),
        ("x", {"features": ["a:b"], "owner": 7}, "owner"),
        ("x", {"features": ["a:b"], "ttl": "1h"}, "ttl"),
    ],
)
def test_what_is_no_list_of_references_under_a_name_is_refused(
    database: Database, name: str, body: dict[str, Any], field: str
) -> None:
    services = FeatureServices(Catalogue(database))
    with pytest.raises(RejectError) as refused:
        services.put("shop", name, body)
    assert refused.value.field == field
    assert services.list("", 10) == []


def test_a_name_that_is_refused_is_shown_as_it_came(database: Database) -> None:
    with pytest.raises(RejectError, match=r"name: 'Bad_Name' came"):
        FeatureServices(Catalogue(database)).put("shop", "Bad_Name", {"features": ["a:b"]})
