"""Creates, updates and patches over plain HTTP: conflicts, generations, dry runs, refusals."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

MERGE = {"content-type": "application/merge-patch+json"}
APPLY = {"content-type": "application/apply-patch+yaml"}


@pytest.fixture
def maps(namespace: str) -> str:
    """The path of the test's ConfigMaps."""
    return f"/api/v1/namespaces/{namespace}/configmaps"


@pytest.fixture
def deployments(namespace: str) -> str:
    """The path of the test's Deployments."""
    return f"/apis/apps/v1/namespaces/{namespace}/deployments"


def settings(name: str = "settings", **metadata: Any) -> dict[str, Any]:
    """A small object."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}, "data": {"a": "1"}}


def deployment(**spec: Any) -> dict[str, Any]:
    """A Deployment that is whole."""
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "main", "image": "x"}]}}
    return {
        "metadata": {"name": "web"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template, **spec},
    }


def causes(answer: httpx.Response) -> dict[str, str]:
    """The faulty fields of a 422, each with its reason."""
    assert answer.status_code == 422, answer.text
    return {cause["field"]: cause["reason"] for cause in answer.json()["details"]["causes"]}


def test_a_create_answers_with_what_the_server_added(http: httpx.Client, maps: str, namespace: str) -> None:
    sent = settings(uid="mine", resourceVersion="7", generation=9, deletionTimestamp="2020-01-01T00:00:00Z")
    created = http.post(maps, json=sent)
    assert created.status_code == 201
    metadata = created.json()["metadata"]
    assert metadata["namespace"] == namespace
    assert metadata["uid"] != "mine"
    assert metadata["resourceVersion"].isdigit()
    assert metadata["creationTimestamp"].endswith("Z")
    assert {"generation", "deletionTimestamp"} & set(metadata) == set()
    assert http.get(f"{maps}/settings").json() == created.json()


def test_a_name_is_taken_once(http: httpx.Client, maps: str) -> None:
    http.post(maps, json=settings())
    again = http.post(maps, json=settings())
    assert (again.status_code, again.json()["reason"]) == (409, "AlreadyExists")
    assert again.json()["message"] == 'configmaps "settings" already exists'
    assert again.json()["details"] == {"name": "settings", "kind": "configmaps"}


def test_generate_name_makes_names_that_differ(http: httpx.Client, maps: str) -> None:
    body = {"metadata": {"generateName": "run-"}}
    names = {http.post(maps, json=body).json()["metadata"]["name"] for _ in range(5)}
    assert len(names) == 5
    assert all(name.startswith("run-") and len(name) == 9 for name in names)


@pytest.mark.parametrize(
    ("metadata", "field"),
    [
        ({"name": "Upper"}, "metadata.name"),
        ({"name": "-dash"}, "metadata.name"),
        ({"name": "x" * 254}, "metadata.name"),
        ({}, "metadata.name"),
        ({"name": "a", "labels": {"bad key": "x"}}, "metadata.labels"),
        ({"name": "a", "labels": {"k": "x" * 64}}, "metadata.labels"),
        ({"name": "a", "labels": {"k": 3}}, "metadata.labels.k"),
        ({"name": "a", "labels": []}, "metadata.labels"),
        ({"name": "a", "labels": "text"}, "metadata.labels"),
        ({"name": "a", "annotations": {"k": "x" * 262_145}}, "metadata.annotations"),
        ({"name": "a", "ownerReferences": [{"kind": "Pod"}]}, "metadata.ownerReferences[0].uid"),
        ({"name": "a", "finalizers": ["no spaces"]}, "metadata.finalizers"),
        ({"name": 7}, "metadata.name"),
    ],
)
def test_wrong_metadata_is_named(http: httpx.Client, maps: str, metadata: Any, field: str) -> None:
    answer = http.post(maps, json={"metadata": metadata})
    if answer.status_code == 400:
        assert field in answer.json()["message"]
    else:
        assert field in causes(answer)


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("", {"kind": "Secret", "metadata": {"name": "a"}}, "must be of type ConfigMap"),
        ("", {"apiVersion": "v2", "metadata": {"name": "a"}}, "expected ConfigMap in v1"),
        ("", {"metadata": {"name": "a", "namespace": "elsewhere"}}, "does not match the namespace sent on the request"),
        ("", [1], "must be an object, got list"),
        ("", {"metadata": 3}, "metadata: expected an object, got int"),
    ],
)
def test_a_body_of_another_kind_or_place_is_refused(
    http: httpx.Client, maps: str, path: str, body: Any, message: str
) -> None:
    answer = http.post(maps + path, json=body)
    assert (answer.status_code, answer.json()["reason"]) == (400, "BadRequest")
    assert message in answer.json()["message"]


def test_broken_json_wrong_media_types_and_huge_bodies_are_refused(http: httpx.Client, maps: str) -> None:
    broken = http.post(maps, content=b'{"metadata":', headers={"content-type": "application/json"})
    assert (broken.status_code, broken.json()["reason"]) == (400, "BadRequest")
    text = http.post(maps, content=b"x", headers={"content-type": "text/plain"})
    assert (text.status_code, text.json()["reason"]) == (415, "UnsupportedMediaType")
    huge = http.post(maps, json={"metadata": {"name": "a"}, "data": {"a": "x" * 3_200_000}})
    assert (huge.status_code, huge.json()["reason"]) == (413, "RequestEntityTooLarge")
    large = http.post(maps, json={"metadata": {"name": "a"}, "data": {"a": "x" * 1_100_000}})
    assert large.status_code == 422


def test_yaml_bodies_are_read_and_keep_times_as_text(http: httpx.Client, maps: str) -> None:
    text = "metadata: {name: a, annotations: {at: 2025-01-01T00:00:00Z}}\ndata:\n  on: 'yes'\n"
    made = http.post(maps, content=text, headers={"content-type": "application/yaml"})
    assert made.status_code == 201, made.text
    assert made.json()["data"] == {"true": "yes"}  # a key that is no string is what JSON makes of it
    assert made.json()["metadata"]["annotations"] == {"at": "2025-01-01T00:00:00Z"}
    wrong = http.post(maps, content="a: [", headers={"content-type": "application/yaml"})
    assert "not valid YAML" in wrong.json()["message"]


def test_an_outdated_resource_version_is_a_conflict(http: httpx.Client, maps: str) -> None:
    first = http.post(maps, json=settings()).json()
    http.put(f"{maps}/settings", json={**first, "data": {"a": "2"}}).raise_for_status()
    late = http.put(f"{maps}/settings", json={**first, "data": {"a": "3"}})
    assert (late.status_code, late.json()["reason"]) == (409, "Conflict")
    stale = {"metadata": {"resourceVersion": first["metadata"]["resourceVersion"]}, "data": {"a": "4"}}
    assert http.patch(f"{maps}/settings", json=stale, headers=MERGE).status_code == 409
    other = {"metadata": {"uid": "another"}}
    assert "Precondition failed: UID" in http.patch(f"{maps}/settings", json=other, headers=MERGE).json()["message"]
    without = {"metadata": {"name": "settings"}, "data": {"a": "5"}}
    assert http.put(f"{maps}/settings", json=without).json()["data"] == {"a": "5"}


def test_a_write_that_changes_nothing_is_no_write(http: httpx.Client, maps: str) -> None:
    first = http.post(maps, json=settings()).json()
    assert http.put(f"{maps}/settings", json=first).json() == first
    assert http.patch(f"{maps}/settings", json={"data": {"a": "1"}}, headers=MERGE).json() == first
    query = {"fieldManager": "m"}
    applied = http.patch(f"{maps}/settings", json=settings(), headers=APPLY, params=query).json()
    again = http.patch(f"{maps}/settings", json=settings(), headers=APPLY, params=query).json()
    assert applied["metadata"]["resourceVersion"] != first["metadata"]["resourceVersion"]
    assert again == applied


def test_the_generation_counts_changes_of_the_spec_only(http: httpx.Client, deployments: str) -> None:
    def generation(answer: httpx.Response) -> int:
        found: int = answer.raise_for_status().json()["metadata"]["generation"]
        return found

    web = f"{deployments}/web"
    assert generation(http.post(deployments, json=deployment())) == 1
    assert generation(http.patch(web, json={"metadata": {"labels": {"a": "b"}}}, headers=MERGE)) == 1
    assert generation(http.patch(f"{web}/status", json={"status": {"replicas": 1}}, headers=MERGE)) == 1
    assert generation(http.patch(web, json={"spec": {"replicas": 4}}, headers=MERGE)) == 2
    assert generation(http.patch(web, json={"metadata": {"generation": 40}}, headers=MERGE)) == 2


def test_status_and_spec_are_written_apart(http: httpx.Client, deployments: str) -> None:
    created = http.post(deployments, json={**deployment(), "status": {"replicas": 7}}).json()
    assert created["status"] == {}
    both = {**created, "spec": {**created["spec"], "replicas": 5}, "status": {"replicas": 5}}
    assert http.put(f"{deployments}/web", json=both).json()["status"] == {}
    current = http.get(f"{deployments}/web").json()
    current["spec"]["replicas"], current["status"] = 8, {"replicas": 8}
    after = http.put(f"{deployments}/web/status", json=current).json()
    assert (after["spec"]["replicas"], after["status"]["replicas"]) == (5, 8)


def test_a_dry_run_answers_and_keeps_nothing(http: httpx.Client, maps: str) -> None:
    answer = http.post(maps, json=settings(), params={"dryRun": "All"})
    assert answer.status_code == 201
    assert http.get(f"{maps}/settings").status_code == 404
    first = http.post(maps, json=settings()).json()
    changed = http.patch(f"{maps}/settings", json={"data": {"a": "9"}}, headers=MERGE, params={"dryRun": "All"})
    assert changed.json()["data"] == {"a": "9"}
    http.delete(f"{maps}/settings", params={"dryRun": "All"}).raise_for_status()
    assert http.get(f"{maps}/settings").json() == first
    assert http.post(maps, json=settings("b"), params={"dryRun": "Some"}).status_code == 400


def test_unknown_fields_are_dropped_warned_about_or_refused(http: httpx.Client, deployments: str) -> None:
    wrong = deployment(replicaz=3)
    dropped = http.post(deployments, json=wrong, params={"dryRun": "All", "fieldValidation": "Ignore"})
    assert "warning" not in dropped.headers
    assert "replicaz" not in dropped.json()["spec"]
    warned = http.post(deployments, json=wrong, params={"dryRun": "All", "fieldValidation": "Warn"})
    assert warned.headers["warning"] == '299 - "unknown field \\"spec.replicaz\\""'
    refused = http.post(deployments, json=wrong, params={"fieldValidation": "Strict"})
    assert (refused.status_code, refused.json()["reason"]) == (400, "BadRequest")
    assert refused.json()["message"] == 'strict decoding error: unknown field "spec.replicaz"'


def test_defaults_are_filled_in(http: httpx.Client, deployments: str) -> None:
    spec = http.post(deployments, json=deployment()).json()["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}
    assert (spec["revisionHistoryLimit"], spec["progressDeadlineSeconds"]) == (10, 600)
    pod = spec["template"]["spec"]
    assert (pod["restartPolicy"], pod["terminationGracePeriodSeconds"], pod["dnsPolicy"]) == (
        "Always",
        30,
        "ClusterFirst",
    )
    assert pod["containers"][0]["imagePullPolicy"] == "Always"


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"selector": {"matchLabels": {"app": "other"}}}, "spec.template.metadata.labels"),
        ({"selector": {}}, "spec.selector"),
        ({"replicas": -1}, "spec.replicas"),
        (
            {"template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}}},
            "spec.template.spec.containers",
        ),
        (
            {"template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "a"}]}}},
            "spec.template.spec.containers[0].image",
        ),
        ({"strategy": {"type": "Recreate", "rollingUpdate": {"maxSurge": 1}}}, "spec.strategy.rollingUpdate"),
    ],
)
def test_rubbish_in_a_deployment_is_named(http: httpx.Client, deployments: str, spec: Any, field: str) -> None:
    assert field in causes(http.post(deployments, json=deployment(**spec)))


def test_a_field_of_the_wrong_type_is_a_bad_request(http: httpx.Client, deployments: str) -> None:
    answer = http.post(deployments, json=deployment(replicas="two"))
    assert answer.status_code == 400
    assert "cannot be handled as a Deployment: spec.replicas" in answer.json()["message"]


def test_selectors_and_job_templates_are_for_ever(http: httpx.Client, deployments: str, namespace: str) -> None:
    http.post(deployments, json=deployment()).raise_for_status()
    labels = {"app": "web", "more": "x"}
    change = {"spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}}}}
    assert causes(http.patch(f"{deployments}/web", json=change, headers=MERGE)) == {
        "spec.selector": "FieldValueInvalid"
    }
    jobs = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    pod = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "x"}]}
    job = http.post(jobs, json={"metadata": {"name": "j"}, "spec": {"template": {"spec": pod}}}).json()
    assert job["spec"]["selector"]["matchLabels"] == {"batch.kubernetes.io/controller-uid": job["metadata"]["uid"]}
    assert job["spec"]["template"]["metadata"]["labels"]["job-name"] == "j"
    change = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "y"}]}}}}
    assert "spec.template" in causes(http.patch(f"{jobs}/j", json=change, headers=MERGE))
    always = {"metadata": {"name": "k"}, "spec": {"template": {"spec": {"containers": pod["containers"]}}}}
    assert causes(http.post(jobs, json=always)) == {"spec.template.spec.restartPolicy": "FieldValueNotSupported"}


def test_services_get_addresses_that_stay(http: httpx.Client, namespace: str) -> None:
    services = f"/api/v1/namespaces/{namespace}/services"
    spec = {"selector": {"app": "web"}, "ports": [{"port": 80}]}
    first = http.post(services, json={"metadata": {"name": "one"}, "spec": spec}).json()["spec"]
    second = http.post(services, json={"metadata": {"name": "two"}, "spec": spec}).json()["spec"]
    assert first["clusterIP"].startswith("10.")
    assert first["clusterIP"] != second["clusterIP"]
    assert first["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 80}]
    replaced = http.put(f"{services}/one", json={"metadata": {"name": "one"}, "spec": spec}).json()["spec"]
    assert replaced["clusterIP"] == first["clusterIP"]
    headless = {"metadata": {"name": "three"}, "spec": {"clusterIP": "None", "selector": {"a": "b"}}}
    assert http.post(services, json=headless).json()["spec"]["clusterIP"] == "None"
    assert causes(http.post(services, json={"metadata": {"name": "four"}, "spec": {}})) == {
        "spec.ports": "FieldValueRequired"
    }
    twice = {**spec, "ports": [{"name": "a", "port": 80}, {"name": "a", "port": 81}]}
    assert "spec.ports[1].name" in causes(http.post(services, json={"metadata": {"name": "five"}, "spec": twice}))
    move = {"spec": {"clusterIP": "10.1.1.1"}}
    assert causes(http.patch(f"{services}/one", json=move, headers=MERGE)) == {
        "spec.clusterIPs[0]": "FieldValueInvalid"
    }


def test_secrets_take_text_and_check_base64(http: httpx.Client, namespace: str) -> None:
    secrets = f"/api/v1/namespaces/{namespace}/secrets"
    made = http.post(secrets, json={"metadata": {"name": "a"}, "stringData": {"k": "value"}}).json()
    assert (made["data"], made["type"]) == ({"k": "dmFsdWU="}, "Opaque")
    assert "stringData" not in made
    wrong = http.post(secrets, json={"metadata": {"name": "b"}, "data": {"k": "*"}})
    assert wrong.status_code in (400, 422)


def test_a_pod_is_bound_once_and_its_spec_is_fixed(http: httpx.Client, namespace: str) -> None:
    pods = f"/api/v1/namespaces/{namespace}/pods"
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "main", "image": "x"}]}}
    made = http.post(pods, json=pod).json()
    assert made["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"name": "node-1"}}
    assert http.post(f"{pods}/p/binding", json=binding).status_code == 201
    assert http.get(f"{pods}/p").json()["spec"]["nodeName"] == "node-1"
    assert http.post(f"{pods}/p/binding", json=binding).status_code == 409
    assert http.patch(f"{pods}/p", json={"spec": {"nodeName": "other"}}, headers=MERGE).status_code == 422
    on_node = http.get(pods, params={"fieldSelector": "spec.nodeName=node-1,status.phase!=Failed"}).json()["items"]
    assert [item["metadata"]["name"] for item in on_node] == ["p"]


def test_a_create_in_a_missing_namespace_is_not_found(http: httpx.Client) -> None:
    answer = http.post("/api/v1/namespaces/nowhere/configmaps", json=settings())
    assert (answer.status_code, answer.json()["message"]) == (404, 'namespaces "nowhere" not found')


def test_unknown_paths_and_verbs_are_refused_as_kubernetes_does(http: httpx.Client, namespace: str) -> None:
    for path in ("/apis/nope.dev/v1/things", "/api/v1/nopes", f"/api/v1/namespaces/{namespace}/pods/p/nope", "/nope"):
        answer = http.get(path)
        assert (answer.status_code, answer.json()["message"]) == (
            404,
            "the server could not find the requested resource",
        )
    answer = http.delete("/api/v1/namespaces")
    assert (answer.status_code, answer.json()["reason"]) == (405, "MethodNotAllowed")
    assert http.put(f"/api/v1/namespaces/{namespace}/configmaps", json={}).status_code == 405


@pytest.mark.parametrize("name", ["../../x", "a/b", "..", "", "A", "a" * 64, "a\n"])
def test_names_that_a_node_makes_files_of_are_labels(http: httpx.Client, namespace: str, name: str) -> None:
    container = {"name": "main", "image": "x"}
    for spec, field in (
        ({"containers": [{**container, "name": name}]}, "containers"),
        ({"containers": [container], "initContainers": [{**container, "name": name}]}, "initContainers"),
        ({"containers": [container], "volumes": [{"name": name, "emptyDir": {}}]}, "volumes"),
    ):
        pod = {"metadata": {"name": "p"}, "spec": spec}
        answer = http.post(f"/api/v1/namespaces/{namespace}/pods", json=pod)
        assert answer.status_code == 422
        assert f"spec.{field}[0].name" in answer.text


@pytest.mark.parametrize("key", ["..", "../x", "..x", "a/b", "."])
def test_keys_that_a_node_makes_files_of_are_names(http: httpx.Client, namespace: str, key: str) -> None:
    for plural in ("configmaps", "secrets"):
        body = {"metadata": {"name": "c"}, "data": {key: "eA=="}}
        assert http.post(f"/api/v1/namespaces/{namespace}/{plural}", json=body).status_code == 422
