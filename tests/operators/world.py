"""The operators' reconciles against the embedded API server, turn by turn, on a clock of their own.

There is no watch and no queue here: each turn lists what somebody else has changed and reconciles every key once,
which is what level-triggered code must be content with. A failed reconcile counts as a kill: the next turn begins with
an empty cache, as a new process does. Deployments and pods are played by ``Kubelet``.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import httpx
import orjson

from millrace_core.api import names
from millrace_core.base import timestamps
from millrace_core.base.errors import MillraceError
from millrace_kube import resources as r
from millrace_kube.cache import Cache
from millrace_kube.cached_client import CachedClient
from millrace_kube.client import Client
from millrace_kube.errors import AbsentError
from millrace_kube.metrics import KubeMetrics
from millrace_kube.queue import Key, Requeue
from millrace_kube.resources import Object, name_of
from millrace_kube.watched import WATCHED
from millrace_operators.experiment.reconcile import reconcile as reconcile_service
from millrace_operators.facts import sources
from millrace_operators.facts.gathering import FactGatherer
from millrace_operators.modeldeployment.reconcile import reconcile as reconcile_deployment
from millrace_operators.platform import Platform
from millrace_operators.routing.observe import service_of
from tests.operators.modeldeployment.pod_states import DIGEST, ended, error, waiting

PASSED: dict[str, Any] = {
    "verdict": "Pass",
    "digest": DIGEST,
    "bytes": 42,
    "rows": 500,
    "rules": [{"rule": "f1 min 0.8", "verdict": "Pass", "message": "f1 is 0.9", "value": 0.9, "bound": 0.8}],
}
# Far more than the API server takes where no test makes it slow.
FACTS_SECONDS = 10.0
PLATFORM = Platform(
    inference_image="millrace/inference:test",
    gpu_image="millrace/inference-gpu:test",
    materialize_image="millrace/materialize:test",
    namespace="millrace-system",
)
SEEN = (
    r.FEATURE_VIEWS,
    r.MODEL_DEPLOYMENTS,
    r.EXPERIMENTS,
    r.PODS,
    r.SERVICES,
    r.DEPLOYMENTS,
    r.CONTROLLER_REVISIONS,
    r.CONFIG_MAPS,
    r.JOBS,
    r.POD_DISRUPTION_BUDGETS,
    r.SCALED_OBJECTS,
    r.HORIZONTAL_POD_AUTOSCALERS,
    r.SERVICE_MONITORS,
    r.VIRTUAL_SERVICES,
    r.DESTINATION_RULES,
    r.NODES,
)
CHILDREN = (
    r.DEPLOYMENTS,
    r.CONTROLLER_REVISIONS,
    r.CONFIG_MAPS,
    r.JOBS,
    r.SERVICES,
    r.POD_DISRUPTION_BUDGETS,
    r.SCALED_OBJECTS,
    r.SERVICE_MONITORS,
    r.HORIZONTAL_POD_AUTOSCALERS,
    r.DESTINATION_RULES,
    r.VIRTUAL_SERVICES,
)
_MERGE = {"content-type": "application/merge-patch+json"}


@dataclass
class Kubelet:
    """Plays the controllers of Deployments and Jobs and the kubelet: one pod for each, which ends by its model's URI.

    Attributes:
        judgements: what the gate Job of a model leaves behind, where that is no pass; None: it does not end.
    """

    http: httpx.Client
    namespace: str
    missing: set[str] = field(default_factory=set)
    slow: set[str] = field(default_factory=set)
    down: set[str] = field(default_factory=set)
    judgements: dict[str, dict[str, Any] | None] = field(default_factory=dict)

    def act(self) -> bool:
        """Brings pods and statuses to what they would be; whether anything changed."""
        changed = False
        deployments = {name_of(item): item for item in self._list("apis/apps/v1", "deployments")}
        pods = {name_of(item): item for item in self._list("api/v1", "pods")}
        for name, item in deployments.items():
            if not item["metadata"].get("deletionTimestamp"):
                changed |= self._pod(item, pods.get(f"{name}-0"))
                changed |= self._status(item)
        jobs = {name_of(item): item for item in self._list("apis/batch/v1", "jobs")}
        for name, item in jobs.items():
            changed |= self._job(item, pods.get(f"{name}-0"))
        for name in pods:
            if name.removesuffix("-0") not in deployments | jobs:
                self.http.delete(f"/api/v1/namespaces/{self.namespace}/pods/{name}?gracePeriodSeconds=0")
                changed = True
        return changed

    def _pod(self, deployment: Object, pod: Object | None) -> bool:
        template = deployment["spec"]["template"]
        path = f"/api/v1/namespaces/{self.namespace}/pods"
        name = f"{name_of(deployment)}-0"
        if pod is None:
            owner = {"apiVersion": "apps/v1", "kind": "Deployment", **_reference(deployment)}
            metadata = {"name": name, "labels": template["metadata"]["labels"], "ownerReferences": [owner]}
            pod = checked(self.http.post(path, json={"metadata": metadata, "spec": template["spec"]}))
        wanted = self._pod_status(deployment)
        status = pod.get("status") or {}
        if all(_without_times(status.get(key)) == value for key, value in wanted.items()):
            return False
        self.report(f"{path}/{name}", wanted)
        return True

    def _job(self, job: Object, pod: Object | None) -> bool:
        """A Job of gates ends with what its pod said, and only then."""
        name, uri = f"{name_of(job)}-0", _uri(job)
        said = self.judgements.get(uri, PASSED)
        if pod is not None or said is None or job["metadata"].get("deletionTimestamp"):
            return False
        path, template = f"/api/v1/namespaces/{self.namespace}/pods", job["spec"]["template"]
        labels = {**template["metadata"]["labels"], "batch.kubernetes.io/job-name": name_of(job)}
        owner = {"apiVersion": "batch/v1", "kind": "Job", **_reference(job)}
        metadata = {"name": name, "labels": labels, "ownerReferences": [owner]}
        checked(self.http.post(path, json={"metadata": metadata, "spec": template["spec"]}))
        common = {"name": "gate", "image": "i", "imageID": "", "restartCount": 0, "ready": False}
        failed = "error" in said
        self.report(f"{path}/{name}", {"containerStatuses": [{**common, "state": ended(2 if failed else 0, said)}]})
        kind, since = "Failed" if failed else "Complete", "2026-01-01T00:00:00Z"
        found = {"type": kind, "status": "True", "reason": "x", "message": "x", "lastTransitionTime": since}
        self.report(r.JOBS.path(self.namespace, name_of(job)), {"conditions": [found], kind.lower(): 1})
        return True

    def _pod_status(self, deployment: Object) -> dict[str, Any]:
        uri = _uri(deployment)
        if uri in self.missing:
            failed = ended(2, error(f"{uri} does not exist"))
            fetch = {"state": waiting("CrashLoopBackOff"), "lastState": failed, "ready": False}
        else:
            fetch = {"state": ended(0, {"digest": DIGEST, "bytes": 42}, "Completed"), "ready": True}
        ready = "True" if self._serves(deployment) else "False"
        common = {"name": "fetch", "image": "i", "imageID": "", "restartCount": 0}
        return {
            "initContainerStatuses": [{**common, **fetch}],
            "conditions": [{"type": "Ready", "status": ready}],
        }

    def _status(self, deployment: Object) -> bool:
        replicas = deployment["spec"]["replicas"]
        ready = replicas if self._serves(deployment) else 0
        wanted = {
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": replicas,
            "updatedReplicas": replicas,
            "readyReplicas": ready,
            "availableReplicas": ready,
        }
        status = deployment.get("status") or {}
        if all(status.get(key, 0) == value for key, value in wanted.items()):
            return False
        self.report(r.DEPLOYMENTS.path(self.namespace, name_of(deployment)), wanted)
        return True

    def report(self, path: str, status: dict[str, Any]) -> None:
        """Writes a status, unless the garbage collector has taken the object meanwhile."""
        answer = self.http.patch(f"{path}/status", content=orjson.dumps({"status": status}), headers=_MERGE)
        assert answer.status_code in (200, 404), answer.text

    def _serves(self, deployment: Object) -> bool:
        owner = deployment["metadata"]["labels"][names.DEPLOYMENT]
        return _uri(deployment) not in self.missing | self.slow and owner not in self.down

    def _list(self, root: str, plural: str) -> list[Object]:
        return list(checked(self.http.get(f"/{root}/namespaces/{self.namespace}/{plural}"))["items"])


class World:
    """A namespace, an operator that can be killed, and time.

    Args:
        client: of the operator; it remembers nothing but its connections, so it outlives each process.
        http: of everybody else.
    """

    def __init__(self, client: Client, http: httpx.Client, namespace: str, now: datetime) -> None:
        self.http = http
        self.namespace = namespace
        self.now = now
        self.platform = PLATFORM
        self.kubelet = Kubelet(http, namespace)
        self.absent: set[r.Resource] = set()
        self.writes = 0
        self.kills = 0
        self.failures: list[str] = []
        self.wish: float | None = None
        self._client = client
        self._operator: Operator | None = None
        self._changed: set[r.Resource] = set()

    async def settle(self, *, horizon: timedelta = timedelta(hours=2), turns: int = 200) -> None:
        """Turns until nothing changes, now or at the times within the horizon that reconciles asked for."""
        end = self.now + horizon
        in_vain = 0
        for _ in range(turns):
            if await self.turn():
                in_vain = 0
                continue
            if self.wish is None or in_vain > 0 or self.now + timedelta(seconds=self.wish) > end:
                return await self._operator.write_events() if self._operator is not None else None
            in_vain += 1
            self.now += timedelta(seconds=self.wish + 0.001)
        raise AssertionError(f"never settles; kills: {self.kills}, last: {self.failures[-3:]}")

    async def turn(self) -> bool:
        """One reconcile of everything; whether the operator or the cluster changed anything."""
        if self._operator is None:
            self._operator = Operator(self._client, self.namespace, lambda: self.now, self.platform)
            self._changed = set(SEEN)
        self._client.fence = self._count
        before = self.writes
        failed = False
        try:
            await self._operator.list(self._changed - self.absent)
            self._changed = set()
            self.wish = await self._operator.reconcile_all()
        except MillraceError as error:
            self.failures.append(str(error))
            failed = True
            self.kills += 1
            self.restart()
        else:
            if self._operator.deletes():
                self._changed = set(SEEN)
        moved = self.kubelet.act()
        self._changed |= {r.PODS, r.DEPLOYMENTS, r.JOBS} if moved else set()
        return moved or failed or self.writes != before

    def restart(self) -> None:
        """The operator's process ends, and nothing that it held in memory is left; a new one lists everything."""
        self._operator = None

    def forget(self, resource: r.Resource) -> None:
        """The operator's cache loses all objects of a kind, as from a list that came back empty."""
        assert self._operator is not None
        for item in self._operator.cluster.cache.all(resource, self.namespace):
            self._operator.cluster.cache.replace(resource, (), item["metadata"]["resourceVersion"])

    async def lag_behind(self, resource: r.Resource, told: str, untold: str) -> None:
        """The operator's cache learns what the object ``told`` is now, and has not heard of ``untold``."""
        assert self._operator is not None
        cluster = self._operator.cluster
        if (held := cluster.cache.get(resource, self.namespace, untold)) is not None:
            cluster.cache.remove(resource, held)
        await cluster.live(resource, self.namespace, told)
        self._changed.discard(resource)

    def unserved(self, resource: r.Resource) -> None:
        """The operator's cache takes a kind for not installed."""
        assert self._operator is not None
        self._operator.cluster.cache.clear(resource)

    def apply(self, document: Object) -> Object:
        """As kubectl applies it, server-side."""
        resource = self.touched(r.resource_of(document))
        path = resource.path(self.namespace, name_of(document))
        answer = self.http.patch(
            f"{path}?fieldManager=kubectl&force=true",
            content=orjson.dumps(document),
            headers={"content-type": "application/apply-patch+yaml"},
        )
        return checked(answer)

    def patch(self, resource: r.Resource, name: str, patch: Object) -> Object:
        path = self.touched(resource).path(self.namespace, name)
        return checked(self.http.patch(path, content=orjson.dumps(patch), headers=_MERGE))

    def orphan(self, resource: r.Resource, name: str) -> None:
        """A user deletes, and keeps what is owned."""
        path = self.touched(resource).path(self.namespace, name)
        checked(self.http.request("DELETE", path, json={"propagationPolicy": "Orphan"}))
        for child in CHILDREN:
            self.touched(child)

    def delete(self, resource: r.Resource, name: str) -> None:
        assert self.http.delete(self.touched(resource).path(self.namespace, name)).status_code == 200

    def get(self, resource: r.Resource, name: str) -> Object | None:
        answer = self.http.get(resource.path(self.namespace, name))
        return None if answer.status_code == 404 else checked(answer)

    def status(self, resource: r.Resource, name: str) -> dict[str, Any]:
        found = self.get(resource, name)
        assert found is not None, f"{resource.kind} {name} is gone"
        return found.get("status") or {}

    def condition(self, resource: r.Resource, name: str, kind: str) -> tuple[str, str, str]:
        found = next(item for item in self.status(resource, name)["conditions"] if item["type"] == kind)
        return found["status"], found["reason"], found["message"]

    def children(self) -> list[Object]:
        """Every object that operators make, as it is."""
        found = []
        for resource in CHILDREN:
            labels = {"labelSelector": WATCHED[resource].labels}
            answer = self.http.get(resource.path(self.namespace), params=labels)
            items = checked(answer)["items"] if answer.status_code == 200 else []
            found += [{"kind": resource.kind, **item} for item in items]
        return found

    def all(self, resource: r.Resource) -> list[Object]:
        """Millrace's own objects of a kind, by name."""
        answer = self.http.get(resource.path(self.namespace), params={"labelSelector": WATCHED[resource].labels})
        return sorted(checked(answer)["items"], key=name_of)

    def events(self) -> list[tuple[str, str, str]]:
        """(object, type, reason) of each Event, in order."""
        items = checked(self.http.get(f"/api/v1/namespaces/{self.namespace}/events"))["items"]
        return [(item["involvedObject"]["name"], item["type"], item["reason"]) for item in items]

    def touched(self, resource: r.Resource) -> r.Resource:
        """Somebody has changed something of the kind: it is listed at the next turn."""
        self._changed.add(resource)
        return resource

    def _count(self) -> None:
        self.writes += 1


