"""What makes a new revision, and what does not."""

from __future__ import annotations

import copy
from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel

from millrace_core.api.base import Resources
from millrace_core.api.modeldeployment import ModelDeployment
from millrace_core.api.modeldeployment_inference import Gpu
from millrace_core.api.modeldeployment_model import Model, ServingFeatures
from millrace_core.identity.revision import _MAPS, content, revision_name, unchanged
from tests import builders

PLAIN = builders.model_deployment("m")
FEATURES = PLAIN.having("spec.features", {"refs": ["user-stats:amount"]})


def of(built: builders.Built, device: str = "cpu", *, defaults: bool = True) -> dict[str, Any]:
    spec = ModelDeployment.model_validate(built.build()).spec
    return content("m", spec, device, defaults=defaults)


def asks_for_the_same(before: builders.Built, after: builders.Built) -> bool:
    return unchanged(of(before), of(after), of(after, defaults=False))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.scaling", {"min": 2, "max": 9, "metric": "queueDepth", "target": 3}),
        ("spec.description", "words"),
        ("spec.owner", "somebody"),
        ("spec.tags", {"team": "growth"}),
        ("spec.service", "m"),
        ("spec.inference", {"device": "cpu"}),
        ("spec.inference", {"gpu": {"count": 4}}),
        ("spec.resources", {}),
        ("spec.inference", {"batching": {"maxRows": 64}, "queue": {"timeout": "1s"}}),
        ("spec.inference", {"cache": {"ttl": "0s", "maxEntries": 9}}),
    ],
)
def test_what_no_pod_sees_makes_no_revision(path: str, value: Any) -> None:
    assert asks_for_the_same(PLAIN, PLAIN.having(path, value))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.model.uri", "file:///nowhere/other.onnx"),
        ("spec.model.digest", "sha256:" + "0" * 64),
        ("spec.model.credentialsSecretRef", {"name": "lake"}),
        ("spec.features", {"refs": ["user-stats:amount"]}),
        ("spec.resources", {"requests": {"cpu": "2"}}),
        ("spec.resources", {"limits": {"memory": "1Gi"}}),
        ("spec.service", "other"),
        ("spec.inference", {"batching": {"maxRows": 1}}),
        ("spec.inference", {"batching": {"maxDelay": "0s"}}),
        ("spec.inference", {"queue": {"maxRequests": 9}}),
        ("spec.inference", {"queue": {"timeout": "3s"}}),
        ("spec.inference", {"cache": {"ttl": "5m"}}),
    ],
)
def test_what_a_pod_runs_makes_a_revision_and_taking_it_back_another(path: str, value: Any) -> None:
    changed = PLAIN.having(path, value)
    assert not asks_for_the_same(PLAIN, changed)
    assert not asks_for_the_same(changed, PLAIN)


@pytest.mark.parametrize(("field", "value"), [("timeout", "20ms"), ("onMissing", "fail"), ("input", "x")])
def test_a_field_of_the_features_makes_a_revision(field: str, value: str) -> None:
    assert not asks_for_the_same(FEATURES, FEATURES.having(f"spec.features.{field}", value))


def test_another_device_makes_a_revision_and_so_does_another_gpu_where_there_is_one() -> None:
    cards = PLAIN.having("spec.inference", {"gpu": {"count": 2}})
    assert not unchanged(of(PLAIN), of(PLAIN, "gpu"), of(PLAIN, "gpu", defaults=False))
    assert not unchanged(of(PLAIN, "gpu"), of(cards, "gpu"), of(cards, "gpu", defaults=False))


def kept_by_another_release(change: dict[str, Any], *without: str) -> dict[str, Any]:
    found = of(FEATURES)
    section = {key: value for key, value in (found["features"] | change).items() if key not in without}
    return {**found, "features": section}


def test_a_field_that_an_older_release_did_not_know_counts_once_it_is_set() -> None:
    kept = kept_by_another_release({}, "timeout")
    quick = FEATURES.having("spec.features.timeout", "20ms")
    assert unchanged(kept, of(FEATURES), of(FEATURES, defaults=False))
    assert not unchanged(kept, of(quick), of(quick, defaults=False))


def test_a_section_that_an_older_release_did_not_know_counts_once_it_is_set() -> None:
    kept = {key: value for key, value in of(FEATURES).items() if key != "resources"}
    sized = FEATURES.having("spec.resources", {"requests": {"cpu": "1"}})
    assert unchanged(kept, of(FEATURES), of(FEATURES, defaults=False))
    assert not unchanged(kept, of(sized), of(sized, defaults=False))


def test_a_field_that_only_another_release_knows_counts_for_nothing() -> None:
    kept = {**kept_by_another_release({"retries": 3}), "sidecar": {"image": "x"}}
    assert unchanged(kept, of(FEATURES), of(FEATURES, defaults=False))


def test_a_default_that_changed_since_does_not_change_what_was_asked_for() -> None:
    """The API server wrote the default of that day into the object, as it is kept here."""
    stored = FEATURES.having("spec.features.timeout", "900ms")
    assert unchanged(of(stored), of(stored), of(stored, defaults=False))


def test_a_revisions_name_never_comes_back_for_another() -> None:
    made_of = of(PLAIN)
    found = {
        revision_name("m", "uid-1", 1, made_of),
        revision_name("m", "uid-1", 2, made_of),
        revision_name("m", "uid-2", 1, made_of),
        revision_name("m", "uid-1", 1, of(FEATURES)),
    }
    assert len(found) == 4
    assert all(name.startswith("m-") and len(name) == len("m-") + 8 for name in found)


CREDENTIALS = PLAIN.having("spec.model.credentialsSecretRef", {"name": "lake"})


def test_a_nested_field_that_another_release_knew_makes_no_revision_either() -> None:
    now, stated = of(CREDENTIALS), of(CREDENTIALS, defaults=False)
    kept = copy.deepcopy(now)
    kept["model"]["credentialsSecretRef"]["namespace"] = "theirs"
    assert unchanged(kept, now, stated), "a newer one knew it"
    now["model"]["credentialsSecretRef"]["key"] = "a default"
    assert unchanged(kept, now, stated), "only this one knows it"
    stated["model"]["credentialsSecretRef"]["key"] = "a default"
    assert not unchanged(kept, now, stated), "and it is asked for"


def test_a_key_that_is_gone_from_a_map_of_the_users_own_was_taken_away() -> None:
    both = PLAIN.having("spec.resources", {"requests": {"cpu": "2", "memory": "1Gi"}})
    assert not asks_for_the_same(both, PLAIN.having("spec.resources", {"requests": {"cpu": "2"}}))


def test_every_map_of_the_users_own_is_known() -> None:
    found: set[str] = set()
    models: list[type[BaseModel]] = [Model, ServingFeatures, Resources, Gpu]
    while models:
        for field in models.pop().model_fields.values():
            for kind in (field.annotation, *get_args(field.annotation)):
                if get_origin(kind) is dict:
                    found.add(str(field.alias))
                elif isinstance(kind, type) and issubclass(kind, BaseModel):
                    models.append(kind)
    assert found == _MAPS
