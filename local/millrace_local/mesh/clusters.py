"""Destinations, written as Envoy's clusters and endpoints.

All destinations that are reached in the same way share one cluster. An endpoint carries the keys of its
destinations as metadata, and a route picks by key (Envoy's subset load balancing). So a change of endpoints
or weights never rebuilds a cluster, and the number of files that Envoy watches does not grow with the number
of Services: each watch takes an inotify instance, of which a user has 128 by default, and Envoy aborts when
there is none left.

A copy of a request is sent to a cluster, not to a key, so each mirrored destination has a cluster of its own,
with its endpoints in the cluster itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from millrace_local.mesh.destinationrules import Policy
from millrace_local.mesh.model import Destination
from millrace_local.mesh.routes import TYPE, duration, mirror_cluster

Json = dict[str, Any]
Address = tuple[str, int]

NO_LIMIT = 4_294_967_295
# Shorter than any server's own (uvicorn's is 5 s, gunicorn's 2 s): an idle connection that the server closes
# just as a request is sent on it would fail that request. A new connection on the loopback takes well below a
# millisecond.
IDLE_SECONDS = 1.0


@dataclass(frozen=True)
class Reach:
    """A destination, the way to it, and its ready addresses."""

    destination: Destination
    policy: Policy
    addresses: tuple[Address, ...]


@dataclass(frozen=True)
class Clusters:
    """The clusters of one configuration: what routes name, and what receives copies."""

    reached: tuple[Reach, ...] = ()
    mirrored: tuple[Reach, ...] = ()

    def names(self) -> dict[Destination, str]:
        """The cluster that holds each destination's endpoints."""
        return {reach.destination: cluster_name(reach.policy) for reach in self.reached}

    def policies(self) -> dict[str, Policy]:
        """The shared clusters by name; the one of the default policy is always there."""
        used = {Policy(), *(reach.policy for reach in self.reached)}
        return {cluster_name(policy): policy for policy in sorted(used, key=cluster_name)}


def cluster_name(policy: Policy) -> str:
    """``pods``, or ``pods-<hash>`` where a DestinationRule or the protocol asks for something else."""
    if policy == Policy():
        return "pods"
    return f"pods-{hashlib.sha256(repr(policy).encode()).hexdigest()[:12]}"


def cluster_resources(clusters: Clusters, directory: Path) -> list[Json]:
    """Envoy's Cluster resources; ``directory`` is where the endpoint files stand."""
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
    mirrors = [
        {
            **_connection(reach.policy),
            "@type": f"{TYPE}.config.cluster.v3.Cluster",
            "name": mirror_cluster(reach.destination),
            "type": "STATIC",
            "lb_policy": reach.policy.balancer,
            "load_assignment": _assignment(
                mirror_cluster(reach.destination), [_endpoint(address) for address in reach.addresses]
            ),
        }
        for reach in sorted(clusters.mirrored, key=lambda reach: reach.destination.key)
    ]
    return [*shared, *mirrors]


def endpoint_resources(clusters: Clusters) -> dict[str, list[Json]]:
    """Envoy's ClusterLoadAssignment of each shared cluster, by the cluster's name."""
    keys: dict[str, dict[Address, set[str]]] = {name: {} for name in clusters.policies()}
    for reach in clusters.reached:
        members = keys[cluster_name(reach.policy)]
        for address in reach.addresses:
            members.setdefault(address, set()).add(reach.destination.key)
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
    """The clusters to have while routes change from ``old`` to ``new``: all of ``new``, and what only ``old``
    names."""
    known = {(reach.destination, reach.policy) for reach in new.reached}
    copied = {reach.destination for reach in new.mirrored}
    return Clusters(
        (*new.reached, *(reach for reach in old.reached if (reach.destination, reach.policy) not in known)),
        (*new.mirrored, *(reach for reach in old.mirrored if reach.destination not in copied)),
    )


def endpoints_file(cluster: str) -> str:
    """The name of the file that holds a shared cluster's endpoints."""
    return f"endpoints-{cluster}.json"


def file_source(path: Path) -> Json:
    """A ConfigSource that Envoy reads anew whenever ``path`` is replaced."""
    return {"resource_api_version": "V3", "path_config_source": {"path": str(path)}}


def _assignment(name: str, endpoints: Iterable[Json]) -> Json:
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": list(endpoints)}]}


def _endpoint(address: Address, keys: Iterable[str] = ()) -> Json:
    host, port = address
    written: Json = {"endpoint": {"address": {"socket_address": {"address": host, "port_value": port}}}}
    if marks := sorted(keys):
        written["metadata"] = {"filter_metadata": {"envoy.lb": {"to": marks}}}
    return written


def _connection(policy: Policy) -> Json:
    http: Json = {"http2_protocol_options": {}} if policy.http2 else {"http_protocol_options": {}}
    common: Json = {"idle_timeout": duration(IDLE_SECONDS)}
    if policy.requests_per_connection:
        common["max_requests_per_connection"] = policy.requests_per_connection
    written: Json = {
        "connect_timeout": duration(policy.connect_timeout),
        # No endpoint is ever used against its ejection, as in Istio.
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": policy.max_connections or NO_LIMIT,
                    "max_pending_requests": policy.max_pending or NO_LIMIT,
                    "max_requests": policy.max_requests or NO_LIMIT,
                    "max_retries": NO_LIMIT,
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
    if policy.ejection:
        written["outlier_detection"] = {
            "consecutive_5xx": policy.ejection.errors,
            "interval": duration(policy.ejection.interval),
            "base_ejection_time": duration(policy.ejection.base),
            "max_ejection_percent": policy.ejection.max_percent,
            "enforcing_success_rate": 0,
        }
    return written
