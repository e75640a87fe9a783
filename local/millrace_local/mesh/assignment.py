"""Which rules the gateway is asked at for the arm of a request's unit, as the operator has written them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from millrace_core.api import names
from millrace_local.mesh.model import AssignmentCheck, Destination, Object, ServicePort, StringMatch, identity

# Who is asked, if there is such a Service.
GATEWAY: Final = Destination(ServicePort("millrace-system", "millrace-gateway", 80))
# Others go by the weights: what no server's parser knows would be refused there, and so to the client.
METHODS: Final = (":method", StringMatch("regex", "DELETE|GET|HEAD|OPTIONS|PATCH|POST|PUT"))

_RULES: Final = (names.ASSIGNED_RULE, f"{names.ASSIGNED_RULE}-grpc")


def check_of(item: Object, route: Mapping[str, Any]) -> AssignmentCheck | None:
    """What is asked about requests of a VirtualService's rule; None for all rules but those that Millrace wrote for it.

    The unit is in the first header whose value only has to be there.
    """
    labels = item["metadata"].get("labels") or {}
    service = labels.get(names.SERVICE)
    if route.get("name") not in _RULES or labels.get(names.MANAGED_BY) != "millrace" or not service:
        return None
    headers = (route.get("match") or [{}])[0].get("headers") or {}
    header = next((name for name, value in headers.items() if "regex" in value), None)
    return AssignmentCheck(identity(item)[0], service, header) if header else None
