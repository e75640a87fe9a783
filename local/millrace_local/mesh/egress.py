"""Hosts outside the cluster. The mesh is the plain-HTTP proxy of every pod, so it forwards requests to other hosts.

Reference: Envoy's dynamic forward proxy (``extensions.filters.http.dynamic_forward_proxy.v3``), which resolves the
Host header of each request and connects to the address.
"""

from __future__ import annotations

import re
from typing import Any

from millrace_local.mesh.clusters import IDLE_SECONDS
from millrace_local.mesh.routes import TYPE, duration

Json = dict[str, Any]

CLUSTER = "outside"
CONNECT_SECONDS = 10.0
_NAME = "dynamic_forward_proxy"
_FILTER = f"envoy.filters.http.{_NAME}"
# A proxy names itself here (RFC 9110); a request that has it went through this mesh before, so it is a loop.
_VIA = "1.1 millrace"


def cluster() -> Json:
    """The cluster of all outside hosts: its endpoints are the addresses that their names resolve to."""
    http = {
        "@type": f"{TYPE}.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http_protocol_options": {}},
        "common_http_protocol_options": {"idle_timeout": duration(IDLE_SECONDS)},
    }
    return {
        "name": CLUSTER,
        "connect_timeout": duration(CONNECT_SECONDS),
        "lb_policy": "CLUSTER_PROVIDED",
        "cluster_type": {
            "name": f"envoy.clusters.{_NAME}",
            "typed_config": {
                "@type": f"{TYPE}.extensions.clusters.{_NAME}.v3.ClusterConfig",
                "dns_cache_config": _cache(),
                # The options are about TLS, which no connection to an outside host uses.
                "allow_insecure_cluster_options": True,
            },
        },
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http},
    }


def http_filter() -> Json:
    """The filter that resolves a host before its request goes to ``cluster``; other routes are without it."""
    config = {"@type": f"{TYPE}.extensions.filters.http.{_NAME}.v3.FilterConfig", "dns_cache_config": _cache()}
    return {"name": _FILTER, "typed_config": config, "disabled": True}


def virtual_host(ingress_host: str) -> Json:
    """The catch-all virtual host. It refuses names of Services and the ingress's own address."""
    own = rf"(?i)(.*\.)?svc(\.cluster\.local)?\.?(:\d+)?|localhost|{re.escape(ingress_host)}"
    elsewhere = [
        {"name": ":authority", "string_match": {"safe_regex": {"regex": own}}, "invert_match": True},
        {
            "name": "via",
            "string_match": {"contains": _VIA},
            "invert_match": True,
            "treat_missing_header_as_empty": True,
        },
    ]
    route = {
        "name": "a host outside the cluster",
        "match": {"prefix": "/", "headers": elsewhere},
        "route": {"cluster": CLUSTER, "timeout": "0s"},
        "request_headers_to_add": [
            {"header": {"key": "via", "value": _VIA}, "append_action": "APPEND_IF_EXISTS_OR_ADD"}
        ],
    }
    enabled = {"@type": f"{TYPE}.config.route.v3.FilterConfig", "config": {}}
    return {"name": CLUSTER, "domains": ["*"], "routes": [route], "typed_per_filter_config": {_FILTER: enabled}}


def _cache() -> Json:
    """Names are resolved as every other program of the machine resolves them, ``/etc/hosts`` included."""
    resolver = "network.dns_resolver.getaddrinfo"
    return {
        "name": CLUSTER,
        "dns_lookup_family": "V4_PREFERRED",
        "typed_dns_resolver_config": {
            "name": f"envoy.{resolver}",
            "typed_config": {"@type": f"{TYPE}.extensions.{resolver}.v3.GetAddrInfoDnsResolverConfig"},
        },
    }
