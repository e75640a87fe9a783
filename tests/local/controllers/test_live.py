"""Controllers and node together, against the real API server, with and without faults."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web

from millrace_core.api.conditions import find, holds
from millrace_kube.resources import (
    CRON_JOBS,
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    EVENTS,
    JOBS,
    NAMESPACES,
    PODS,
    REPLICA_SETS,
    SCALED_OBJECTS,
    SERVICE_ACCOUNTS,
    SERVICES,
)
from millrace_local.controllers.scaling.prometheus import Prometheus
from millrace_local.controllers.scaling.spec import Trigger
from tests.local.cluster import EmbeddedCluster, Obj

LABELS = {"app": "web"}


def template(script: str = "exec sleep 1000", **spec: Any) -> Obj:
    container = {"name": "main", "image": "millrace/materialize:1", "command": ["sh", "-c", script]}
    return {"metadata": {"labels": LABELS}, "spec": {"containers": [container], **spec}}


async def deploy(cluster: EmbeddedCluster, replicas: int = 2, **spec: Any) -> None:
    body = {"replicas": replicas, "selector": {"matchLabels": LABELS}, "template": template(), **spec}
    await cluster.create(DEPLOYMENTS, "web", spec=body)


async def rolled_out(cluster: EmbeddedCluster, replicas: int = 2) -> Obj:
    def holds(obj: Obj) -> bool:
        status = obj.get("status") or {}
        done = find(status.get("conditions"), "Progressing") or {}
        counts = [status.get(field, 0) for field in ("replicas", "updatedReplicas", "availableReplicas")]
        current = status.get("observedGeneration") == obj["metadata"]["generation"]
        return current and counts == [replicas] * 3 and done.get("reason") == "NewReplicaSetAvailable"

    return await cluster.until(holds, "web", DEPLOYMENTS)


async def names(cluster: EmbeddedCluster, resource: Any) -> list[str]:
    items, _ = await cluster.client.list(resource, cluster.namespace)
    return sorted(item["metadata"]["name"] for item in items)


async def test_a_deployment_is_rolled_out_served_scaled_and_taken_away(cluster: EmbeddedCluster) -> None:
    async with cluster.running(controllers=True):
        await cluster.create(SERVICES, "web", spec={"selector": LABELS, "ports": [{"port": 80, "targetPort": 8080}]})
        await deploy(cluster)
        await rolled_out(cluster)
        slices = await ready_addresses(cluster, 2)
        pods, _ = await cluster.client.list(PODS, cluster.namespace)
        assert slices == {pod["status"]["podIP"] for pod in pods}
        assert len(slices) == 2
        first = await names(cluster, PODS)
        note = {"spec": {"template": {"metadata": {"annotations": {"restarted": "now"}}}}}
        await cluster.client.patch(DEPLOYMENTS, cluster.namespace, "web", note)
        await rolled_out(cluster)
        await cluster.client.patch(
            DEPLOYMENTS, cluster.namespace, "web", {"spec": {"replicas": 3}}, subresource="scale"
        )
        await rolled_out(cluster, 3)
        assert len(await names(cluster, REPLICA_SETS)) == 2
        await ready_addresses(cluster, 3)
        await cluster.client.delete(DEPLOYMENTS, cluster.namespace, "web")
        for name in {*first, *await names(cluster, PODS)}:
            await cluster.until_gone(name)
        assert await names(cluster, REPLICA_SETS) == []
        await ready_addresses(cluster, 0)
        assert await names(cluster, SERVICE_ACCOUNTS) == ["default"]


async def ready_addresses(cluster: EmbeddedCluster, count: int) -> set[str]:
    found: set[str] = set()
    async with asyncio.timeout(30):
        while True:
            items, _ = await cluster.client.list(ENDPOINT_SLICES, cluster.namespace)
            endpoints = [endpoint for item in items for endpoint in item.get("endpoints") or []]
            found = {e["addresses"][0] for e in endpoints if e["conditions"]["ready"]}
            if items and len(found) == count:
                return found
            await asyncio.sleep(0.02)


async def test_jobs_retry_complete_and_fail_with_their_reasons(cluster: EmbeddedCluster) -> None:
    flaky = "test -e /shared/done || { touch /shared/done; exit 1; }"
    async with cluster.running(controllers=True):
        shared = {"name": "shared", "hostPath": {"path": str(cluster.root / "shared"), "type": "DirectoryOrCreate"}}
        spec = template(flaky, restartPolicy="Never", volumes=[shared])
        spec["spec"]["containers"][0]["volumeMounts"] = [{"name": "shared", "mountPath": "/shared"}]
        await cluster.create(JOBS, "flaky", spec={"template": spec})
        indexed = template("test $JOB_COMPLETION_INDEX -lt 3", restartPolicy="Never")
        await cluster.create(
            JOBS, "indexed", spec={"template": indexed, "completionMode": "Indexed", "completions": 3, "parallelism": 2}
        )
        rule = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [2]}}
        fatal = template("exit 2", restartPolicy="Never")
        await cluster.create(JOBS, "fatal", spec={"template": fatal, "podFailurePolicy": {"rules": [rule]}})
        job = await cluster.until(lambda o: holds((o.get("status") or {}).get("conditions"), "Complete"), "flaky", JOBS)
        assert (job["status"]["succeeded"], job["status"]["failed"]) == (1, 1)
        job = await cluster.until(
            lambda o: holds((o.get("status") or {}).get("conditions"), "Complete"), "indexed", JOBS
        )
        assert job["status"]["completedIndexes"] == "0-2"
        job = await cluster.until(lambda o: holds((o.get("status") or {}).get("conditions"), "Failed"), "fatal", JOBS)
        assert find(job["status"]["conditions"], "Failed")["reason"] == "PodFailurePolicy"  # type: ignore[index]
        for name in ("flaky", "indexed", "fatal"):
            await cluster.client.delete(JOBS, cluster.namespace, name, propagation="Background")
        async with asyncio.timeout(30):
            while await names(cluster, PODS):
                await asyncio.sleep(0.05)


async def test_a_cron_job_that_missed_its_time_runs_at_once_and_only_once(cluster: EmbeddedCluster) -> None:
    await cluster.create(
        CRON_JOBS,
        "tick",
        spec={"schedule": "* * * * *", "jobTemplate": {"spec": {"template": template("true", restartPolicy="Never")}}},
    )
    past = {"status": {"lastScheduleTime": "2026-01-01T00:00:00Z"}}
    await cluster.client.patch(CRON_JOBS, cluster.namespace, "tick", past, subresource="status")
    async with cluster.running(controllers=True):
        tick = await cluster.until(lambda o: o["status"].get("lastSuccessfulTime"), "tick", CRON_JOBS)
        assert tick["status"]["lastScheduleTime"] > "2026-01-01T00:00:00Z"
        assert (await cluster.event("TooManyMissedTimes"))["type"] == "Warning"
        assert len(await names(cluster, JOBS)) <= 2  # one, unless a minute ended just now


async def test_a_pod_too_large_for_the_node_waits_and_starts_when_there_is_room(cluster: EmbeddedCluster) -> None:
    def asks(cpu: str) -> Obj:
        spec = template(nodeSelector={"kubernetes.io/hostname": cluster.node})
        spec["spec"]["containers"][0]["resources"] = {"requests": {"cpu": cpu}}
        return {"metadata": {"labels": LABELS}, "spec": spec["spec"]}

    async with cluster.running(controllers=True):
        await cluster.create(PODS, "large", **asks("100000"))

        def refused(obj: Obj) -> bool:
            found = find((obj.get("status") or {}).get("conditions"), "PodScheduled")
            return bool(found and found["reason"] == "Unschedulable" and "Insufficient cpu" in found["message"])

        await cluster.until(refused, "large")
        await cluster.event("FailedScheduling")


ACTIONS = [
    {"action": "status", "code": 500},
    {"action": "drop"},
    {"action": "dropAfter"},
    {"action": "status", "code": 409},
    {"action": "status", "code": 429},
    {"action": "dropWatches"},
]


async def test_whichever_write_fails_the_end_is_the_same(cluster: EmbeddedCluster) -> None:
    """Fails the n-th write of controllers and node, for every fourth n: nothing is made twice or left out."""
    first = cluster.namespace
    async with cluster.running(controllers=True):
        for nth in range(1, 43, 4):
            cluster.namespace = f"{first}-{nth}"
            await cluster.client.create(NAMESPACES, {"metadata": {"name": cluster.namespace}})
            rule = {"userAgent": "millrace-agent", "verb": "create|patch|delete", "resource": "(?!events|leases).*"}
            rules = [{**rule, "nth": nth, **ACTIONS[nth // 4 % len(ACTIONS)]}]
            await cluster.client.request("PUT", "/faults", body=rules)
            await cluster.create(SERVICES, "web", spec={"selector": LABELS, "ports": [{"port": 80}]})
            await deploy(cluster, template=template("exec sleep 1000", terminationGracePeriodSeconds=1))
            job = template("true", restartPolicy="Never")
            job["metadata"]["labels"] = {"job": "one"}
            await cluster.create(JOBS, "one", spec={"template": job})
            await rolled_out(cluster)
            done = await cluster.until(
                lambda o: holds((o.get("status") or {}).get("conditions"), "Complete"), "one", JOBS
            )
            assert (done["status"]["succeeded"], done["status"].get("failed", 0)) == (1, 0)
            await ready_addresses(cluster, 2)
            assert len(await names(cluster, REPLICA_SETS)) == 1
            assert len(await names(cluster, PODS)) == 3
            if not (await cluster.client.request("GET", "/faults"))["rules"][0]["fired"]:
                # How many writes there are depends on how many status changes go in one.
                assert nth > 20
                break
            await cluster.client.delete(DEPLOYMENTS, cluster.namespace, "web")
            await cluster.client.delete(JOBS, cluster.namespace, "one", propagation="Background")
    await cluster.client.request("DELETE", "/faults")


SCALED_OBJECT_CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "scaledobjects.keda.sh"},
    "spec": {
        "group": "keda.sh",
        "scope": "Namespaced",
        "names": {"kind": "ScaledObject", "plural": "scaledobjects", "singular": "scaledobject"},
        "versions": [
            {
                "name": "v1alpha1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}


@pytest.fixture
async def scaled_objects(cluster: EmbeddedCluster) -> None:
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    try:
        await cluster.client.request("POST", path, body=SCALED_OBJECT_CRD)
    except Exception as error:  # another test made it
        if "AlreadyExists" not in repr(error) and "already exists" not in str(error):
            raise


async def scale_by(cluster: EmbeddedCluster, address: str) -> None:
    trigger = {
        "type": "prometheus",
        "metadata": {"serverAddress": address, "query": "sum(depth)", "threshold": "5"},
    }
    spec = {
        "scaleTargetRef": {"name": "web"},
        "pollingInterval": 1,
        "minReplicaCount": 1,
        "maxReplicaCount": 3,
        "triggers": [trigger],
    }
    await cluster.create(SCALED_OBJECTS, "web", spec=spec)


async def test_without_prometheus_nothing_scales_and_one_event_says_so(
    cluster: EmbeddedCluster, scaled_objects: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    polls, address = 0, Prometheus.address

    def counted(self: Prometheus, trigger: Trigger) -> str:
        nonlocal polls
        polls += 1
        return address(self, trigger)

    monkeypatch.setattr(Prometheus, "address", counted)
    async with cluster.running(controllers=True):
        await deploy(cluster, 1)
        await scale_by(cluster, "http://127.0.0.1:9")

        def absent(obj: Obj) -> bool:
            found = find((obj.get("status") or {}).get("conditions"), "Ready")
            return bool(found and found["reason"] == "PrometheusAbsent" and found["status"] == "False")

        await cluster.until(absent, "web", SCALED_OBJECTS)
        before = polls
        async with asyncio.timeout(30):
            while polls < before + 2:
                await asyncio.sleep(0.02)
        events, _ = await cluster.client.list(EVENTS, cluster.namespace)
        assert [e["count"] for e in events if e["reason"] == "PrometheusAbsent"] == [1]
        deployment = await cluster.client.get(DEPLOYMENTS, cluster.namespace, "web")
        assert deployment["spec"]["replicas"] == 1


# Shows its metrics as a model's pod does: at its own address.
SHOWN = """
mkdir -p shown
printf 'depth{x="1"} 7\\ndepth{x="2"} 4\\nother 99\\n' > shown/metrics
exec python3 -m http.server 9000 --bind $ADDRESS --directory shown
"""


async def test_without_prometheus_replicas_follow_what_the_pods_show_together(
    cluster: EmbeddedCluster, scaled_objects: None
) -> None:
    described = template(SHOWN)
    [container] = described["spec"]["containers"]
    container["env"] = [{"name": "ADDRESS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]
    container["ports"] = [{"containerPort": 9000}]
    container["readinessProbe"] = {"httpGet": {"path": "/metrics", "port": 9000}, "periodSeconds": 1}
    async with cluster.running(controllers=True):
        await deploy(cluster, 1, template=described)
        await scale_by(cluster, "http://127.0.0.1:9")
        await cluster.until(lambda o: o["spec"]["replicas"] == 3, "web", DEPLOYMENTS)
        ready = await cluster.until(
            lambda o: holds((o.get("status") or {}).get("conditions"), "Ready"), "web", SCALED_OBJECTS
        )
        assert "pods' own /metrics" in find(ready["status"]["conditions"], "Ready")["message"]  # type: ignore[index]


async def test_with_prometheus_replicas_follow_its_number(cluster: EmbeddedCluster, scaled_objects: None) -> None:
    async def answer(request: web.Request) -> web.Response:
        assert request.query["query"] == "sum(depth)"
        vector = {"resultType": "vector", "result": [{"metric": {}, "value": [0, "11"]}]}
        return web.json_response({"status": "success", "data": vector})

    app = web.Application()
    app.router.add_get("/api/v1/query", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        async with cluster.running(controllers=True):
            await deploy(cluster, 1)
            await scale_by(cluster, f"http://127.0.0.1:{runner.addresses[0][1]}")
            await cluster.until(lambda o: o["spec"]["replicas"] == 3, "web", DEPLOYMENTS)
            ready = await cluster.until(
                lambda o: holds((o.get("status") or {}).get("conditions"), "Ready"), "web", SCALED_OBJECTS
            )
            assert holds(ready["status"]["conditions"], "Active")
    finally:
        await runner.cleanup()
