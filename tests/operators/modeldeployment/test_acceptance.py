"""What speaks against a ModelDeployment."""

from __future__ import annotations

from typing import Any

import pytest

from millrace_core.api.modeldeployment import ModelDeployment, ModelDeploymentSpec
from millrace_kube.cache import Cache
from millrace_kube.resources import FEATURE_VIEWS, MODEL_DEPLOYMENTS
from millrace_operators.modeldeployment.acceptance import Surroundings, objection
from millrace_operators.modeldeployment.observe import surroundings
from tests import builders

VIEWS: dict[str, dict[str, Any]] = {
    "user-stats": builders.feature_view("user-stats").build()["spec"],
    "offline": builders.feature_view("offline").having("spec.online", {"enabled": False}).build()["spec"],
}


def spec(*refs: str, service: str = "shop") -> ModelDeploymentSpec:
    built = builders.model_deployment("m", service=service)
    if refs:
        built = built.having("spec.features", {"refs": list(refs)})
    return ModelDeployment.model_validate(built.build()).spec


def said(found: ModelDeploymentSpec, around: Surroundings) -> str:
    return str(objection("m", found, around) or "")


def test_known_features_are_accepted() -> None:
    assert objection("m", spec("user-stats:amount", "user-stats:visits"), Surroundings(VIEWS)) is None


def test_an_unknown_view_is_named_with_those_there_are() -> None:
    text = said(spec("user-stats:amount", "users:amount"), Surroundings(VIEWS))
    assert text.startswith("spec.features.refs[1]: there is no FeatureView 'users'")
    assert "offline, user-stats" in text


def test_an_unknown_feature_is_named_with_those_of_its_view() -> None:
    text = said(spec("user-stats:age"), Surroundings(VIEWS))
    assert text.startswith("spec.features.refs[0]: the FeatureView 'user-stats' has no feature 'age'")
    assert "amount, visits" in text


def test_features_that_are_not_online_cannot_be_served() -> None:
    assert "spec.online.enabled" in said(spec("offline:amount"), Surroundings(VIEWS))


def test_a_service_whose_name_needs_the_same_objects_as_an_older_ones_is_refused() -> None:
    assert "'shop-arms'" in said(spec(service="shop-arms"), Surroundings(VIEWS, older=["shop"]))
    assert "'shop-arms'" in said(spec(service="shop"), Surroundings(VIEWS, older=["shop-arms"]))
    text = said(spec(service="shop-preview"), Surroundings(VIEWS, older=["shop"]))
    assert "'shop-preview'" in text
    assert "does not end in -preview" in text
    assert said(spec(service="shop"), Surroundings(VIEWS, older=["shop", "other-arms"])) == ""


def test_a_service_of_somebody_else_is_left_alone() -> None:
    text = said(spec(), Surroundings(VIEWS, foreign=["shop"]))
    assert "'shop' exists and is not managed by Millrace" in text


@pytest.mark.parametrize(
    ("created", "services"),
    [
        ({"a": "2026-01-01T00:00:00Z", "b": "2026-01-02T00:00:00Z"}, {"a": [], "b": ["shop"]}),
        ({"a": "2026-01-02T00:00:00Z", "b": "2026-01-01T00:00:00Z"}, {"a": ["shop-arms"], "b": []}),
        ({"a": "2026-01-01T00:00:00Z", "b": "2026-01-01T00:00:00Z"}, {"a": [], "b": ["shop"]}),
    ],
    ids=["a is older", "b is older", "of one second"],
)
def test_of_two_that_need_the_same_name_the_younger_alone_gives_way(
    created: dict[str, str], services: dict[str, list[str]]
) -> None:
    cache = Cache()
    documents = {
        name: {
            "metadata": {"name": name, "namespace": "n", "resourceVersion": "1", "creationTimestamp": created[name]},
            "spec": {"service": service},
        }
        for name, service in (("a", "shop"), ("b", "shop-arms"))
    }
    for document in documents.values():
        cache.upsert(MODEL_DEPLOYMENTS, document)
    assert {name: surroundings(cache, item, ()).older for name, item in documents.items()} == services


def a_view(**more: Any) -> dict[str, Any]:
    metadata = {"name": "user-stats", "namespace": "n", "resourceVersion": "1"}
    found: dict[str, Any] = {"metadata": metadata, "spec": {"features": [{"name": "new"}]}}
    found["status"] = {"definition": {"features": [{"name": "amount"}]}}
    return found | more


