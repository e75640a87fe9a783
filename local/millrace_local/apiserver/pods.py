"""Binding a pod to a node, and evicting it."""

from __future__ import annotations

from typing import Any

from millrace_local.apiserver.decoding import decode_as
from millrace_local.apiserver.deletion import DeleteOptions
from millrace_local.apiserver.errors import StatusError, bad_request, conflict, not_found
from millrace_local.apiserver.options import WriteOptions
from millrace_local.apiserver.request import Request, RequestTarget, Response, json_response
from millrace_local.apiserver.resources import PODS
from millrace_local.apiserver.server import ApiServer
from millrace_local.apiserver.store import StoreEntry

_CREATED = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
_BUDGETS = "policy/poddisruptionbudgets"


def bind(request: Request, target: RequestTarget, server: ApiServer) -> Response:
    """Assigns a pod to a node, once.

    Raises:
        StatusError: 400 without a node, 404 without the pod, 409 when the pod has a node.
    """
    binding = decode_as(request, "", "v1", "Binding")
    node = (binding.get("target") or {}).get("name")
    if not node:
        raise bad_request("target.name: Required value: the name of the node to bind the pod to")

    def change(pod: dict[str, Any]) -> dict[str, Any]:
        if pod["spec"].get("nodeName"):
            why = f"pod {target.name} is already assigned to node {pod['spec']['nodeName']!r}"
            raise conflict("pods/binding", "", target.name, why)
        if "deletionTimestamp" in pod["metadata"]:
            raise conflict(
                "pods/binding", "", target.name, f"pod {target.name} is being deleted, cannot be assigned to a host"
            )
        pod["spec"]["nodeName"] = node
        annotations = (binding.get("metadata") or {}).get("annotations")
        if annotations:
            pod["metadata"]["annotations"] = {**(pod["metadata"].get("annotations") or {}), **annotations}
        conditions = [c for c in pod["status"].get("conditions") or () if c["type"] != "PodScheduled"]
        scheduled = {
            "type": "PodScheduled",
            "status": "True",
            "lastProbeTime": None,
            "lastTransitionTime": server.writer.now(),
        }
        pod["status"]["conditions"] = [*conditions, scheduled]
        return pod

    server.writer.update(target, change, WriteOptions.of(request))
    return json_response(_CREATED, 201)


def evict(request: Request, target: RequestTarget, server: ApiServer) -> Response:
    """Deletes a pod unless a disruption budget forbids it.

    Raises:
        StatusError: 404 without the pod, 429 when a budget allows no disruption now.
    """
    entry = server.store.get(PODS, target.namespace, target.name)
    if entry is None:
        raise not_found("pods", "", target.name)
    eviction = decode_as(request, "policy", "v1", "Eviction")
    for budget in server.store.entries(_BUDGETS, target.namespace):
        _check_budget(budget, entry)
    options = DeleteOptions.from_document(eviction.get("deleteOptions") or {}, request)
    server.deleter.delete(target.resource, entry, options)
    return json_response(_CREATED, 201)


def _check_budget(budget: StoreEntry, pod: StoreEntry) -> None:
    obj = budget.object()
    selector = obj.get("spec", {}).get("selector") or {}
    labels = selector.get("matchLabels") or {}
    if not labels or any(pod.labels.get(key) != value for key, value in labels.items()):
        return
    status = obj.get("status") or {}
    # Before a controller has written the status, no budget is known and the eviction is allowed.
    if "disruptionsAllowed" in status and status["disruptionsAllowed"] <= 0:
        needed, healthy = status.get("desiredHealthy", 0), status.get("currentHealthy", 0)
        cause = {
            "reason": "DisruptionBudget",
            "message": f"The disruption budget {budget.name} needs {needed} healthy pods and has {healthy} currently",
        }
        raise StatusError(
            429,
            "TooManyRequests",
            "Cannot evict pod as it would violate the pod's disruption budget.",
            details={"causes": [cause]},
        )
