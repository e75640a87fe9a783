"""Columns of Services, endpoints, Ingresses and NetworkPolicies."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from millrace_local.apiserver.columns import AGE, NAME, TableColumn
from millrace_local.apiserver.jsonpath import value_at
from millrace_local.apiserver.scale import selector_text

Obj = dict[str, Any]
_SHOWN = 3


def _external(service: Obj, _: datetime) -> str:
    spec = service["spec"]
    fixed = list(spec.get("externalIPs") or ())
    if spec.get("type") == "ExternalName":
        return str(spec.get("externalName"))
    if spec.get("type") == "LoadBalancer":
        found = [i.get("ip") or i.get("hostname") for i in value_at(service, "status.loadBalancer.ingress") or ()]
        return ",".join([*found, *fixed]) or "<pending>"
    return ",".join(fixed) or "<none>"


def _service_ports(service: Obj, _: datetime) -> str:
    shown = []
    for port in service["spec"].get("ports") or ():
        node = f":{port['nodePort']}" if port.get("nodePort") else ""
        shown.append(f"{port['port']}{node}/{port.get('protocol', 'TCP')}")
    return ",".join(shown) or "<none>"


SERVICES = [
    NAME,
    TableColumn("Type", lambda service, _: service["spec"].get("type")),
    TableColumn("Cluster-IP", lambda service, _: service["spec"].get("clusterIP") or "<none>"),
    TableColumn("External-IP", _external),
    TableColumn("Port(s)", _service_ports),
    AGE,
    TableColumn(
        "Selector", lambda service, _: selector_text(service["spec"].get("selector") or {}) or "<none>", priority=1
    ),
]


def _shortened(items: list[str]) -> str:
    if not items:
        return "<none>"
    more = f" + {len(items) - _SHOWN} more..." if len(items) > _SHOWN else ""
    return ",".join(items[:_SHOWN]) + more


def _endpoints(obj: Obj, _: datetime) -> str:
    found = []
    for subset in obj.get("subsets") or ():
        ports = [port["port"] for port in subset.get("ports") or ()]
        for address in subset.get("addresses") or ():
            found += [f"{address['ip']}:{port}" for port in ports] or [address["ip"]]
    return _shortened(found)


ENDPOINTS = [NAME, TableColumn("Endpoints", _endpoints), AGE]


def _slice_addresses(obj: Obj, _: datetime) -> str:
    found = [address for endpoint in obj.get("endpoints") or () for address in endpoint.get("addresses") or ()]
    return _shortened(found) if found else "<unset>"


def _slice_ports(obj: Obj, _: datetime) -> str:
    ports = [str(port.get("port", "*")) for port in obj.get("ports") or ()]
    return _shortened(ports) if ports else "<unset>"


ENDPOINT_SLICES = [
    NAME,
    TableColumn("AddressType", lambda obj, _: obj.get("addressType")),
    TableColumn("Ports", _slice_ports),
    TableColumn("Endpoints", _slice_addresses),
    AGE,
]


def _hosts(ingress: Obj, _: datetime) -> str:
    hosts = list(dict.fromkeys(rule["host"] for rule in ingress["spec"].get("rules") or () if rule.get("host")))
    return _shortened(hosts) if hosts else "*"


def _ingress_address(ingress: Obj, _: datetime) -> str:
    found = value_at(ingress, "status.loadBalancer.ingress") or ()
    return ",".join(entry.get("ip") or entry.get("hostname") or "" for entry in found)


INGRESSES = [
    NAME,
    TableColumn("Class", lambda ingress, _: ingress["spec"].get("ingressClassName") or "<none>"),
    TableColumn("Hosts", _hosts),
    TableColumn("Address", _ingress_address),
    TableColumn("Ports", lambda ingress, _: "80, 443" if ingress["spec"].get("tls") else "80"),
    AGE,
]
POLICIES = [
    NAME,
    TableColumn("Pod-Selector", lambda obj, _: selector_text(obj["spec"].get("podSelector") or {}) or "<none>"),
    AGE,
]
