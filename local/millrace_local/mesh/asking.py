"""The filters by which Envoy asks the gateway for the arm of a request's unit, before the route is chosen.

Reference: Envoy's external authorization (``extensions.filters.http.ext_authz.v3.ExtAuthz``). Only routes with an
``AssignmentCheck`` have them. The gateway is told the request's method and host, the unit and the service; what it
answers can set the arm and nothing else. Where it does not answer in time the request goes on as it is.
"""

from __future__ import annotations

from typing import Any

from millrace_core.api import names
from millrace_core.base.callers import MESH_HEADER
from millrace_local.mesh.assignment import GATEWAY
from millrace_local.mesh.routes import CHECK_FILTER, TYPE, UNIT_FILTER, duration, own_cluster
from millrace_local.mesh.settings import MeshSettings

Json = dict[str, Any]


def http_filters(settings: MeshSettings) -> list[Json]:
    """Both, in the order in which they have to stand."""
    kind = "extensions.filters.http"
    mutation = {"@type": f"{TYPE}.{kind}.header_mutation.v3.HeaderMutation"}
    authorization = {
        "@type": f"{TYPE}.{kind}.ext_authz.v3.ExtAuthz",
        "stat_prefix": "assignment",
        "http_service": _service(settings),
        "allowed_headers": _only(names.UNIT_HEADER, names.SERVICE_HEADER),
        # It would be sent otherwise, whatever is allowed.
        "disallowed_headers": _only("authorization"),
        "failure_mode_allow": True,
        "clear_route_cache": True,
    }
    return [
        {"name": UNIT_FILTER, "typed_config": mutation, "disabled": True},
        {"name": CHECK_FILTER, "typed_config": authorization, "disabled": True},
    ]


def _service(settings: MeshSettings) -> Json:
    cluster = own_cluster(GATEWAY)
    host = f"{GATEWAY.target.service}.{GATEWAY.target.namespace}"
    written: Json = {
        "server_uri": {"uri": f"http://{host}", "cluster": cluster, "timeout": duration(settings.arm_seconds)},
        "path_override": names.CHECK_PATH,
        "authorization_response": {"allowed_upstream_headers": _only(names.ARM_HEADER)},
    }
    if settings.secret:
        # The host is that of the client's request, which the gateway need not know.
        header = {"key": MESH_HEADER.decode(), "value": settings.secret}
        written["authorization_request"] = {"headers_to_add": [header]}
    return written


def _only(*headers: str) -> Json:
    return {"patterns": [{"exact": name} for name in headers]}