class Operator:
    """One process of the operator, as far as these tests go."""

    def __init__(self, client: Client, namespace: str, clock: Callable[[], datetime], platform: Platform) -> None:
        self.client = client
        self._platform = platform
        self._metrics = KubeMetrics()
        self.cluster = CachedClient(client, Cache(), metrics=self._metrics, clock=clock)
        self.namespace = namespace
        self._deleted = 0.0

    async def list(self, resources: Iterable[r.Resource]) -> None:
        """What a watch would tell."""
        await asyncio.gather(*map(self._list, resources))

    def deletes(self) -> bool:
        """Whether something was deleted or let go since the last call, after which more may go by itself."""
        before, self._deleted = (
            self._deleted,
            sum(
                sample.value
                for metric in self._metrics.writes.collect()
                for sample in metric.samples
                if sample.name.endswith("_total") and sample.labels["verb"] in ("delete", "finalizers")
            ),
        )
        return self._deleted != before

    async def write_events(self) -> None:
        """Writes the Events that the API server did not take at once, as the runtime does all the while."""
        writing = asyncio.create_task(self.cluster.events.run(asyncio.Event()))
        try:
            async with asyncio.timeout(60):
                await self.cluster.events._queued.join()
        finally:
            writing.cancel()
            await asyncio.wait([writing])

    async def reconcile_all(self) -> float | None:
        """Reconciles every key once; seconds until the earliest wish to look again."""
        wishes: list[Requeue | None] = []
        for controller, name in self._keys():
            key = Key(controller, self.namespace, name)
            wishes.append(await self._reconcile(controller, key))
        return min((wish.after for wish in wishes if wish is not None), default=None)

    async def _reconcile(self, controller: str, key: Key) -> Requeue | None:
        if controller == "deployment":
            return await reconcile_deployment(self.cluster, self._platform, key)
        return await _service(self.cluster, self._platform, key)

    async def _list(self, resource: r.Resource) -> None:
        """As the runtime does, but of one namespace."""
        namespace = self.namespace if resource.namespaced else ""
        try:
            found = await self.client.list(resource, namespace=namespace, labels=WATCHED[resource].labels)
        except AbsentError:
            self.cluster.cache.clear(resource)
        else:
            self.cluster.cache.replace(resource, *found)

    def _keys(self) -> list[tuple[str, str]]:
        cache = self.cluster.cache
        deployments = cache.all(r.MODEL_DEPLOYMENTS, self.namespace)
        services = {service_of(item) for item in deployments}
        services |= {item["spec"]["service"] for item in cache.all(r.EXPERIMENTS, self.namespace)}
        services |= {r.labels_of(item).get(names.SERVICE, "") for item in cache.all(r.SERVICES, self.namespace)} - {""}
        return [
            *(("deployment", name_of(item)) for item in deployments),
            *(("service", name) for name in sorted(services)),
        ]