MODEL: dict[str, Any] = {
    "metadata": {"name": "m", "namespace": "n", "resourceVersion": "1"},
    "spec": {"features": {"refs": ["user-stats:amount"]}},
}


def test_what_a_view_has_is_what_was_accepted_not_what_somebody_wrote() -> None:
    cache = Cache()
    cache.upsert(FEATURE_VIEWS, a_view())
    around = surroundings(cache, MODEL, ())
    assert objection("m", spec("user-stats:amount"), around) is None
    assert "has no feature 'new'" in said(spec("user-stats:new"), around)


def test_a_view_that_is_being_deleted_takes_no_new_revision_and_disturbs_none_that_is_there() -> None:
    cache = Cache()
    leaving = a_view()
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    cache.upsert(FEATURE_VIEWS, leaving)
    found = objection("m", spec("user-stats:amount"), surroundings(cache, MODEL, (), made=False))
    assert found is not None
    assert (found.reason, found.field) == ("Deleting", "spec.features.refs[0]")
    assert objection("m", spec("user-stats:amount"), surroundings(cache, MODEL, (), made=True)) is None


def test_a_key_that_the_view_does_not_have_is_named_with_those_it_has() -> None:
    known = "user_stats as sender(user_id=sender_id):amount"
    assert objection("m", spec(known, "user-stats:amount"), Surroundings(VIEWS)) is None
    text = said(spec(known, "user-stats(driver_id=x):amount"), Surroundings(VIEWS))
    assert text.startswith("spec.features.refs[1]: the FeatureView 'user-stats' has no entity 'driver_id'")
    assert "user_id" in text


def test_one_name_over_two_keys_is_refused_before_a_pod_starts() -> None:
    refs = [f"user-stats as p(user_id={column}):{name}" for column, name in (("a", "amount"), ("b", "amount"))]
    assert said(spec(*refs), Surroundings(VIEWS)).startswith("spec.features.refs: 'p' would stand for both")


def logging(**log: object) -> ModelDeploymentSpec:
    document = builders.model_deployment("m", "file:///m.onnx", "m").having("spec.inference", {"log": log}).build()
    return ModelDeployment.model_validate(document).spec


def test_a_log_needs_a_lake_of_the_platform_or_one_of_its_own() -> None:
    found = objection("m", logging(), Surroundings({}))
    assert found is not None
    assert (found.field, found.reason) == ("spec.inference.log.uri", "NoEvidenceLake")
    assert objection("m", logging(), Surroundings({}, lake=True)) is None
    assert objection("m", logging(uri="s3://mine/x"), Surroundings({})) is None


def test_a_redaction_of_a_feature_that_is_not_read_is_refused() -> None:
    log = logging(redact=[{"column": "feature.user__misspelled"}])
    found = objection("m", log, Surroundings({}, lake=True))
    assert found is not None
    assert found.field == "spec.inference.log.redact[0].column"


@pytest.mark.parametrize(
    ("column", "known"),
    [("entity.user_id", True), ("entity.pateint_id", False), ("entity.a", True), ("entity.b", False)],
)
def test_a_redaction_of_an_entity_that_no_request_has_is_refused(column: str, known: bool) -> None:
    refs = ["user-stats:visits", "user-stats as p(user_id=a):amount"]
    log = {"redact": [{"column": column}]}
    document = builders.model_deployment("m", "file:///m.onnx", "m").having("spec.inference", {"log": log})
    document = document.having("spec.features", {"refs": refs})
    found = objection("m", ModelDeployment.model_validate(document.build()).spec, Surroundings(VIEWS, lake=True))
    assert (found is None) is known
    if found is not None:
        assert found.field == "spec.inference.log.redact[0].column"
        assert "entity.user_id, entity.a" in found.hint


@pytest.mark.parametrize(("column", "known"), [("request.amount", True), ("request.amuont", False)])
def test_a_redaction_of_a_request_field_that_no_view_of_its_features_has_is_refused(column: str, known: bool) -> None:
    log = {"redact": [{"column": column}]}
    document = builders.model_deployment("m", "file:///m.onnx", "m").having("spec.inference", {"log": log})
    document = document.having("spec.features", {"refs": ["user-stats:visits"]})
    views = {"user-stats": {**VIEWS["user-stats"], "requestFields": [{"name": "amount", "type": "float64"}]}}
    found = objection("m", ModelDeployment.model_validate(document.build()).spec, Surroundings(views, lake=True))
    assert (found is None) is known
    if found is not None:
        assert (found.field, "request.amount" in found.hint) == ("spec.inference.log.redact[0].column", True)
