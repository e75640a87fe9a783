"""What the mesh routes, in terms of neither Istio, the Gateway API nor Envoy.

VirtualServices and HTTPRoutes are both read into ``Rule``s, and ``Rule``s alone are written as Envoy routes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Object = Mapping[str, Any]


@dataclass(frozen=True)
class Snapshot:
    """The objects of the cluster that decide where a request goes, as the API server gives them."""

    services: tuple[Object, ...] = ()
    endpoint_slices: tuple[Object, ...] = ()
    pods: tuple[Object, ...] = ()
    virtual_services: tuple[Object, ...] = ()
    destination_rules: tuple[Object, ...] = ()
    http_routes: tuple[Object, ...] = ()


@dataclass(frozen=True)
class Problem:
    """Something in an object that the mesh cannot do as it is written; the rest of the object still works."""

    kind: str
    namespace: str
    name: str
    message: str


@dataclass(frozen=True)
class Text:
    """A condition on a string. ``regex`` must match the whole string (RE2 syntax); ``segments`` is a path
    prefix that ends at a slash; ``present`` needs no value."""

    how: Literal["exact", "prefix", "regex", "present", "segments"]
    value: str = ""
    ignore_case: bool = False
    negate: bool = False


@dataclass(frozen=True)
class Match:
    """Conditions on a request that must all hold. Header names are lower-case and may be pseudo headers."""

    path: Text | None = None
    headers: tuple[tuple[str, Text], ...] = ()
    query: tuple[tuple[str, Text], ...] = ()


@dataclass(frozen=True)
class HeaderEdits:
    """Changes to the headers of a request or an answer."""

    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()


@dataclass(frozen=True)
class ServicePort:
    """One port of one Service; the unit that has endpoints and subsets. Without a namespace, a host that is
    no Service."""

    namespace: str
    service: str
    port: int

    def __str__(self) -> str:
        host = f"{self.service}.{self.namespace}" if self.namespace else self.service
        return f"{host}:{self.port}"


@dataclass(frozen=True)
class Destination:
    """Where requests go: the endpoints of a Service's port, or those of one subset of it."""

    target: ServicePort
    subset: str = ""

    @property
    def key(self) -> str:
        """The mark that the endpoints of this destination carry in Envoy's endpoint metadata."""
        return f"{self.target}/{self.subset}" if self.subset else str(self.target)


@dataclass(frozen=True)
class Backend:
    """A destination with its share of the requests."""

    destination: Destination
    weight: int
    request: HeaderEdits = HeaderEdits()
    response: HeaderEdits = HeaderEdits()


@dataclass(frozen=True)
class Mirror:
    """A destination that receives a copy of some percent of the requests; its answers are dropped."""

    destination: Destination
    percent: float


@dataclass(frozen=True)
class Retries:
    """When and how often a request is tried again: Envoy's conditions, answers' statuses; ``per_try`` in
    seconds, 0 for no limit."""

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
    """An answer that sends the client elsewhere."""

    code: int
    scheme: str | None = None
    host: str | None = None
    port: int | None = None
    path: str | None = None
    prefix: str | None = None


@dataclass(frozen=True)
class Answer:
    """An answer that the mesh gives by itself."""

    status: int
    body: str = ""


@dataclass(frozen=True)
class Fault:
    """Failures put in on purpose: a delay in seconds, an abort with a status, each for some percent of the
    requests."""

    delay: float = 0.0
    delay_percent: float = 0.0
    abort_status: int = 0
    abort_percent: float = 0.0


@dataclass(frozen=True)
class Rule:
    """What happens to requests that satisfy one of ``matches`` (none: every request).

    Exactly one of ``backends``, ``redirect`` and ``answer`` is set. ``timeout`` is in seconds, 0 for none.
    """

    name: str
    matches: tuple[Match, ...] = ()
    backends: tuple[Backend, ...] = ()
    redirect: Redirect | None = None
    answer: Answer | None = None
    request: HeaderEdits = HeaderEdits()
    response: HeaderEdits = HeaderEdits()
    mirrors: tuple[Mirror, ...] = ()
    rewrite: Rewrite | None = None
    retries: Retries | None = None
    timeout: float = 0.0
    fault: Fault | None = None


@dataclass(frozen=True)
class VirtualHost:
    """The rules of one set of Host headers; the first rule that matches decides.

    ``origins`` are the objects that the rules were read from, as (kind, namespace, name).
    """

    name: str
    domains: tuple[str, ...]
    rules: tuple[Rule, ...]
    origins: tuple[tuple[str, str, str], ...] = ()


def identity(item: Object) -> tuple[str, str]:
    """Namespace and name of an object."""
    meta = item["metadata"]
    return meta.get("namespace", ""), meta["name"]


def age_order(item: Object) -> tuple[str, str, str]:
    """Sort key that puts the oldest object first, as Istio and the Gateway API settle conflicts."""
    return item["metadata"].get("creationTimestamp") or "", *identity(item)