async def _service(cluster: CachedClient, platform: Platform, key: Key) -> Requeue | None:
    known = sources(cluster, platform.gateway_url, platform.prometheus_url)
    facts = FactGatherer(known, deadline=FACTS_SECONDS, clock=cluster.now)
    return await reconcile_service(cluster, facts, platform.resilience, key)


def normal(documents: list[Object]) -> list[Object]:
    """Objects without what differs from one run to the next: identities, versions, times."""
    return [_normal(item) for item in sorted(documents, key=lambda item: (item["kind"], name_of(item)))]


def _normal(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _normal(value) for key, value in node.items() if key not in _VARYING and not key.endswith("At")}
    if isinstance(node, list):
        return [_normal(item) for item in node]
    # The namespace is in what a pod runs, so it is in the hash of each revision.
    return _HASH.sub("hash", _NAMESPACE.sub("namespace", node)) if isinstance(node, str) else node


_HASH = re.compile(r"\b[0-9a-f]{8}\b")
_NAMESPACE = re.compile(r"\bworld-[0-9]+\b")
_VARYING = {
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "managedFields",
    "namespace",
    "generation",
    "observedGeneration",
    "lastTransitionTime",
    "clusterIP",
    "clusterIPs",
    "epochs",
    "millrace.dev/applied",
    "millrace.dev/changed-at",
    "millrace.dev/applied-spec",
}


def _without_times(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _without_times(value) for key, value in node.items() if key not in ("lastTransitionTime",)}
    return [_without_times(item) for item in node] if isinstance(node, list) else node


def _reference(document: Object) -> dict[str, Any]:
    return {"name": name_of(document), "uid": document["metadata"]["uid"], "controller": True}


def _uri(owner: Object) -> str:
    env = owner["spec"]["template"]["spec"]["initContainers"][0]["env"]
    return next(str(item["value"]) for item in env if item["name"] == "MILLRACE_MODEL_URI")


def checked(answer: httpx.Response) -> Any:
    """The body of an answer that is no error."""
    assert answer.status_code < 300, answer.text
    return answer.json()


START = timestamps.parse("2026-01-01T00:00:00Z")
