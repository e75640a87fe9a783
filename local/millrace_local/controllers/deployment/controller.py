"""Which changes make a Deployment worth planning, and what its plan sees."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from millrace_kube.informer import Informers
from millrace_kube.owners import adoptable, adopted, controller_of, controller_uid
from millrace_kube.resources import DEPLOYMENTS, PODS, REPLICA_SETS, Object, key_of
from millrace_local.controllers.actions import ActionPlan, Change
from millrace_local.controllers.deployment.plan import Observed, plan
from millrace_local.controllers.pods import is_finished


class DeploymentController:
    """Keeps ReplicaSets as Deployments ask."""

    name = "deployment"
    workers = 4

    def wire(self, informers: Informers, touch: Callable[[str], None]) -> None:
        """A Deployment is planned when it, one of its ReplicaSets, or (Recreate) the last of their pods changes."""
        self._deployments = informers.of(DEPLOYMENTS)
        self._sets = informers.of(REPLICA_SETS)
        self._pods = informers.of(PODS)
        self._sets.index("controller", controller_uid)
        self._sets.index("namespace", lambda item: [item["metadata"]["namespace"]])
        self._pods.index("controller", controller_uid)

        def of_set(old: Object | None, new: Object | None) -> None:
            item = new or old
            if item and (owner := controller_of(item)) and owner["kind"] == "Deployment":
                touch(f"{item['metadata']['namespace']}/{owner['name']}")

        def of_pod(old: Object | None, new: Object | None) -> None:
            if old is not None and (new is None or is_finished(new)):
                owner = controller_of(old)
                if owner and (found := self._sets.get(old["metadata"]["namespace"], owner["name"])):
                    of_set(None, found)

        self._deployments.subscribe(lambda _old, new: touch(key_of(new)) if new else None)
        self._sets.subscribe(of_set)
        self._pods.subscribe(of_pod)

    def plan(self, key: str, now: datetime) -> ActionPlan:
        """Adopts the orphans it selects, else takes the next step."""
        deployment = self._deployments.items.get(key)
        if deployment is None:
            return ActionPlan()
        neighbours = self._sets.by("namespace", deployment["metadata"]["namespace"])
        if orphans := adoptable(deployment, neighbours):
            return ActionPlan(tuple(Change(REPLICA_SETS, item, adopted(deployment, item)) for item in orphans))
        sets = self._sets.by("controller", deployment["metadata"]["uid"])
        uids = [item["metadata"]["uid"] for item in sets]
        pods = {uid: sum(not is_finished(pod) for pod in self._pods.by("controller", uid)) for uid in uids}
        return plan(Observed(deployment, sets, pods, {item["metadata"]["name"] for item in neighbours}), now)
