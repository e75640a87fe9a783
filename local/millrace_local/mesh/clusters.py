"""Destinations, as Envoy's clusters and endpoints.

All destinations with one traffic policy share a cluster. An endpoint carries the keys of its destinations as metadata,
and a route selects by key (Envoy's subset load balancing). So a change of endpoints or weights never rebuilds a
cluster, and the number of files that Envoy watches does not grow with the number of Services: each watch takes an
inotify instance, of which a user has 128 by default, and Envoy aborts when none is left.

A mirror policy names a cluster and has no metadata match, as has the question for the arm of a unit, so each mirrored
destination and the gateway have a cluster of their own, with its endpoints in the cluster itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from millrace_local.mesh.destinationrules import OutlierDetection, TrafficPolicy
from millrace_local.mesh.model import Destination
from millrace_local.mesh.routes import TYPE, duration, own_cluster

Json = dict[str, Any]
Address = tuple[str, int]

NO_LIMIT = 4_294_967_295
# Shorter than any server's own (uvicorn's is 5 s, gunicorn's 2 s): a server that closes an idle connection just
# as a request is sent on it would fail that request. A new connection on the loopback takes less than 1 ms.
IDLE_SECONDS = 1.0


@dataclass(frozen=True)
class Upstream:
    """A destination, its traffic policy, and its ready addresses."""

    destination: Destination
    policy: TrafficPolicy
    addresses: tuple[Address, ...]


@dataclass(frozen=True)
class Clusters:
    """The clusters of one configuration: ``upstreams`` for routes, ``own`` for what has a cluster of its own."""

    upstreams: tuple[Upstream, ...] = ()
    own: tuple[Upstream, ...] = ()

    def names(self) -> dict[Destination, str]:
        """The name of each destination's cluster."""
        return {upstream.destination: cluster_name(upstream.policy) for upstream in self.upstreams}

    def policies(self) -> dict[str, TrafficPolicy]:
        """The shared clusters by name; the one of the default policy always exists."""
        used = {TrafficPolicy(), *(upstream.policy for upstream in self.upstreams)}
        return {cluster_name(policy): policy for policy in sorted(used, key=cluster_name)}


def cluster_name(policy: TrafficPolicy) -> str:
    """``pods``, or ``pods-<hash>`` for any policy but the default."""
    if policy == TrafficPolicy():
        return "pods"
    return f"pods-{hashlib.sha256(repr(policy).encode()).hexdigest()[:12]}"


def cluster_resources(clusters: Clusters, directory: Path) -> list[Json]:
    """Envoy's Cluster resources; ``directory`` holds the endpoint files."""
    shared = [
        {
            **_connection(policy),
            "@type": f"{TYPE}.config.cluster.v3.Cluster",
            "name": name,
            "type": "EDS",
            "eds_cluster_config": {"eds_config": file_source(directory / endpoints_file(name))},
            "lb_policy": policy.balancer,
            "lb_subset_config": {
                "fallback_policy": "NO_FALLBACK",
                "subset_selectors": [{"keys": ["to"]}],
                "list_as_any": True,
            },
        }
        for name, policy in clusters.policies().items()
    ]
    own = [
        {
            **_connection(upstream.policy),
            "@type": f"{TYPE}.config.cluster.v3.Cluster",
            "name": own_cluster(upstream.destination),
            "type": "STATIC",
            "lb_policy": upstream.policy.balancer,
            "load_assignment": _assignment(
                own_cluster(upstream.destination), [_endpoint(address) for address in upstream.addresses]
            ),
        }
        for upstream in sorted(clusters.own, key=lambda upstream: upstream.destination.key)
    ]
    return [*shared, *own]


def endpoint_resources(clusters: Clusters) -> dict[str, list[Json]]:
    """Envoy's ClusterLoadAssignment of each shared cluster, by the cluster's name."""
    keys: dict[str, dict[Address, set[str]]] = {name: {} for name in clusters.policies()}
    for upstream in clusters.upstreams:
        members = keys[cluster_name(upstream.policy)]
        for address in upstream.addresses:
            members.setdefault(address, set()).add(upstream.destination.key)
    return {
        name: [
            {
                "@type": f"{TYPE}.config.endpoint.v3.ClusterLoadAssignment",
                **_assignment(name, [_endpoint(address, members[address]) for address in sorted(members)]),
            }
        ]
        for name, members in keys.items()
    }


def overlap(old: Clusters, new: Clusters) -> Clusters:
    """The clusters while routes change from ``old`` to ``new``: all of ``new``, and those that only ``old`` has."""
    known = {(upstream.destination, upstream.policy) for upstream in new.upstreams}
    copied = {upstream.destination for upstream in new.own}
    return Clusters(
        (
            *new.upstreams,
            *(upstream for upstream in old.upstreams if (upstream.destination, upstream.policy) not in known),
        ),
        (*new.own, *(upstream for upstream in old.own if upstream.destination not in copied)),
    )


def endpoints_file(cluster: str) -> str:
    """The name of the file with a shared cluster's endpoints."""
    return f"endpoints-{cluster}.json"


def file_source(path: Path) -> Json:
    """A ConfigSource that Envoy reads again whenever ``path`` is replaced."""
    return {"resource_api_version": "V3", "path_config_source": {"path": str(path)}}


def _assignment(name: str, endpoints: Iterable[Json]) -> Json:
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": list(endpoints)}]}


def _endpoint(address: Address, keys: Iterable[str] = ()) -> Json:
    host, port = address
    written: Json = {"endpoint": {"address": {"socket_address": {"address": host, "port_value": port}}}}
    if marks := sorted(keys):
        written["metadata"] = {"filter_metadata": {"envoy.lb": {"to": marks}}}
    return written


def _connection(policy: TrafficPolicy) -> Json:
    http: Json = {"http2_protocol_options": {}} if policy.http2 else {"http_protocol_options": {}}
    common: Json = {"idle_timeout": duration(IDLE_SECONDS)}
    outliers = policy.outlier_detection
    if policy.requests_per_connection:
        common["max_requests_per_connection"] = policy.requests_per_connection
    written: Json = {
        "connect_timeout": duration(policy.connect_timeout),
        # Ejected endpoints are never used, not even when few are left, unless asked for, as in Istio.
        "common_lb_config": {"healthy_panic_threshold": {"value": outliers.min_healthy_percent if outliers else 0}},
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": policy.max_connections or NO_LIMIT,
                    "max_pending_requests": policy.max_pending or NO_LIMIT,
                    "max_requests": policy.max_requests or NO_LIMIT,
                    "max_retries": policy.max_retries or NO_LIMIT,
                }
            ]
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{TYPE}.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": http,
                "common_http_protocol_options": common,
            }
        },
    }
    if outliers:
        written["outlier_detection"] = _outlier_detection(outliers)
    return written


def _outlier_detection(outliers: OutlierDetection) -> Json:
    return {
        # Envoy takes no 0.
        "consecutive_5xx": outliers.server_errors or 1,
        "enforcing_consecutive_5xx": 100 if outliers.server_errors else 0,
        "consecutive_gateway_failure": outliers.gateway_errors or 1,
        "enforcing_consecutive_gateway_failure": 100 if outliers.gateway_errors else 0,
        "interval": duration(outliers.interval),
        "base_ejection_time": duration(outliers.base_ejection),
        "max_ejection_percent": outliers.max_percent,
        "enforcing_success_rate": 0,
    }
