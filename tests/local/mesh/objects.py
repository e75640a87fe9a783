"""Small builders of the objects that the mesh reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]


def _meta(name: str, namespace: str = "default", created: str = "2026-01-01T00:00:00Z", **labels: str) -> Json:
    return {"name": name, "namespace": namespace, "creationTimestamp": created, "labels": labels}


def service(name: str, *ports: int | Json, namespace: str = "default") -> Json:
    """A Service; ports default to 80, named ``http``."""
    stated = [
        port if isinstance(port, dict) else {"name": f"p{port}" if index else "http", "port": port}
        for index, port in enumerate(ports or (80,))
    ]
    return {"metadata": _meta(name, namespace), "spec": {"ports": stated}}


def pod(name: str, namespace: str = "default", **labels: str) -> Json:
    """A Pod, which is only its labels here; ``_`` in a label's name stands for ``-``."""
    return {"metadata": _meta(name, namespace, **{key.replace("_", "-"): value for key, value in labels.items()})}


def endpoint_slice(
    service: str,
    pods: dict[str, str],
    *,
    port: int = 8080,
    port_name: str = "http",
    namespace: str = "default",
    unready: Sequence[str] = (),
) -> Json:
    """The EndpointSlice of a Service: pod names to addresses."""
    return {
        "metadata": {**_meta(f"{service}-x", namespace), "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "ports": [{"name": port_name, "port": port}],
        "endpoints": [
            {
                "addresses": [address],
                "conditions": {"ready": name not in unready},
                "targetRef": {"kind": "Pod", "name": name, "namespace": namespace},
            }
            for name, address in pods.items()
        ],
    }


def virtual_service(
    name: str, http: Sequence[Json], *hosts: str, namespace: str = "default", created: str = ""
) -> Json:
    """A VirtualService of host ``name`` unless ``hosts`` are given."""
    return {
        "metadata": _meta(name, namespace, created or "2026-01-01T00:00:00Z"),
        "spec": {"hosts": list(hosts) or [name], "http": list(http)},
    }


def destination(host: str, subset: str = "", weight: int | None = None, **more: Any) -> Json:
    """One entry of a VirtualService's ``route``."""
    to = {"host": host, **({"subset": subset} if subset else {})}
    return {"destination": to, **({} if weight is None else {"weight": weight}), **more}


def destination_rule(host: str, subsets: dict[str, Json], namespace: str = "default", **policy: Any) -> Json:
    """A DestinationRule: subset names to pod labels."""
    spec: Json = {"host": host, "subsets": [{"name": name, "labels": labels} for name, labels in subsets.items()]}
    if policy:
        spec["trafficPolicy"] = policy
    return {"metadata": _meta(host.partition(".")[0], namespace), "spec": spec}


def http_route(
    name: str, rules: Sequence[Json], *hostnames: str, namespace: str = "default", parents: Sequence[Json] = ()
) -> Json:
    """An HTTPRoute."""
    return {
        "metadata": _meta(name, namespace),
        "spec": {"hostnames": list(hostnames), "rules": list(rules), "parentRefs": list(parents)},
    }
