"""Envoy's bootstrap: its one listener, and the files that it reads the rest from.

Reference: Envoy's ``config.bootstrap.v3`` and ``HttpConnectionManager``.
"""

from __future__ import annotations

from typing import Any

from millrace_local.mesh import asking, callers, egress
from millrace_local.mesh.clusters import file_source
from millrace_local.mesh.routes import FAULT_FILTER, TYPE, duration
from millrace_local.mesh.settings import MeshSettings

Json = dict[str, Any]

CLUSTERS_FILE = "clusters.json"
ROUTES_FILE = "routes.json"
ROUTES_NAME = "ingress"
# Relative to Envoy's working directory: the absolute path may be too long for a socket (107 bytes).
ADMIN_SOCKET = "admin.sock"

_BY_NAME = "send the header Host: <service>.<namespace>.svc, or name it in the URL and use this address as http_proxy"
# Messages of Envoy's own responses by their response flag; %…% are Envoy's variables.
_FAILURES = {
    "NR": f"no Service, VirtualService or HTTPRoute has the host %REQ(:AUTHORITY)%; {_BY_NAME}",
    "DF": "no Service, VirtualService or HTTPRoute has the host %REQ(:AUTHORITY)%, and outside the cluster there is "
    f"none of this name either (%RESPONSE_CODE_DETAILS%); for a Service {_BY_NAME}",
    "UH": "no ready endpoint behind %ROUTE_NAME%",
    "UF": "the endpoint %UPSTREAM_HOST% of %ROUTE_NAME% cannot be reached: %UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "UC": "the endpoint %UPSTREAM_HOST% of %ROUTE_NAME% closed the connection before it had answered",
    "UT": "no answer from %UPSTREAM_HOST% within the timeout of %ROUTE_NAME%",
    "UO": "the connection pool's limit for %ROUTE_NAME% is reached",
    "UR": "the endpoint %UPSTREAM_HOST% of %ROUTE_NAME% reset the request",
}


def bootstrap(settings: MeshSettings) -> Json:
    """The configuration that Envoy starts with; everything that changes is in the files that it names."""
    return {
        "node": {"id": "millrace", "cluster": "millrace"},
        "admin": {"address": {"pipe": {"path": ADMIN_SOCKET}}},
        "dynamic_resources": {"cds_config": file_source(settings.xds / CLUSTERS_FILE)},
        "static_resources": {"listeners": [_listener(settings)], "clusters": [egress.cluster()]},
        "overload_manager": {"resource_monitors": [_most_connections(settings.connections)]},
    }


def _most_connections(number: int) -> Json:
    kind = "extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
    config = {"@type": f"{TYPE}.{kind}", "max_active_downstream_connections": number}
    return {"name": "envoy.resource_monitors.global_downstream_max_connections", "typed_config": config}


def _listener(settings: MeshSettings) -> Json:
    address = {"address": settings.ingress_host, "port_value": settings.ingress_port}
    manager = {"name": "envoy.filters.network.http_connection_manager", "typed_config": _connection_manager(settings)}
    return {
        "name": "ingress",
        "address": {"socket_address": address},
        # Sharing the port, Envoy's default, would let a second one start unnoticed and take half of the requests.
        "enable_reuse_port": False,
        "filter_chains": [{"filters": [manager]}],
    }


def _connection_manager(settings: MeshSettings) -> Json:
    return {
        "@type": f"{TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "ingress",
        "rds": {"route_config_name": ROUTES_NAME, "config_source": file_source(settings.xds / ROUTES_FILE)},
        "http_filters": [
            callers.http_filter(),
            _fault_filter(),
            *asking.http_filters(settings),
            egress.http_filter(),
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{TYPE}.extensions.filters.http.router.v3.Router"},
            },
        ],
        # A client that uses the ingress as the Service may put the port of the ingress into its Host header.
        "strip_matching_host_port": True,
        "normalize_path": True,
        "server_header_transformation": "PASS_THROUGH",
        # Bodies and answers may take as long as the pods allow, which have limits of their own; a head without an end
        # reaches no pod.
        "request_headers_timeout": duration(settings.head_seconds),
        "stream_idle_timeout": "0s",
        # Silent connections would hold their places for an hour otherwise.
        "common_http_protocol_options": {"idle_timeout": duration(settings.idle_seconds)},
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "local_reply_config": {"mappers": [_mapper(flag, message) for flag, message in _FAILURES.items()]},
    }


def _fault_filter() -> Json:
    """Only routes with a fault of their own have it."""
    config = {"@type": f"{TYPE}.extensions.filters.http.fault.v3.HTTPFault"}
    return {"name": FAULT_FILTER, "typed_config": config, "disabled": True}


def _mapper(flag: str, message: str) -> Json:
    return {
        "filter": {"response_flag_filter": {"flags": [flag]}},
        "body_format_override": {"json_format": {"error": message}},
    }
