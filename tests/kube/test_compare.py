"""When a live object already is what is wanted."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_kube.compare import covers, merge_patch

JOB: dict[str, Any] = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "a", "labels": {"x": "1"}, "ownerReferences": [{"uid": "u1", "name": "o"}]},
    "spec": {
        "template": {
            "spec": {
                "containers": [
                    {
                        "name": "main",
                        "args": ["run", "--end"],
                        "env": [{"name": "A", "value": "1000m"}],
                        "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}},
                        "ports": [{"containerPort": 8080}],
                    }
                ]
            }
        }
    },
}


def container(job: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = job["spec"]["template"]["spec"]["containers"][0]
    return found


@pytest.fixture
def live() -> dict[str, Any]:
    """What a server would hold: defaults, others' fields, status."""
    job = copy.deepcopy(JOB)
    job["metadata"] |= {"uid": "u", "resourceVersion": "7"}
    job["metadata"]["labels"]["y"] = "2"
    job["metadata"]["ownerReferences"].insert(0, {"uid": "u0", "name": "other"})
    job["spec"]["template"]["spec"]["containers"].insert(0, {"name": "sidecar", "image": "x"})
    main = job["spec"]["template"]["spec"]["containers"][1]
    main["env"].insert(0, {"name": "INJECTED", "value": "1"})
    main["ports"] = [{"containerPort": 9090, "protocol": "TCP"}, {"containerPort": 8080, "protocol": "TCP"}]
    main["terminationMessagePath"] = "/dev/termination-log"
    job["status"] = {"active": 1}
    return job


def main_of(job: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = job["spec"]["template"]["spec"]["containers"][1]
    return found


def test_defaults_and_the_fields_of_others_do_not_matter(live: dict[str, Any]) -> None:
    assert covers(JOB, live)


def test_equal_quantities_are_equal_in_any_form(live: dict[str, Any]) -> None:
    main_of(live)["resources"]["requests"] = {"cpu": "0.5", "memory": "1024Mi"}
    assert covers(JOB, live)


def test_an_environment_value_is_no_quantity(live: dict[str, Any]) -> None:
    main_of(live)["env"][1]["value"] = "1"
    assert not covers(JOB, live)


@pytest.mark.parametrize(
    "change",
    [
        lambda job: job["metadata"]["labels"].pop("x"),
        lambda job: job["metadata"]["ownerReferences"].pop(),
        lambda job: main_of(job)["args"].append("--more"),
        lambda job: main_of(job)["args"].reverse(),
        lambda job: main_of(job).update(args=None),
        lambda job: main_of(job)["env"].pop(),
        lambda job: main_of(job)["resources"]["requests"].update(cpu="501m"),
        lambda job: main_of(job)["resources"]["requests"].pop("memory"),
        lambda job: main_of(job)["ports"].pop(),
        lambda job: job["spec"]["template"]["spec"]["containers"].pop(),
    ],
)
def test_drift_is_seen(live: dict[str, Any], change: Any) -> None:
    change(live)
    assert not covers(JOB, live)


def test_lists_of_custom_resources_count_as_a_whole() -> None:
    route = {"name": "r", "route": [{"weight": 80}, {"weight": 20}]}
    wanted = {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "spec": {"http": [route]}}
    assert covers(wanted, copy.deepcopy(wanted))
    other = copy.deepcopy(wanted)
    other["spec"]["http"].append({"name": "stranger"})
    assert not covers(wanted, other)


def test_absent_and_empty_are_the_same_but_false_and_zero_are_values() -> None:
    def spec(value: Any) -> dict[str, Any]:
        return {"apiVersion": "batch/v1", "kind": "Job", "spec": {"field": value} if value != "absent" else {}}

    for empty in (None, [], {}, ""):
        assert covers(spec(empty), spec("absent"))
    assert not covers(spec(False), spec("absent"))
    assert not covers(spec(0), spec("absent"))
    assert not covers(spec(True), spec(1))
    assert covers(spec(1), spec(1.0))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.sampled_from(["", "a", "1", "1000m"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "env", "ports", "x"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["spec", "data", "requests"]), json_values))
def test_every_object_covers_itself_and_more(fields: dict[str, Any]) -> None:
    wanted = {"apiVersion": "v1", "kind": "ConfigMap", **fields}
    assert covers(wanted, {**copy.deepcopy(wanted), "status": {"x": 1}, "extra": [1]})


@pytest.mark.parametrize("env", [[{}, None], [{"value": "1"}, {"value": "2"}], [{"name": []}, {"name": [1]}]])
def test_lists_whose_items_cannot_be_told_apart_count_as_a_whole(env: list[Any]) -> None:
    wanted = {"apiVersion": "v1", "kind": "ConfigMap", "spec": {"env": env}}
    assert covers(wanted, copy.deepcopy(wanted))
    assert not covers(wanted, {**wanted, "spec": {"env": env[:1]}})


JSON = st.recursive(
    st.one_of(st.booleans(), st.integers(), st.text(max_size=3), st.lists(st.integers(), max_size=2)),
    lambda inner: st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.sampled_from("abcd"), JSON, max_size=4)


def merged(target: Any, patch: Any) -> Any:
    """RFC 7396, as it stands there."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


@given(OBJECTS, OBJECTS)
def test_a_merge_patch_applied_gives_the_other_object(before: Any, after: Any) -> None:
    assert merged(before, merge_patch(before, after)) == after


@given(OBJECTS)
def test_equal_objects_have_no_merge_patch(obj: Any) -> None:
    assert merge_patch(obj, dict(obj)) == {}
