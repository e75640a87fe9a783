"""DestinationRules: the endpoints of a subset, and the traffic policy of a destination.

Reference: Istio's networking API, ``DestinationRule``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from millrace_core.base.errors import RejectError
from millrace_local.mesh.istio import seconds
from millrace_local.mesh.model import (
    MALFORMED,
    Destination,
    Object,
    RouteProblem,
    age_order,
    identity,
    malformed,
)
from millrace_local.mesh.services import MeshService, full_host
from millrace_local.mesh.typed import require_types

DEFAULT_CONNECT_TIMEOUT = 10.0
_BALANCERS = {
    "UNSPECIFIED": "LEAST_REQUEST",
    "LEAST_CONN": "LEAST_REQUEST",
    "LEAST_REQUEST": "LEAST_REQUEST",
    "ROUND_ROBIN": "ROUND_ROBIN",
    "RANDOM": "RANDOM",
}


@dataclass(frozen=True)
class OutlierDetection:
    """When a failing endpoint is ejected, and for how long; times in seconds.

    Attributes:
        server_errors: responses 500 to 599 in a row that eject; connections that fail and timeouts count. 0: none do.
        gateway_errors: the same with 502, 503 and 504 alone.
        interval: how often is looked whether an endpoint's time is over.
        base_ejection: that time, times the number of ejections.
        max_percent: of the endpoints, at most so many are ejected.
        min_healthy_percent: where fewer are left, all are used.
    """

    server_errors: int = 5
    gateway_errors: int = 0
    interval: float = 10.0
    base_ejection: float = 30.0
    max_percent: int = 10
    min_healthy_percent: int = 0


@dataclass(frozen=True)
class TrafficPolicy:
    """Istio's ``trafficPolicy``. 0 means no limit; times in seconds."""

    http2: bool = False
    balancer: str = "LEAST_REQUEST"
    connect_timeout: float = DEFAULT_CONNECT_TIMEOUT
    max_connections: int = 0
    max_pending: int = 0
    max_requests: int = 0
    max_retries: int = 0
    requests_per_connection: int = 0
    outlier_detection: OutlierDetection | None = None


class DestinationRules:
    """All DestinationRules, by host."""

    def __init__(self, items: Iterable[Object]) -> None:
        self.problems: list[RouteProblem] = []
        self._by_host: dict[str, list[Object]] = {}
        for item in sorted(items, key=age_order):
            try:
                host = full_host((item.get("spec") or {}).get("host", ""), identity(item)[0])
            except MALFORMED as error:
                self._report(item, malformed(error))
                continue
            self._by_host.setdefault(host, []).append(item)
        self._wildcards = sorted((host for host in self._by_host if host.startswith("*")), key=len, reverse=True)

    def subset_labels(self, service: MeshService, subset: str) -> tuple[tuple[str, str], ...] | None:
        """The pod labels that a subset selects by; None if no DestinationRule has the subset."""
        for item, found in self._subsets(service, subset):
            try:
                labels = tuple(sorted((found.get("labels") or {}).items()))
                require_types(labels, tuple[tuple[str, str], ...])
                return labels  # noqa: TRY300 labels of wrong types are the same fault
            except MALFORMED as error:
                self._report(item, malformed(error))
        return None

    def policy(self, service: MeshService, destination: Destination) -> TrafficPolicy:
        """The traffic policy of a destination: the rule's, overridden by the subset's."""
        port = service.port(destination.target.port)
        http2 = bool(port and port.http2)
        rule = next(self._rules(service), None)
        item, subset = next(self._subsets(service, destination.subset), (rule, {}))
        if rule is None or item is None:
            return TrafficPolicy(http2=http2)
        number = destination.target.port
        try:
            general = _for_port(rule["spec"].get("trafficPolicy"), number)
            policy = _policy(general | _for_port(subset.get("trafficPolicy"), number), http2=http2)
            require_types(policy, TrafficPolicy)
            return policy  # noqa: TRY300 a policy of wrong types is the same fault
        except RejectError as error:
            self._report(item, str(error))
        except MALFORMED as error:
            self._report(item, malformed(error))
        return TrafficPolicy(http2=http2)

    def _rules(self, service: MeshService) -> Iterator[Object]:
        """The rules for a Service's host: its own namespace first, wildcards last."""
        hosts = [service.host, *(host for host in self._wildcards if service.host.endswith(host[1:]))]
        for host in hosts:
            items = self._by_host.get(host, [])
            yield from sorted(items, key=lambda item: identity(item)[0] != service.namespace)

    def _subsets(self, service: MeshService, name: str) -> Iterator[tuple[Object, Mapping[str, Any]]]:
        for item in self._rules(service) if name else ():
            try:
                found = [each for each in (item.get("spec") or {}).get("subsets") or () if each.get("name") == name]
            except MALFORMED as error:
                self._report(item, malformed(error))
                continue
            for subset in found:
                yield item, subset

    def _report(self, item: Object, message: str) -> None:
        problem = RouteProblem("DestinationRule", *identity(item), message)
        if problem not in self.problems:
            self.problems.append(problem)


