"""What the mesh routes, independent of Istio, the Gateway API and Envoy.

VirtualServices and HTTPRoutes are both read into ``RouteRule``; only ``RouteRule`` is written as Envoy routes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from millrace_core.base.shown import shown

Object = Mapping[str, Any]

# What reading an object raises that is not as its schema says.
MALFORMED = (AttributeError, KeyError, TypeError, ValueError)


def malformed(error: Exception) -> str:
    """The problem of such an object."""
    return f"a field is missing or has a value of another type than its schema says ({shown(error, 300)})"


@dataclass(frozen=True)
class MeshObjects:
    """The Kubernetes objects that decide where a request goes, as the API server returns them."""

    services: tuple[Object, ...] = ()
    endpoint_slices: tuple[Object, ...] = ()
    pods: tuple[Object, ...] = ()
    virtual_services: tuple[Object, ...] = ()
    destination_rules: tuple[Object, ...] = ()
    http_routes: tuple[Object, ...] = ()


@dataclass(frozen=True)
class RouteProblem:
    """A part of an object that the mesh cannot do; the rest of the object has its effect."""

    kind: str
    namespace: str
    name: str
    message: str


@dataclass(frozen=True)
class StringMatch:
    """A condition on a string. ``regex`` must match the whole string (RE2 syntax); ``segments`` is a path prefix that
    ends at a slash; ``present`` has no value.
    """

    how: Literal["exact", "prefix", "regex", "present", "segments"]
    value: str = ""
    ignore_case: bool = False
    negate: bool = False


@dataclass(frozen=True)
class RequestMatch:
    """Conditions on a request, all of which must hold. Header names are lower-case; pseudo headers are allowed."""

    path: StringMatch | None = None
    headers: tuple[tuple[str, StringMatch], ...] = ()
    query: tuple[tuple[str, StringMatch], ...] = ()


@dataclass(frozen=True)
class HeaderEdits:
    """Changes to the headers of a request or a response."""

    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()


@dataclass(frozen=True)
class ServicePort:
    """One port of one Service; it has endpoints and subsets. An empty namespace means a host without a Service."""

    namespace: str
    service: str
    port: int

    def __str__(self) -> str:
        host = f"{self.service}.{self.namespace}" if self.namespace else self.service
        return f"{host}:{self.port}"


@dataclass(frozen=True)
class Destination:
    """Where requests go: the endpoints of a Service's port, or those of one of its subsets."""

    target: ServicePort
    subset: str = ""

    @property
    def key(self) -> str:
        """The name of this destination in the metadata of its endpoints."""
        return f"{self.target}/{self.subset}" if self.subset else str(self.target)


@dataclass(frozen=True)
class Backend:
    """A destination and its weight."""

    destination: Destination
    weight: int
    request: HeaderEdits = HeaderEdits()
    response: HeaderEdits = HeaderEdits()


@dataclass(frozen=True)
class RequestMirror:
    """A destination that receives copies of some percent of the requests; its responses are dropped."""

    destination: Destination
    percent: float


@dataclass(frozen=True)
class RetryPolicy:
    """When and how often a request is retried: Envoy's conditions (``on``) and response statuses; ``per_try`` in
    seconds,
    0 for no limit.
    """

    attempts: int
    on: tuple[str, ...]
    statuses: tuple[int, ...] = ()
    per_try: float = 0.0


@dataclass(frozen=True)
class Rewrite:
    """Changes to the path or the host before a request is forwarded."""

    prefix: str | None = None
    full_path: str | None = None
    regex: tuple[str, str] | None = None
    host: str | None = None


@dataclass(frozen=True)
class Redirect:
    """A response that sends the client to another URL."""

    code: int
    scheme: str | None = None
    host: str | None = None
    port: int | None = None
    path: str | None = None
    prefix: str | None = None


@dataclass(frozen=True)
class DirectResponse:
    """A response that the mesh sends itself."""

    status: int
    body: str = ""


@dataclass(frozen=True)
class FaultInjection:
    """Faults on purpose: a delay in seconds and an abort with a status, each for some percent of the requests."""

    delay: float = 0.0
    delay_percent: float = 0.0
    abort_status: int = 0
    abort_percent: float = 0.0


@dataclass(frozen=True)
class AssignmentCheck:
    """Whom the gateway is asked about before the route of a request is chosen: the unit that a header names."""

    namespace: str
    service: str
    header: str


@dataclass(frozen=True)
class RouteRule:
    """What happens to requests that satisfy one of ``matches`` (none: all requests).

    Exactly one of ``backends``, ``redirect`` and ``direct_response`` is set. ``timeout`` is in seconds, 0 for none.
    With ``check`` another rule may be chosen, by the arm that the gateway gives.
    """

    name: str
    matches: tuple[RequestMatch, ...] = ()
    backends: tuple[Backend, ...] = ()
    redirect: Redirect | None = None
    direct_response: DirectResponse | None = None
    request: HeaderEdits = HeaderEdits()
    response: HeaderEdits = HeaderEdits()
    mirrors: tuple[RequestMirror, ...] = ()
    rewrite: Rewrite | None = None
    retries: RetryPolicy | None = None
    timeout: float = 0.0
    fault: FaultInjection | None = None
    check: AssignmentCheck | None = None


@dataclass(frozen=True)
class VirtualHost:
    """The rules for a set of Host headers; the first rule that matches decides.

    ``origins`` are the objects that the rules were read from, as (kind, namespace, name).
    """

    name: str
    domains: tuple[str, ...]
    rules: tuple[RouteRule, ...]
    origins: tuple[tuple[str, str, str], ...] = ()


def identity(item: Object) -> tuple[str, str]:
    """Namespace and name of an object."""
    meta = item["metadata"]
    return meta.get("namespace", ""), meta["name"]


def age_order(item: Object) -> tuple[str, str, str]:
    """Sort key, oldest object first: the order in which Istio and the Gateway API settle conflicts."""
    return item["metadata"].get("creationTimestamp") or "", *identity(item)
