"""A kubelet that knows pods one by one: each fetches the file that lies at its URI when it starts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from millrace_kube import resources as r
from millrace_kube.resources import Object, labels_of, name_of
from tests.operators.modeldeployment.pod_states import ended, error, waiting
from tests.operators.world import Kubelet, checked


def digest(letter: str) -> str:
    """A digest that is easy to tell from others."""
    return "sha256:" + letter * 64


@dataclass
class PodKubelet(Kubelet):
    """Plays the Deployment controller and the kubelet, pod by pod.

    Attributes:
        files: digest of the file at each URI, now.
        served: every (revision, digest) that a pod was ready with.
        measured: what each pod measured, by its name.
    """

    files: dict[str, str] = field(default_factory=dict)
    served: set[tuple[str, str]] = field(default_factory=set)
    measured: dict[str, str] = field(default_factory=dict)
    _started: int = 0

    def act(self) -> bool:
        deployments = {name_of(item): item for item in self._list("apis/apps/v1", "deployments")}
        pods = self._list("api/v1", "pods")
        changed = False
        for pod in pods:
            if labels_of(pod)["millrace.dev/revision"] not in deployments:
                self.http.delete(f"{self._path(pod)}?gracePeriodSeconds=0")
                changed = True
        for name, item in deployments.items():
            own = [pod for pod in pods if labels_of(pod)["millrace.dev/revision"] == name]
            for _ in range(item["spec"]["replicas"] - len(own)):
                own.append(self._start(item))
                changed = True
            for pod in own[item["spec"]["replicas"] :]:
                self.http.delete(f"{self._path(pod)}?gracePeriodSeconds=0")
                changed = True
            for pod in own[: item["spec"]["replicas"]]:
                changed |= self._retry(pod)
            changed |= self._report(item)
        return changed

    def kill(self, revision: str) -> None:
        """The pods of a revision are lost with their node."""
        for pod in self._list("api/v1", "pods"):
            if labels_of(pod)["millrace.dev/revision"] == revision:
                checked(self.http.delete(f"{self._path(pod)}?gracePeriodSeconds=0"))

    def _start(self, deployment: Object) -> Object:
        template = deployment["spec"]["template"]
        self._started += 1
        metadata = {"name": f"{name_of(deployment)}-{self._started}", "labels": template["metadata"]["labels"]}
        path = f"/api/v1/namespaces/{self.namespace}/pods"
        pod: Object = checked(self.http.post(path, json={"metadata": metadata, "spec": template["spec"]}))
        self._fetch(pod)
        return pod

    def _retry(self, pod: Object) -> bool:
        """A pod whose fetch failed tries again, and finds what there is then."""
        [state] = (pod.get("status") or {}).get("initContainerStatuses") or [{"ready": True}]
        if state["ready"]:
            return False
        wanted, uri = self._asked(pod)
        return self.files[uri] == wanted and self._fetch(pod)

    def _fetch(self, pod: Object) -> bool:
        wanted, uri = self._asked(pod)
        found = self.files[uri]
        if wanted in (None, found):
            at = f"2026-01-01T00:{self._started // 60:02}:{self._started % 60:02}Z"
            done = ended(0, {"digest": found, "bytes": 42}, "Completed")
            done["terminated"]["finishedAt"] = at
            fetch, ready = {"state": done, "ready": True}, "True"
            self.measured[name_of(pod)] = found
            self.served.add((labels_of(pod)["millrace.dev/revision"], found))
        else:
            failed = ended(2, error(f"{uri} has the digest {found}, while {wanted}", "ModelReplaced"))
            fetch, ready = {"state": waiting("CrashLoopBackOff"), "lastState": failed, "ready": False}, "False"
        status = {
            "initContainerStatuses": [{"name": "fetch", "image": "i", "imageID": "", "restartCount": 0, **fetch}],
            "conditions": [{"type": "Ready", "status": ready}],
        }
        self.report(self._path(pod), status)
        return True

    def _asked(self, pod: Object) -> tuple[str | None, str]:
        """What the file must hash to, and where it lies, as the fetch container's environment has them."""
        env = {item["name"]: item for item in pod["spec"]["initContainers"][0]["env"]}
        uri = env["MILLRACE_MODEL_URI"]["value"]
        if "MILLRACE_MODEL_DIGEST" in env:
            return env["MILLRACE_MODEL_DIGEST"]["value"], uri
        reference = env["MILLRACE_PINNED_DIGEST"]["valueFrom"]["configMapKeyRef"]
        answer = self.http.get(r.CONFIG_MAPS.path(self.namespace, reference["name"]))
        return (answer.json()["data"][reference["key"]] if answer.status_code == 200 else None), uri

    def _report(self, deployment: Object) -> bool:
        pods = [
            pod
            for pod in self._list("api/v1", "pods")
            if labels_of(pod)["millrace.dev/revision"] == name_of(deployment)
        ]
        ready = sum((pod.get("status") or {}).get("conditions", [{}])[0].get("status") == "True" for pod in pods)
        replicas = deployment["spec"]["replicas"]
        wanted: dict[str, Any] = {
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": replicas,
            "readyReplicas": ready,
        }
        status = deployment.get("status") or {}
        if all(status.get(key, 0) == value for key, value in wanted.items()):
            return False
        self.report(r.DEPLOYMENTS.path(self.namespace, name_of(deployment)), wanted)
        return True

    def _path(self, pod: Object) -> str:
        return r.PODS.path(self.namespace, name_of(pod))
