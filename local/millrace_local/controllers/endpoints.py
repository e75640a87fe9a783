"""Services: the addresses behind them, as EndpointSlices and, for old clients, as Endpoints."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from datetime import datetime

from millrace_kube.informer import Informers
from millrace_kube.owners import owner_reference
from millrace_kube.resources import ENDPOINT_SLICES, ENDPOINTS, PODS, SERVICES, Object, Resource, deleting, key_of
from millrace_kube.selectors import matches_map
from millrace_local.controllers.actions import Action, ActionPlan, Change, Create, Delete
from millrace_local.controllers.naming import short_hash
from millrace_local.controllers.pods import is_finished, is_ready

SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
HEADLESS = "service.kubernetes.io/headless"
# As Kubernetes: no slice holds more.
LARGEST_SLICE = 100


def plan(service: Object, pods: Sequence[Object], slices: Sequence[Object], endpoints: Object | None) -> ActionPlan:
    """Writes what the Service's pods are now; unchanged slices are not touched.

    Args:
        service: a Service with a selector.
        pods: all pods of its namespace.
        slices: the EndpointSlices of this Service that this controller manages.
        endpoints: the Endpoints of its name, if there.
    """
    if deleting(service):
        return ActionPlan()
    chosen = [pod for pod in pods if _has_address(pod) and _selects(service, pod)]
    desired = endpoint_slices(service, chosen)
    present = {item["metadata"]["name"]: item for item in slices}
    actions: list[Action] = []
    for body in desired:
        actions += _write(ENDPOINT_SLICES, present.pop(body["metadata"]["name"], None), body)
    actions += [Delete(ENDPOINT_SLICES, item) for item in present.values()]
    actions += _write(ENDPOINTS, endpoints, legacy_endpoints(service, chosen))
    return ActionPlan(tuple(actions))


def _selects(service: Object, pod: Object) -> bool:
    return matches_map(service["spec"].get("selector"), pod["metadata"].get("labels") or {})


def _has_address(pod: Object) -> bool:
    return bool((pod.get("status") or {}).get("podIP")) and not is_finished(pod)


def _write(resource: Resource, present: Object | None, body: Object) -> list[Action]:
    if present is None:
        return [Create(resource, body)]
    fields = {name: value for name, value in body.items() if name != "metadata"}
    labels = {**(present["metadata"].get("labels") or {}), **body["metadata"]["labels"]}
    after = {**present, **fields, "metadata": {**present["metadata"], "labels": labels}}
    gone = {"subsets"} - body.keys()
    return [Change(resource, present, {name: value for name, value in after.items() if name not in gone})]


def endpoint_slices(service: Object, pods: Sequence[Object]) -> list[Object]:
    """The slices of a Service: one per set of port numbers (named target ports may differ from pod to pod)."""
    groups: dict[str, tuple[list[Object], list[Object]]] = {}
    for pod in _sorted(pods):
        ports = _ports(service, pod)
        if ports or not service["spec"].get("ports"):
            groups.setdefault(short_hash(ports, 5), (ports, []))[1].append(_endpoint(service, pod))
    if not groups:
        # A Service without a pod has an empty slice: watchers learn that it is known and has nobody.
        groups = {short_hash([], 5): ([], [])}
    return [
        _slice(service, f"{label}{part or ''}", ports, members[part * LARGEST_SLICE :][:LARGEST_SLICE])
        for label, (ports, members) in sorted(groups.items())
        for part in range(max(1, -(-len(members) // LARGEST_SLICE)))
    ]


def _slice(service: Object, label: str, ports: list[Object], endpoints: list[Object]) -> Object:
    metadata = service["metadata"]
    labels = {**(metadata.get("labels") or {}), SERVICE_NAME: metadata["name"], MANAGED_BY: MANAGER}
    if service["spec"].get("clusterIP") == "None":
        labels[HEADLESS] = ""
    return {
        "metadata": {
            "name": f"{metadata['name']}-{label}",
            "namespace": metadata["namespace"],
            "labels": labels,
            "ownerReferences": [owner_reference(service)],
        },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": ports,
    }


def _endpoint(service: Object, pod: Object) -> Object:
    ready, ends = is_ready(pod), deleting(pod)
    endpoint: Object = {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {
            "ready": bool(service["spec"].get("publishNotReadyAddresses")) or (ready and not ends),
            "serving": ready,
            "terminating": ends,
        },
        "targetRef": _reference(pod),
    }
    if pod["spec"].get("nodeName"):
        endpoint["nodeName"] = pod["spec"]["nodeName"]
    if pod["spec"].get("hostname") and pod["spec"].get("subdomain") == service["metadata"]["name"]:
        endpoint["hostname"] = pod["spec"]["hostname"]
    return endpoint


def _reference(pod: Object) -> Object:
    metadata = pod["metadata"]
    return {"kind": "Pod", "namespace": metadata["namespace"], "name": metadata["name"], "uid": metadata["uid"]}


def _ports(service: Object, pod: Object) -> list[Object]:
    """The Service's ports as this pod serves them; a named target port that it lacks is left out."""
    ports = []
    for port in service["spec"].get("ports") or []:
        number = target_port(port, pod)
        if number is None:
            continue
        entry: Object = {"name": port.get("name", ""), "protocol": port.get("protocol", "TCP"), "port": number}
        if port.get("appProtocol"):
            entry["appProtocol"] = port["appProtocol"]
        ports.append(entry)
    return ports


