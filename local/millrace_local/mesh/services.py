"""Services and their ready endpoints, by the names that clients and routes use."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from millrace_local.mesh.model import Object, ServicePort, identity

CLUSTER_SUFFIX = ".svc.cluster.local"
HTTP2_PROTOCOLS = frozenset({"kubernetes.io/h2c", "h2c", "http2", "grpc"})
HIGHEST_PORT = 65535


@dataclass(frozen=True)
class Port:
    """A port of a Service."""

    number: int
    name: str
    http2: bool


@dataclass(frozen=True)
class Endpoint:
    """A ready address behind a Service port, with the labels of its pod."""

    address: str
    port: int
    labels: tuple[tuple[str, str], ...]

    def has(self, labels: Iterable[tuple[str, str]]) -> bool:
        """Whether the endpoint has all of ``labels``."""
        return set(labels) <= set(self.labels)


@dataclass(frozen=True)
class MeshService:
    """The names and ports of a Service."""

    namespace: str
    name: str
    ports: tuple[Port, ...]

    @property
    def host(self) -> str:
        """The full name, ``name.namespace.svc.cluster.local``."""
        return f"{self.name}.{self.namespace}{CLUSTER_SUFFIX}"

    @property
    def names(self) -> tuple[str, str, str]:
        """All spellings of the host that the ingress accepts."""
        return self.host, f"{self.name}.{self.namespace}.svc", f"{self.name}.{self.namespace}"

    def default_port(self) -> Port | None:
        """The port when a client or a route names none: 80, or the only one."""
        for port in self.ports:
            if port.number == 80:  # noqa: PLR2004 - the port of plain HTTP
                return port
        return self.ports[0] if len(self.ports) == 1 else None

    def port(self, number: int) -> Port | None:
        """The port of that number, or ``None``."""
        return next((port for port in self.ports if port.number == number), None)


class ServiceIndex:
    """All Services with their ready endpoints."""

    def __init__(self, services: Iterable[Object], slices: Iterable[Object], pods: Iterable[Object]) -> None:
        self._services = {identity(item): _service(item) for item in services}
        labels = {identity(pod): tuple(sorted((pod["metadata"].get("labels") or {}).items())) for pod in pods}
        self._endpoints: dict[tuple[str, str, str], set[Endpoint]] = {}
        for item in slices:
            self._add_slice(item, labels)

    def __iter__(self) -> Iterator[MeshService]:
        return iter(sorted(self._services.values(), key=lambda service: (service.namespace, service.name)))

    def get(self, namespace: str, name: str) -> MeshService | None:
        """The Service of that name."""
        return self._services.get((namespace, name))

    def by_host(self, host: str) -> MeshService | None:
        """The Service whose full name is ``host``."""
        if not host.endswith(CLUSTER_SUFFIX):
            return None
        name, _, namespace = host.removesuffix(CLUSTER_SUFFIX).partition(".")
        return self.get(namespace, name)

    def endpoints(self, target: ServicePort) -> list[Endpoint]:
        """The ready endpoints of a Service's port, in a fixed order."""
        service = self.get(target.namespace, target.service)
        port = service.port(target.port) if service else None
        if port is None:
            return []
        found = self._endpoints.get((target.namespace, target.service, port.name), set())
        return sorted(found, key=lambda endpoint: (endpoint.address, endpoint.port))

    def ready(self) -> frozenset[tuple[str, int]]:
        """Address and port of every ready endpoint of any Service."""
        return frozenset((one.address, one.port) for found in self._endpoints.values() for one in found)

    def _add_slice(self, item: Object, labels: dict[tuple[str, str], tuple[tuple[str, str], ...]]) -> None:
        namespace, _ = identity(item)
        service = (item["metadata"].get("labels") or {}).get("kubernetes.io/service-name", "")
        for port in item.get("ports") or ():
            number = port.get("port") or 0
            if not 0 < number <= HIGHEST_PORT:
                continue
            known = self._endpoints.setdefault((namespace, service, port.get("name") or ""), set())
            for endpoint in item.get("endpoints") or ():
                if (endpoint.get("conditions") or {}).get("ready") is False:
                    continue
                pod = (namespace, (endpoint.get("targetRef") or {}).get("name", ""))
                known.update(
                    Endpoint(address, number, labels.get(pod, ()))
                    for address in endpoint.get("addresses") or ()
                    if _is_address(address)
                )


def full_host(host: str, namespace: str) -> str:
    """A host as Istio reads it in an object of ``namespace``: a name without a dot is a Service of that namespace."""
    lowered = host.lower()
    return lowered if "." in lowered or "*" in lowered else f"{lowered}.{namespace}{CLUSTER_SUFFIX}"


def _service(item: Object) -> MeshService:
    namespace, name = identity(item)
    ports = (item.get("spec") or {}).get("ports") or ()
    return MeshService(
        namespace,
        name,
        tuple(
            Port(port["port"], port.get("name") or "", _speaks_http2(port))
            for port in ports
            if (port.get("protocol") or "TCP") == "TCP"
        ),
    )


def _speaks_http2(port: Object) -> bool:
    stated = port.get("appProtocol")
    named = (port.get("name") or "").split("-")[0]
    return (stated or named).lower() in HTTP2_PROTOCOLS


def _is_address(address: str) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True
