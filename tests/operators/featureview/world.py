"""Feature views on a real API server, turn by turn, on a clock of their own; Jobs end as tests say.

Each turn lists everything and reconciles the view, and others that are named, without watches or a queue. A turn that
fails counts as a kill: the next one begins with an empty cache, as a new process does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from millrace_core.api import names
from millrace_core.base import timestamps
from millrace_core.base.errors import MillraceError
from millrace_kube.cache import Cache
from millrace_kube.cached_client import CachedClient
from millrace_kube.client import Client
from millrace_kube.queue import Key, Requeue
from millrace_kube.resources import (
    CONTROLLER_REVISIONS,
    CRON_JOBS,
    DEPLOYMENTS,
    EVENTS,
    EXPERIMENTS,
    FEATURE_VIEWS,
    JOBS,
    MODEL_DEPLOYMENTS,
    PODS,
    Object,
    Resource,
    annotations_of,
    name_of,
    namespace_of,
)
from millrace_kube.watched import WATCHED
from millrace_operators.facts.gathering import FactGatherer
from millrace_operators.featureview import runs
from millrace_operators.featureview.reconcile import reconcile
from tests.builders import Built, feature_view, model_deployment
from tests.operators.featureview.life import NOON, PLATFORM
from tests.operators.harness import Api

_SEEN = (
    FEATURE_VIEWS,
    MODEL_DEPLOYMENTS,
    EXPERIMENTS,
    DEPLOYMENTS,
    CONTROLLER_REVISIONS,
    CRON_JOBS,
    JOBS,
    PODS,
)
_TURNS = 25


class KilledError(Exception):
    """The operator died before a write."""


class World:
    """One namespace and its operator.

    Args:
        client: the operators' own; its fence becomes this world's.
        kill_at: number of the write before which the process dies; 0: none.
    """

    def __init__(self, api: Api, client: Client, kill_at: int = 0) -> None:
        self.api = api
        self.namespace = api.namespace()
        self.now: datetime = NOON
        self.platform = PLATFORM
        self.facts: FactGatherer | None = None
        self.writes = 0
        self.absent: set[Resource] = set()
        self.after_listing: Callable[[], object] = lambda: None
        self.kills = 0
        self.others: tuple[str, ...] = ()
        self.wake: Requeue | None = None
        self._kill_at = kill_at
        self._meanwhile: dict[int, Callable[[], None]] = {}
        self._client = client
        self._cluster: CachedClient | None = None
        # Whether a failed turn is the end of the process, and a new one begins with nothing in memory.
        self.fragile = True
        client.fence = self._before_write

    def before_write(self, number: int, happens: Callable[[], None]) -> None:
        """What somebody else does before the write of this number is sent."""
        self._meanwhile[number] = happens

    def edited_as_watched(self, patch: dict[str, Any]) -> None:
        """A user changes the view, and the operator's watch brings it at once."""
        self.edit(patch)
        found = self.view()
        assert found is not None
        assert self._cluster is not None
        self._cluster.cache.upsert(FEATURE_VIEWS, FEATURE_VIEWS.typed(found))

    def _before_write(self) -> None:
        self.writes += 1
        self._meanwhile.pop(self.writes, lambda: None)()
        if self.writes == self._kill_at:
            raise KilledError

    def in_effect(self) -> dict[str, Any]:
        """The spec that runs of the schedule go by."""
        [cron_job] = self.api.list(CRON_JOBS, self.namespace)
        [container] = cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
        [given] = [each["value"] for each in container["env"] if each["name"] == "MILLRACE_FEATURE_VIEW"]
        spec: dict[str, Any] = json.loads(given)["spec"]
        return spec

    def reader(self, name: str, *refs: str) -> None:
        """A user applies a model that reads these features."""
        features = {"refs": list(refs), "input": "x"}
        if self.api.get(MODEL_DEPLOYMENTS, self.namespace, name) is None:
            model = model_deployment(name).having("metadata.namespace", self.namespace)
            self.api.create(MODEL_DEPLOYMENTS, model.having("spec.features", features).build())
        else:
            self.api.merge(MODEL_DEPLOYMENTS, self.namespace, name, {"spec": {"features": features}})

    def said(self, kind: str) -> str:
        """The message of a condition."""
        view = self.view()
        assert view is not None
        [found] = [item for item in view["status"]["conditions"] if item["type"] == kind]
        return str(found["message"])

    async def settle(self) -> None:
        """Turns until one ends well and writes nothing."""
        for _ in range(_TURNS):
            before = self.writes
            if await self.turn() and self.writes == before:
                return
        raise AssertionError(f"not settled within {_TURNS} turns")

    async def turn(self) -> bool:
        """One turn; whether it ended well."""
        cluster = self._cluster = self._cluster or CachedClient(self._client, Cache(), clock=lambda: self.now)
        cache = cluster.cache
        try:
            for resource in _SEEN:
                if resource in self.absent:
                    cache.clear(resource)
                    continue
                # Purge Jobs are elsewhere, so Jobs and pods are listed everywhere.
                where = "" if resource in (JOBS, PODS) else self.namespace
                listed, version = await self._client.list(resource, namespace=where, labels=WATCHED[resource].labels)
                cache.replace(resource, listed, version)
            self.after_listing()
            for name in self.others:
                await reconcile(cluster, self.platform, self.facts, Key("featureview", self.namespace, name))
            key = Key("featureview", self.namespace, "clicks")
            self.wake = await reconcile(cluster, self.platform, self.facts, key)
        except (MillraceError, KilledError):
            self.kills += 1
            self._cluster = None if self.fragile else cluster
            return False
        return True

    def create(self, view: Built) -> Object:
        """A user applies a view."""
        return self.api.create(FEATURE_VIEWS, view.having("metadata.namespace", self.namespace).build())

    def edit(self, patch: dict[str, Any], name: str = "clicks") -> None:
        """A user changes a view."""
        self.api.merge(FEATURE_VIEWS, self.namespace, name, patch)

    def view(self, name: str = "clicks") -> Object | None:
        """The view as it is."""
        return self.api.get(FEATURE_VIEWS, self.namespace, name)

    def condition(self, kind: str) -> tuple[str, str]:
        """Status and reason."""
        view = self.view()
        assert view is not None
        [found] = [item for item in view["status"]["conditions"] if item["type"] == kind]
        return found["status"], found["reason"]

    def jobs(self) -> list[Object]:
        """The view's Jobs at work, and the purge Jobs."""
        return [item for item in self._listed(JOBS) if not item.get("status")]

    def _listed(self, resource: Resource) -> list[Object]:
        found = self.api.list(resource, self.namespace)
        if resource is JOBS:
            found += self.api.list(JOBS, PLATFORM.namespace, f"{names.PROJECT}={self.namespace}")
        return found

    def succeed(self, job: Object) -> None:
        """A Job ends well, after a minute."""
        arguments = job["spec"]["template"]["spec"]["containers"][0]["args"]
        asked = dict(zip(arguments[1::2], arguments[2::2], strict=False))
        self.now += timedelta(minutes=1)
        interval = {"start": asked.get("--start"), "end": asked.get("--end") or timestamps.render(self.now)}
        message = {"interval": interval, "rows": 5, "written": 4, "keys": 3, "seconds": 1.5}
        message["quality"] = [{"name": "amount.range", "severity": "block", "passed": True, "message": "0 of 5"}]
        self.end(job, "Complete", 0, json.dumps(message))

    def fail(self, job: Object, reason: str = "NoSuchColumn", **more: Any) -> None:
        """A Job ends badly, after a minute."""
        self.now += timedelta(minutes=1)
        error = {"reason": reason, "message": "it is not there", "field": ""}
        self.end(job, "Failed", 1, json.dumps({"error": error, **more}))

    def end(self, job: Object, kind: str, code: int, message: str) -> None:
        """Pod and Job end, in this order."""
        labels = {**job["spec"]["template"]["metadata"]["labels"], runs.JOB_NAME: name_of(job)}
        place, pod = namespace_of(job), f"{name_of(job)}-x"
        spec = {"restartPolicy": "Never", "containers": [{"name": "materialize", "image": "x"}]}
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name_of(job), "uid": job["metadata"]["uid"]}
        metadata = {"name": pod, "namespace": place, "labels": labels, "ownerReferences": [owner]}
        self.api.create(PODS, {"metadata": metadata, "spec": spec})
        ended = {"exitCode": code, "message": message, "finishedAt": timestamps.render(self.now), "reason": "x"}
        container = {"name": "materialize", "image": "x", "imageID": "", "ready": False, "restartCount": 0}
        status = {
            "phase": "Succeeded" if code == 0 else "Failed",
            "containerStatuses": [{**container, "state": {"terminated": ended}}],
        }
        self.api.merge(PODS, place, pod, {"status": status}, "status")
        time = timestamps.render(self.now)
        condition = {"type": kind, "status": "True", "lastTransitionTime": time, "reason": "x", "message": "x"}
        criterion = {**condition, "type": "SuccessCriteriaMet" if code == 0 else "FailureTarget"}
        done: dict[str, Any] = {"conditions": [criterion, condition], "startTime": time}
        done |= {"completionTime": time, "succeeded": 1} if code == 0 else {"failed": 1}
        self.api.merge(JOBS, place, name_of(job), {"status": done}, "status")

    def story(self) -> dict[str, Any]:
        """What a user sees in the end, without what differs from one run to the next."""
        view = self.view()
        status = (view or {}).get("status") or {}
        story = {
            "view": None if view is None else [view["metadata"].get("finalizers"), view["spec"]],
            "status": {key: value for key, value in status.items() if key not in ("conditions", "commandResult")}
            | {"lastRun": {k: v for k, v in (status.get("lastRun") or {}).items() if k != "name"}},
            "conditions": {item["type"]: (item["status"], item["reason"]) for item in status.get("conditions") or ()},
            "cronjobs": [item["spec"] for item in self.api.list(CRON_JOBS, self.namespace)],
            "jobs": sorted(
                str([annotations_of(item).get(names.RUN), annotations_of(item).get(names.INTERVAL), item.get("status")])
                for item in self._listed(JOBS)
            ),
        }
        # The namespace is in what a Job runs, so it is in the digest of that, too.
        text = re.sub(rf'"{names.RENDERED}": "[0-9a-f]+"', f'"{names.RENDERED}": ""', json.dumps(story))
        told: dict[str, Any] = json.loads(text.replace(self.namespace, "here"))
        return told

    def events(self) -> list[tuple[str, str]]:
        """Events of the namespace as (reason, message), sorted."""
        return sorted((item["reason"], item["message"]) for item in self.api.list(EVENTS, self.namespace))


Worlds = Callable[..., World]


def clicks() -> Built:
    view = feature_view("clicks").having("spec.materialization.schedule", "*/15 * * * *")
    view = view.having("spec.quality", [{"column": "amount", "min": 0}])
    return view.having("spec.materialization.startFrom", "2026-11-01T00:00:00Z")
