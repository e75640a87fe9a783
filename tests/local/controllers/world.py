"""A cluster in memory, in which plans come true at once: for simulations of whole rollouts and Jobs."""

from __future__ import annotations

import copy
import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from millrace_kube.compare import merge_patch
from millrace_kube.owners import controller_of
from millrace_kube.resources import JOBS, PODS, REPLICA_SETS, Resource
from millrace_kube.times import stamp
from millrace_local.controllers.actions import ActionPlan, Bind, Change, Create, Delete, EmitEvent
from millrace_local.controllers.deployment.plan import Observed
from millrace_local.controllers.deployment.plan import plan as plan_deployment
from millrace_local.controllers.job.plan import plan as plan_job
from millrace_local.controllers.pods import is_finished
from millrace_local.controllers.replicaset import plan as plan_replica_set

Obj = dict[str, Any]
START = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)


class StaleError(Exception):
    """A write from a late copy."""


@dataclass
class World:
    """Objects by plural and name, all in one namespace, and a clock that only tests move."""

    now: datetime = START
    objects: dict[tuple[str, str], Obj] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    writes: int = 0
    _numbers: Any = field(default_factory=lambda: itertools.count(1))

    def add(self, resource: Resource, body: Obj) -> Obj:
        """Creates an object as an API server does."""
        obj = resource.typed(copy.deepcopy(body))
        number = next(self._numbers)
        obj["metadata"] |= {
            "namespace": "default",
            "uid": f"uid-{number}",
            "resourceVersion": str(number),
            "generation": 1,
            "creationTimestamp": stamp(self.now + timedelta(seconds=0)),
        }
        self.objects[resource.plural, obj["metadata"]["name"]] = obj
        return obj

    def get(self, resource: Resource, name: str) -> Obj:
        return self.objects[resource.plural, name]

    def all(self, resource: Resource, owner: Obj | None = None) -> list[Obj]:
        found = [obj for (plural, _), obj in sorted(self.objects.items()) if plural == resource.plural]
        if owner is None:
            return found
        return [o for o in found if (controller_of(o) or {}).get("uid") == owner["metadata"]["uid"]]

    def has_pod(self, name: str) -> bool:
        return (PODS.plural, name) in self.objects

    def edit(self, resource: Resource, name: str, **spec: Any) -> Obj:
        """What a user does: changes the spec, so that the generation rises."""
        obj = self.objects[resource.plural, name] = copy.deepcopy(self.get(resource, name))
        obj["spec"] |= spec
        obj["metadata"]["generation"] += 1
        obj["metadata"]["resourceVersion"] = str(next(self._numbers))
        return obj

    def set_status(self, resource: Resource, name: str, **status: Any) -> None:
        obj = self.objects[resource.plural, name] = copy.deepcopy(self.get(resource, name))
        obj["status"] = {**(obj.get("status") or {}), **status}
        obj["metadata"]["resourceVersion"] = str(next(self._numbers))

    def remove(self, resource: Resource, name: str) -> None:
        """Deletes a pod as its node does; finalizers hold it back."""
        obj = self.get(resource, name)
        if obj["metadata"].get("finalizers"):
            obj["metadata"]["deletionTimestamp"] = stamp(self.now)
        else:
            del self.objects[resource.plural, name]

    def apply(self, plan: ActionPlan, limit: int | None = None) -> bool:
        """Carries out a plan, or only its first ``limit`` writes; says whether anything changed."""
        before = self.writes
        for action in plan.actions:
            if limit is not None and self.writes - before >= limit:
                break
            if isinstance(action, EmitEvent):
                self.told.append(action.message)
            elif isinstance(action, Create):
                self._create(action)
            elif isinstance(action, Change):
                self._change(action)
            elif isinstance(action, Delete):
                self._delete(action)
            elif isinstance(action, Bind):
                self.edit(PODS, action.pod["metadata"]["name"], nodeName=action.node)
        return self.writes > before

    def _create(self, action: Create) -> None:
        if (action.resource.plural, action.body["metadata"]["name"]) not in self.objects:
            self.add(action.resource, action.body)
            self.writes += 1

    def _change(self, action: Change) -> None:
        name = action.before["metadata"]["name"]
        present = self.objects.get((action.resource.plural, name))
        if present is None or not merge_patch(action.before, action.after):
            return
        if present["metadata"]["resourceVersion"] != action.before["metadata"]["resourceVersion"]:
            raise StaleError(name)
        after = copy.deepcopy(action.after)
        after["metadata"]["resourceVersion"] = str(next(self._numbers))
        if action.before.get("spec") != after.get("spec"):
            after["metadata"]["generation"] += 1
        self.objects[action.resource.plural, name] = after
        self.writes += 1
        free = after["metadata"].get("deletionTimestamp") and not after["metadata"].get("finalizers")
        if free and (action.resource is not PODS or is_finished(after)):
            del self.objects[action.resource.plural, name]

    def _delete(self, action: Delete) -> None:
        name = action.target["metadata"]["name"]
        present = self.objects.get((action.resource.plural, name))
        if present is None:
            return
        self.writes += 1
        gracefully = action.resource is PODS and not is_finished(present)
        if gracefully or present["metadata"].get("finalizers"):
            marked = self.objects[action.resource.plural, name] = copy.deepcopy(present)
            marked["metadata"]["deletionTimestamp"] = stamp(self.now)
            marked["metadata"]["resourceVersion"] = str(next(self._numbers))
        else:
            del self.objects[action.resource.plural, name]

    def step_deployment(self, deployment: Obj) -> bool:
        """One round of the Deployment's and its ReplicaSets' controllers."""
        deployment = self.get_like(deployment)
        sets = self.all(REPLICA_SETS, deployment)
        pods = {s["metadata"]["uid"]: sum(not is_finished(p) for p in self.all(PODS, s)) for s in sets}
        names = {item["metadata"]["name"] for item in self.all(REPLICA_SETS)}
        moved = self.apply(plan_deployment(Observed(deployment, sets, pods, names), self.now))
        for item in self.all(REPLICA_SETS, deployment):
            moved |= self.apply(plan_replica_set(item, self.all(PODS, item), self.now, is_taken=self.has_pod))
        return moved

    def get_like(self, obj: Obj) -> Obj:
        return self.objects[f"{obj['kind'].lower()}s", obj["metadata"]["name"]]

    def step_job(self, name: str, limit: int | None = None, backoff: float = 10.0) -> bool:
        """One plan of the Job's controller."""
        job = self.get(JOBS, name)
        return self.apply(plan_job(job, self.all(PODS, job), self.now, is_taken=self.has_pod, backoff=backoff), limit)

    def settle_job(self, name: str) -> None:
        for _ in range(20):
            if ("jobs", name) not in self.objects or not self.step_job(name):
                return
        raise AssertionError("the Job's controller does not come to rest")

    def run(self, pod: Obj, *, ready: bool = True) -> None:
        """The pod's containers start."""
        word = "True" if ready else "False"
        condition = {"type": "Ready", "status": word, "lastTransitionTime": stamp(self.now)}
        self.set_status(PODS, pod["metadata"]["name"], phase="Running", conditions=[condition])

    def finish(self, pod: Obj, code: int = 0, **status: Any) -> None:
        """The pod's one container ends."""
        ended = {"terminated": {"exitCode": code, "finishedAt": stamp(self.now)}}
        statuses = [{"name": "main", "state": ended, "restartCount": 0}]
        phase = "Failed" if code else "Succeeded"
        self.set_status(PODS, pod["metadata"]["name"], phase=phase, containerStatuses=statuses, **status)

    def bury(self) -> None:
        """Nodes end all pods that are being deleted."""
        for pod in self.all(PODS):
            if pod["metadata"].get("deletionTimestamp"):
                self.remove(PODS, pod["metadata"]["name"])
