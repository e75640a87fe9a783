"""Strategies of Services and EndpointSlices: addresses and ports."""

from __future__ import annotations

import ipaddress
import zlib
from collections.abc import Iterable

from millrace_core.schema.errors import (
    DUPLICATE,
    FieldError,
    forbidden,
    invalid,
    not_supported,
    required,
)
from millrace_local.apiserver.kinds.podspec import PORTS
from millrace_local.apiserver.strategy import Draft, NoGenerationStrategy, Obj, fill, immutable

SERVICES = "/services"
#: The range of cluster IPs. Nothing listens there: the mesh routes by host name.
_RANGE = ipaddress.ip_network("10.96.0.0/12")
_NODE_PORTS = range(30000, 32768)
_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_HEADLESS = "None"
_ENDPOINTS_LIMIT = 1000


class ServiceStrategy(NoGenerationStrategy):
    """Services. All but headless ones get a cluster IP and keep it."""

    has_spec = True

    def default(self, obj: Obj) -> None:
        spec = obj["spec"]
        fill(spec, {"type": "ClusterIP", "sessionAffinity": "None"})
        for port in spec.get("ports") or ():
            fill(port, {"protocol": "TCP", "targetPort": port["port"]})
        if spec["type"] != "ExternalName":
            fill(spec, {"internalTrafficPolicy": "Cluster"})

    def prepare(self, draft: Draft) -> None:
        obj, old = draft.obj, draft.old
        spec = obj["spec"]
        if spec["type"] == "ExternalName":
            return
        fill(spec, {"ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"})
        self._give_address(obj, old, draft)
        if spec["type"] in ("NodePort", "LoadBalancer"):
            fill(spec, {"externalTrafficPolicy": "Cluster"})
            _give_node_ports(obj, old, draft)
        fill(obj, {"status": {"loadBalancer": {}}})

    @staticmethod
    def _give_address(obj: Obj, old: Obj | None, draft: Draft) -> None:
        spec = obj["spec"]
        if old is not None and not spec.get("clusterIP") and old["spec"].get("clusterIP"):
            spec["clusterIP"] = old["spec"]["clusterIP"]
        if not spec.get("clusterIP"):
            metadata = obj["metadata"]
            taken = {entry.fields["spec.clusterIP"] for entry in draft.store.entries(SERVICES)}
            spec["clusterIP"] = _free_address(f"{metadata.get('namespace')}/{metadata['name']}", taken)
        spec["clusterIPs"] = [spec["clusterIP"]]

    def check(self, draft: Draft) -> list[FieldError]:
        obj, old = draft.obj, draft.old
        spec = obj["spec"]
        if spec["type"] not in _TYPES:
            return [not_supported("spec.type", spec["type"], [*_TYPES])]
        if spec["type"] == "ExternalName":
            return [] if spec.get("externalName") else [required("spec.externalName")]
        errors = _address_errors(spec, old)
        ports = spec.get("ports") or []
        if not ports and spec["clusterIP"] != _HEADLESS:
            errors.append(required("spec.ports"))
        return errors + _port_errors(ports)


def _free_address(key: str, taken: Iterable[str]) -> str:
    """An address that no other Service has; the same key gets the same one as long as it is free."""
    used = set(taken)
    usable = _RANGE.num_addresses - 2
    start = zlib.crc32(key.encode())
    return next(a for n in range(usable) if (a := str(_RANGE[1 + (start + n) % usable])) not in used)


def _give_node_ports(obj: Obj, old: Obj | None, draft: Draft) -> None:
    before = {(p.get("name"), p["port"]): p.get("nodePort") for p in (old or {}).get("spec", {}).get("ports") or ()}
    used: set[int] | None = None
    for port in obj["spec"].get("ports") or ():
        if port.get("nodePort"):
            continue
        kept = before.get((port.get("name"), port["port"]))
        if kept is None:
            if used is None:
                used = _used_node_ports(draft)
            kept = next(number for number in _NODE_PORTS if number not in used)
            used.add(kept)
        port["nodePort"] = kept


def _used_node_ports(draft: Draft) -> set[int]:
    return {
        port["nodePort"]
        for entry in draft.store.entries(SERVICES)
        if entry.fields["spec.type"] in ("NodePort", "LoadBalancer")
        for port in entry.object()["spec"].get("ports") or ()
        if port.get("nodePort")
    }


def _address_errors(spec: Obj, old: Obj | None) -> list[FieldError]:
    address = spec["clusterIP"]
    if address != _HEADLESS:
        try:
            ipaddress.ip_address(address)
        except ValueError:
            return [
                invalid("spec.clusterIPs[0]", address, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")
            ]
    before = (old or {}).get("spec", {}).get("clusterIP")
    if before and before != address and spec["type"] == old["spec"]["type"]:  # type: ignore[index]
        return [invalid("spec.clusterIPs[0]", [address], "may not change once set")]
    return []


def _port_errors(ports: list[Obj]) -> list[FieldError]:
    errors = []
    names: set[str] = set()
    numbers: set[tuple[int, str]] = set()
    for index, port in enumerate(ports):
        path = f"spec.ports[{index}]"
        name, number = port.get("name") or "", (port["port"], port["protocol"])
        if not name and len(ports) > 1:
            errors.append(required(f"{path}.name"))
        elif name in names:
            errors.append(FieldError(DUPLICATE, f"{path}.name", f'Duplicate value: "{name}"'))
        if number in numbers:
            errors.append(FieldError(DUPLICATE, path, f"Duplicate value: port {number[0]} {number[1]}"))
        if number[0] not in PORTS:
            errors.append(invalid(f"{path}.port", number[0], "must be between 1 and 65535, inclusive"))
        target = port["targetPort"]
        if isinstance(target, int) and target not in PORTS:
            errors.append(invalid(f"{path}.targetPort", target, "must be between 1 and 65535, inclusive"))
        names.add(name)
        numbers.add(number)
    return errors


class EndpointSliceStrategy(NoGenerationStrategy):
    """EndpointSlices: the address family is known and never changes."""

    generation = True

    def default(self, obj: Obj) -> None:
        for port in obj.get("ports") or ():
            fill(port, {"name": "", "protocol": "TCP"})

    def check(self, draft: Draft) -> list[FieldError]:
        obj, old = draft.obj, draft.old
        if obj["addressType"] not in ("IPv4", "IPv6", "FQDN"):
            return [not_supported("addressType", obj["addressType"], ["FQDN", "IPv4", "IPv6"])]
        if len(obj.get("endpoints") or ()) > _ENDPOINTS_LIMIT:
            return [forbidden("endpoints", f"must have at most {_ENDPOINTS_LIMIT} items")]
        return immutable(obj, old, "addressType")
