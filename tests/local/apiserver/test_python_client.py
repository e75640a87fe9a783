"""The official Python client, unchanged: typed, dynamic and watching."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import kubernetes
import pytest
from kubernetes import client, config, dynamic, watch

from millrace_local.apiserver.process import RunningServer


@pytest.fixture(scope="module")
def api(server: RunningServer) -> Iterator[Any]:
    """An API client from the kubeconfig."""
    with config.new_client_from_config(str(server.kubeconfig)) as made:
        yield made


def settings(name: str) -> Any:
    """A typed ConfigMap."""
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name, labels={"a": "b"}), data={"k": "v"})


def test_typed_calls(api: Any, namespace: str) -> None:
    core = client.CoreV1Api(api)
    made = core.create_namespaced_config_map(namespace, settings("typed"), field_manager="tester")
    assert made.metadata.creation_timestamp.tzinfo is not None
    assert made.metadata.managed_fields[0].manager == "tester"
    core.patch_namespaced_config_map("typed", namespace, {"data": {"more": "1"}})
    made.data = {"k": "outdated"}
    with pytest.raises(client.ApiException) as caught:
        core.replace_namespaced_config_map("typed", namespace, made)
    assert (caught.value.status, caught.value.reason) == (409, "Conflict")
    listed = core.list_namespaced_config_map(namespace, label_selector="a=b", limit=1)
    assert [item.data for item in listed.items] == [{"k": "v", "more": "1"}]
    core.delete_namespaced_config_map("typed", namespace)
    with pytest.raises(client.ApiException) as caught:
        core.read_namespaced_config_map("typed", namespace)
    assert caught.value.status == 404


def test_a_deployment_with_all_its_types(api: Any, namespace: str) -> None:
    apps = client.AppsV1Api(api)
    labels = {"app": "web"}
    container = client.V1Container(
        name="main",
        image="x:1",
        ports=[client.V1ContainerPort(container_port=80)],
        resources=client.V1ResourceRequirements(limits={"cpu": "1", "memory": "1Gi"}),
        readiness_probe=client.V1Probe(http_get=client.V1HTTPGetAction(port="http")),
    )
    template = client.V1PodTemplateSpec(
        metadata=client.V1ObjectMeta(labels=labels), spec=client.V1PodSpec(containers=[container])
    )
    spec = client.V1DeploymentSpec(selector=client.V1LabelSelector(match_labels=labels), template=template)
    made = apps.create_namespaced_deployment(
        namespace, client.V1Deployment(metadata=client.V1ObjectMeta(name="web"), spec=spec)
    )
    pod = made.spec.template.spec
    assert (made.spec.replicas, pod.containers[0].readiness_probe.period_seconds) == (1, 10)
    assert pod.containers[0].resources.requests == {"cpu": "1", "memory": "1Gi"}
    scale = apps.patch_namespaced_deployment_scale("web", namespace, {"spec": {"replicas": 3}})
    assert scale.spec.replicas == 3
    assert apps.read_namespaced_deployment_status("web", namespace).spec.replicas == 3


def test_the_dynamic_client_discovers_and_applies(api: Any, namespace: str) -> None:
    found = dynamic.DynamicClient(api).resources.get(api_version="v1", kind="ConfigMap")
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, "data": {"k": "1"}}
    applied = found.server_side_apply(body, namespace=namespace, field_manager="tester")
    assert applied.data.k == "1"
    with pytest.raises(dynamic.exceptions.ConflictError):
        found.server_side_apply({**body, "data": {"k": "2"}}, namespace=namespace, field_manager="other")
    forced = found.server_side_apply(
        {**body, "data": {"k": "2"}}, namespace=namespace, field_manager="other", force_conflicts=True
    )
    assert forced.data.k == "2"
    found.delete(name="applied", namespace=namespace)


def test_a_watch_follows_changes(api: Any, namespace: str) -> None:
    core = client.CoreV1Api(api)
    core.create_namespaced_config_map(namespace, settings("present"))
    seen = []
    stream = watch.Watch()
    for event in stream.stream(core.list_namespaced_config_map, namespace, timeout_seconds=10):
        seen.append((event["type"], event["object"].metadata.name))
        if seen[-1] == ("ADDED", "present"):
            core.create_namespaced_config_map(namespace, settings("watched"))
            core.delete_namespaced_config_map("watched", namespace)
        if event["type"] == "DELETED":
            stream.stop()
    assert seen == [("ADDED", "present"), ("ADDED", "watched"), ("DELETED", "watched")]


def test_leases_elect_one_leader_at_a_time(api: Any, namespace: str) -> None:
    leases = client.CoordinationV1Api(api)
    spec = client.V1LeaseSpec(holder_identity="a", lease_duration_seconds=15)
    lease = leases.create_namespaced_lease(namespace, client.V1Lease(metadata=client.V1ObjectMeta(name="l"), spec=spec))
    rival = leases.read_namespaced_lease("l", namespace)
    lease.spec.holder_identity, rival.spec.holder_identity = "b", "c"
    leases.replace_namespaced_lease("l", namespace, lease)
    with pytest.raises(client.ApiException) as caught:
        leases.replace_namespaced_lease("l", namespace, rival)
    assert caught.value.status == 409


def test_versions_and_groups_can_be_asked_for(api: Any) -> None:
    assert client.VersionApi(api).get_code().git_version.startswith("v1.32.")
    groups = {group.name for group in client.ApisApi(api).get_api_versions().groups}
    assert {"apps", "batch", "apiextensions.k8s.io"} <= groups
    assert kubernetes.__version__
