"""A child as it is with all that its kind assumes where nothing is stated: stating that as well changes nothing. Pure.

What the API server fills in is in Kubernetes' ``pkg/apis/*/v1/defaults.go``; what it leaves out and assumes all the
same (``hostNetwork: false``) is in the fields' own documentation, as are KEDA's assumptions.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from millrace_kube.resources import Object

_POD: Final[Object] = {
    "restartPolicy": "Always",
    "terminationGracePeriodSeconds": 30,
    "dnsPolicy": "ClusterFirst",
    "schedulerName": "default-scheduler",
    "automountServiceAccountToken": True,
    "enableServiceLinks": True,
    "preemptionPolicy": "PreemptLowerPriority",
    "hostUsers": True,
    "hostNetwork": False,
    "hostPID": False,
    "hostIPC": False,
    "shareProcessNamespace": False,
    "setHostnameAsFQDN": False,
}
_CONTAINER: Final[Object] = {
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
    "stdin": False,
    "stdinOnce": False,
    "tty": False,
}
_PROBE: Final[Object] = {
    "initialDelaySeconds": 0,
    "timeoutSeconds": 1,
    "periodSeconds": 10,
    "successThreshold": 1,
    "failureThreshold": 3,
}
_PROBES: Final = ("startupProbe", "readinessProbe", "livenessProbe")
_MODE: Final = 0o644
_NO_LIMIT: Final = 2**31 - 1


def completed(document: Object) -> Object:
    """A copy of the object with what is assumed of it where it states nothing; of other kinds than ours the same."""
    complete = _KINDS.get(document["kind"])
    if complete is None:
        return document
    found = copy.deepcopy(document)
    complete(found["spec"])
    return found


def _deployment(spec: Object) -> None:
    _fill(spec, {"replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600})
    _fill(spec, {"paused": False, "minReadySeconds": 0, "strategy": {}})
    strategy = spec["strategy"]
    _fill(strategy, {"type": "RollingUpdate"})
    if strategy["type"] == "RollingUpdate":
        _fill(strategy, {"rollingUpdate": {}})
        _fill(strategy["rollingUpdate"], {"maxUnavailable": "25%", "maxSurge": "25%"})
    _pod(spec["template"]["spec"])


def _cron_job(spec: Object) -> None:
    _fill(spec, {"concurrencyPolicy": "Allow", "suspend": False})
    _fill(spec, {"successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 1})
    _job(spec["jobTemplate"]["spec"])


def _job(spec: Object) -> None:
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    _fill(spec, {"parallelism": 1, "backoffLimit": _NO_LIMIT if "backoffLimitPerIndex" in spec else 6})
    _fill(spec, {"completionMode": "NonIndexed", "suspend": False, "manualSelector": False})
    _fill(spec, {"podReplacementPolicy": "Failed" if spec.get("podFailurePolicy") else "TerminatingOrFailed"})
    _pod(spec["template"]["spec"])


def _pod(spec: Object) -> None:
    _fill(spec, _POD)
    if "serviceAccountName" in spec:
        _fill(spec, {"serviceAccount": spec["serviceAccountName"]})
    for container in (*_items(spec, "initContainers"), *_items(spec, "containers")):
        _container(container)
    for volume in _items(spec, "volumes"):
        for name in ("configMap", "secret", "projected", "downwardAPI"):
            if name in volume:
                _fill(volume[name], {"defaultMode": _MODE})


def _container(container: Object) -> None:
    image = container["image"]
    tag = image.rpartition("/")[2].partition("@")[0].partition(":")[2]
    latest = "@" not in image and tag in ("", "latest")
    _fill(container, {**_CONTAINER, "imagePullPolicy": "Always" if latest else "IfNotPresent"})
    resources = container.get("resources") or {}
    if resources.get("limits"):
        resources["requests"] = {**resources["limits"], **(resources.get("requests") or {})}
    if "securityContext" in container:
        _fill(container["securityContext"], {"privileged": False, "procMount": "Default"})
    for port in _items(container, "ports"):
        _fill(port, {"protocol": "TCP"})
    for mount in _items(container, "volumeMounts"):
        _fill(mount, {"readOnly": False})
    for probe in (container[name] for name in _PROBES if name in container):
        _fill(probe, _PROBE)
        if "httpGet" in probe:
            _fill(probe["httpGet"], {"path": "/", "scheme": "HTTP"})
    _environment(container)


def _environment(container: Object) -> None:
    for source in (variable.get("valueFrom") or {} for variable in _items(container, "env")):
        if "fieldRef" in source:
            _fill(source["fieldRef"], {"apiVersion": "v1"})
        for name in ("configMapKeyRef", "secretKeyRef"):
            if name in source:
                _fill(source[name], {"optional": False})


def _service(spec: Object) -> None:
    _fill(spec, {"type": "ClusterIP", "sessionAffinity": "None", "publishNotReadyAddresses": False})
    _fill(spec, {"internalTrafficPolicy": "Cluster"})
    for port in _items(spec, "ports"):
        _fill(port, {"protocol": "TCP", "targetPort": port["port"]})


def _autoscaler(spec: Object) -> None:
    _fill(spec, {"minReplicas": 1})
    for rules in (spec.get("behavior") or {}).values():
        _fill(rules, {"selectPolicy": "Max"})


def _scaled_object(spec: Object) -> None:
    _fill(spec, {"pollingInterval": 30, "cooldownPeriod": 300, "initialCooldownPeriod": 0})
    _fill(spec, {"minReplicaCount": 0, "maxReplicaCount": 100, "advanced": {}})
    _fill(spec["advanced"], {"restoreToOriginalReplicaCount": False})
    _fill(spec["scaleTargetRef"], {"apiVersion": "apps/v1", "kind": "Deployment"})


_KINDS: Final[Mapping[str, Callable[[Object], None]]] = {
    "Deployment": _deployment,
    "CronJob": _cron_job,
    "Job": _job,
    "Service": _service,
    "HorizontalPodAutoscaler": _autoscaler,
    "ScaledObject": _scaled_object,
}


def _fill(where: Object, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if where.get(name) is None:
            where[name] = copy.deepcopy(value)


def _items(where: Object, name: str) -> Iterable[Object]:
    return where.get(name) or ()