def _for_port(policy: Mapping[str, Any] | None, port: int) -> dict[str, Any]:
    settings = {key: value for key, value in (policy or {}).items() if key != "portLevelSettings"}
    for level in (policy or {}).get("portLevelSettings") or ():
        if (level.get("port") or {}).get("number") == port:
            settings = {key: value for key, value in level.items() if key != "port"}
    return settings


def _policy(settings: Mapping[str, Any], *, http2: bool) -> TrafficPolicy:
    pool = settings.get("connectionPool") or {}
    tcp, http = pool.get("tcp") or {}, pool.get("http") or {}
    if (settings.get("tls") or {}).get("mode", "DISABLE") not in ("DISABLE", "ISTIO_MUTUAL"):
        raise RejectError("the embedded mesh speaks no TLS to pods", field="spec.trafficPolicy.tls.mode")
    return TrafficPolicy(
        http2=http2 or http.get("h2UpgradePolicy") == "UPGRADE",
        balancer=_balancer(settings.get("loadBalancer") or {}),
        connect_timeout=seconds(tcp["connectTimeout"], "spec.trafficPolicy.connectionPool.tcp.connectTimeout")
        if "connectTimeout" in tcp
        else DEFAULT_CONNECT_TIMEOUT,
        max_connections=max(tcp.get("maxConnections", 0), 0),
        max_pending=max(http.get("http1MaxPendingRequests", 0), 0),
        max_requests=max(http.get("http2MaxRequests", 0), 0),
        max_retries=max(http.get("maxRetries", 0), 0),
        requests_per_connection=max(http.get("maxRequestsPerConnection", 0), 0),
        outlier_detection=_outlier_detection(settings.get("outlierDetection")),
    )


def _balancer(settings: Mapping[str, Any]) -> str:
    simple = settings.get("simple", "UNSPECIFIED")
    if "consistentHash" in settings or simple not in _BALANCERS:
        raise RejectError(
            "the embedded mesh balances by LEAST_REQUEST, ROUND_ROBIN or RANDOM only",
            field="spec.trafficPolicy.loadBalancer",
        )
    return _BALANCERS[simple]


def _outlier_detection(settings: Mapping[str, Any] | None) -> OutlierDetection | None:
    if settings is None:
        return None
    # As Istio reads them: without the first Envoy's own 5 holds, without the second no such error counts.
    server_errors, gateway_errors = settings.get("consecutive5xxErrors"), settings.get("consecutiveGatewayErrors")
    at = "spec.trafficPolicy.outlierDetection"
    return OutlierDetection(
        server_errors=5 if server_errors is None else max(server_errors, 0),
        gateway_errors=max(gateway_errors or 0, 0),
        interval=seconds(settings.get("interval", "10s"), f"{at}.interval"),
        base_ejection=seconds(settings.get("baseEjectionTime", "30s"), f"{at}.baseEjectionTime"),
        # Istio takes 0 for what is left out.
        max_percent=min(max(settings.get("maxEjectionPercent") or 10, 0), 100),
        min_healthy_percent=min(max(settings.get("minHealthPercent", 0), 0), 100),
    )