def target_port(port: Object, pod: Object) -> int | None:
    """The number of a Service port's target on this pod; None where the pod has no port of that name."""
    target = port.get("targetPort") or port["port"]
    if isinstance(target, int):
        return target
    if target.isdigit():
        return int(target)
    for container in pod["spec"]["containers"]:
        for candidate in container.get("ports") or []:
            same_protocol = candidate.get("protocol", "TCP") == port.get("protocol", "TCP")
            if candidate.get("name") == target and same_protocol:
                return int(candidate["containerPort"])
    return None


def legacy_endpoints(service: Object, pods: Sequence[Object]) -> Object:
    """The Endpoints object: addresses that are ready and not, by set of port numbers."""
    subsets: dict[str, Object] = {}
    publish = bool(service["spec"].get("publishNotReadyAddresses"))
    for pod in _sorted(pods):
        if deleting(pod) and not publish:
            continue
        ports = _ports(service, pod)
        entry: Object = {"ip": pod["status"]["podIP"], "targetRef": _reference(pod)}
        if pod["spec"].get("nodeName"):
            entry["nodeName"] = pod["spec"]["nodeName"]
        group = "addresses" if publish or is_ready(pod) else "notReadyAddresses"
        subset = subsets.setdefault(short_hash(ports, 5), {"ports": ports} if ports else {})
        subset.setdefault(group, []).append(entry)
    metadata = service["metadata"]
    body: Object = {
        "metadata": {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "labels": {**(metadata.get("labels") or {}), MANAGED_BY: MANAGER},
            "ownerReferences": [owner_reference(service)],
        }
    }
    return {**body, "subsets": list(subsets.values())} if subsets else body


def _sorted(pods: Sequence[Object]) -> list[Object]:
    return sorted(pods, key=lambda pod: (ipaddress.ip_address(pod["status"]["podIP"]), pod["metadata"]["name"]))


class EndpointsController:
    """Keeps EndpointSlices and Endpoints as Services and pods are."""

    name = "endpoints"
    workers = 4

    def wire(self, informers: Informers, touch: Callable[[str], None]) -> None:
        """A Service is planned when it, one of its slices, or a pod that it selects (or did) changes."""
        self._services = informers.of(SERVICES)
        self._slices = informers.of(ENDPOINT_SLICES)
        self._endpoints = informers.of(ENDPOINTS)
        self._pods = informers.of(PODS)
        self._services.index("namespace", _namespace)
        self._pods.index("namespace", _namespace)
        self._slices.index("service", _service_of_slice)

        def of_pod(old: Object | None, new: Object | None) -> None:
            present = new or old
            if present is None or (old and new and _same_to_services(old, new)):
                return
            for service in self._services.by("namespace", present["metadata"]["namespace"]):
                if any(pod and _selects(service, pod) for pod in (old, new)):
                    touch(key_of(service))

        def of_slice(old: Object | None, new: Object | None) -> None:
            for key in _service_of_slice(new or old or {}):
                touch(key)

        self._services.subscribe(lambda _old, new: touch(key_of(new)) if new else None)
        self._slices.subscribe(of_slice)
        self._endpoints.subscribe(lambda old, _new: touch(key_of(old)) if old else None)
        self._pods.subscribe(of_pod)

    def plan(self, key: str, now: datetime) -> ActionPlan:  # noqa: ARG002 - time does not matter here
        """Slices and Endpoints of the Service; none for one that selects nothing."""
        service = self._services.items.get(key)
        if service is None or not service["spec"].get("selector") or service["spec"].get("type") == "ExternalName":
            return ActionPlan()
        pods = self._pods.by("namespace", service["metadata"]["namespace"])
        return plan(service, pods, self._slices.by("service", key), self._endpoints.items.get(key))


def _namespace(obj: Object) -> list[str]:
    return [obj["metadata"]["namespace"]]


def _service_of_slice(item: Object) -> list[str]:
    labels = item["metadata"].get("labels") or {}
    if labels.get(MANAGED_BY) != MANAGER or SERVICE_NAME not in labels:
        return []
    return [f"{item['metadata']['namespace']}/{labels[SERVICE_NAME]}"]


def _same_to_services(old: Object, new: Object) -> bool:
    """Whether nothing changed that a Service's endpoints say; most changes of a pod are such."""

    def seen(pod: Object) -> tuple[object, ...]:
        labels = tuple(sorted((pod["metadata"].get("labels") or {}).items()))
        address = (pod.get("status") or {}).get("podIP")
        return labels, address, is_ready(pod), deleting(pod), is_finished(pod), pod["metadata"]["uid"]

    return seen(old) == seen(new)
