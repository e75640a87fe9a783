"""VirtualServices, read as route rules.

Reference: Istio's networking API, ``VirtualService``. The ingress acts as the sidecar of every client: it is the
reserved gateway ``mesh``. Conditions on the client's pod, which the ingress does not know, never match and are
reported.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from millrace_core.base.errors import RejectError
from millrace_local.mesh import istio
from millrace_local.mesh.assignment import METHODS, check_of
from millrace_local.mesh.model import (
    AssignmentCheck,
    Backend,
    Destination,
    DirectResponse,
    Object,
    RequestMatch,
    RequestMirror,
    RouteRule,
    identity,
)
from millrace_local.mesh.services import full_host

UNSUPPORTED = ("corsPolicy",)

Fields = Mapping[str, Any]
Resolve = Callable[[Fields, str], Destination]
"""(Istio's Destination, the field it stands in) to the mesh's."""


def hosts(item: Object) -> tuple[str, ...]:
    """The hosts that it is for, by their full names."""
    return tuple(full_host(host, identity(item)[0]) for host in (item.get("spec") or {}).get("hosts") or ())


@dataclass(frozen=True)
class VirtualServiceReader:
    """Reads one VirtualService for requests to one port of one of its hosts.

    Attributes:
        item: the VirtualService.
        port: the port that the client names.
        resolve: finds a destination.
        delegates: all VirtualServices, by namespace and name.
        report: takes a message for each field without effect here.
        asks: whether there is a gateway to ask for the arms of units.
    """

    item: Object
    port: int
    resolve: Resolve
    delegates: Mapping[tuple[str, str], Object]
    report: Callable[[str], None]
    asks: bool = False

    def rules(self) -> tuple[RouteRule, ...]:
        """The rules in order.

        Raises:
            RejectError: a field has a value that Istio refuses.
        """
        return tuple(self._rules())

    def _rules(self) -> Iterator[RouteRule]:
        namespace, name = identity(self.item)
        for at, route in _routes(self.item):
            origin = f"VirtualService {namespace}/{name} {at}"
            matches = tuple(self._matches(route, at))
            if "delegate" in route:
                yield from self._delegated(route, at, origin, matches)
            elif matches:
                yield self._rule(origin, at, route, matches, self._check(self.item, route))

    def _delegated(self, root: Fields, at: str, origin: str, outer: tuple[RequestMatch, ...]) -> Iterator[RouteRule]:
        """The delegate's rules under the root's conditions; what the delegate leaves out is taken from the root."""
        reference = root["delegate"]
        key = (reference.get("namespace") or identity(self.item)[0], reference.get("name", ""))
        delegate = self.delegates.get(key)
        if delegate is None:
            missing = f"{at}.delegate: there is no VirtualService {'/'.join(key)}"
            self.report(missing)
            yield RouteRule(origin, outer, direct_response=DirectResponse(503, json.dumps({"error": missing})))
            return
        inherited = {name: value for name, value in root.items() if name not in ("delegate", "match", "name")}
        for inner_at, route in _routes(delegate):
            where = f"{at} > {'/'.join(key)} {inner_at}"
            inner = tuple(self._matches(route, where))
            both = (_both(first, second) for first in outer for second in inner)
            matches = tuple(match for match in both if match is not None)
            if matches:
                rule = f"{origin} > {'/'.join(key)} {inner_at}"
                yield self._rule(rule, where, {**inherited, **route}, matches, self._check(delegate, route))
            elif outer and inner:
                self.report(f"{where}: no path of its match lies within the root's, so it never matches")

    def _matches(self, route: Fields, at: str) -> Iterator[RequestMatch]:
        stated = route.get("match")
        if not stated:
            yield RequestMatch()
            return
        gateways = (self.item.get("spec") or {}).get("gateways") or ["mesh"]
        for index, match in enumerate(stated):
            where = f"{at}.match[{index}]"
            if match.get("sourceLabels") or match.get("sourceNamespace"):
                self.report(f"{where}: the embedded mesh does not know a client's pod, so this never matches")
            elif "mesh" in gateways and match.get("gateways") and "mesh" not in match["gateways"]:
                continue
            elif match.get("port", self.port) == self.port:
                yield istio.match(match, where)

    def _check(self, item: Object, route: Fields) -> AssignmentCheck | None:
        return check_of(item, route) if self.asks else None

    def _rule(
        self, origin: str, at: str, route: Fields, matches: tuple[RequestMatch, ...], check: AssignmentCheck | None
    ) -> RouteRule:
        for name in UNSUPPORTED:
            if name in route:
                self.report(f"{at}.{name} has no effect in the embedded mesh")
        redirect = istio.redirect(route.get("redirect"))
        direct_response = None if redirect else istio.direct_response(route.get("directResponse"))
        backends: tuple[Backend, ...] = ()
        if redirect is None and direct_response is None:
            backends = tuple(self._backends(route.get("route") or (), at))
        return RouteRule(
            name=origin,
            matches=tuple(replace(each, headers=(*each.headers, METHODS)) for each in matches) if check else matches,
            backends=backends,
            redirect=redirect,
            direct_response=direct_response,
            request=istio.edits(route.get("headers"), "request"),
            response=istio.edits(route.get("headers"), "response"),
            mirrors=tuple(self._mirrors(route, at)),
            rewrite=istio.rewrite(route.get("rewrite"), f"{at}.rewrite"),
            retries=istio.retries(route.get("retries"), f"{at}.retries"),
            timeout=istio.seconds(route["timeout"], f"{at}.timeout") if "timeout" in route else 0.0,
            fault=istio.fault(route.get("fault"), f"{at}.fault"),
            check=check,
        )

    def _backends(self, routes: Iterable[Fields], at: str) -> Iterator[Backend]:
        stated = list(routes)
        weights = [route.get("weight", 0) for route in stated]
        if len(stated) == 1:
            weights = [weights[0] or 100]
        if min(weights, default=0) < 0 or not sum(weights):
            raise RejectError(f"the weights {weights} must be 0 or more, at least one above 0", field=f"{at}.route")
        for index, (route, weight) in enumerate(zip(stated, weights, strict=True)):
            yield Backend(
                self.resolve(route.get("destination") or {}, f"{at}.route[{index}].destination"),
                weight,
                istio.edits(route.get("headers"), "request"),
                istio.edits(route.get("headers"), "response"),
            )

    def _mirrors(self, route: Fields, at: str) -> Iterator[RequestMirror]:
        if "mirror" in route:
            percent = istio.percent(route.get("mirrorPercentage"), float(route.get("mirrorPercent", 100)))
            yield RequestMirror(self.resolve(route["mirror"], f"{at}.mirror"), percent)
        for index, mirror in enumerate(route.get("mirrors") or ()):
            destination = self.resolve(mirror.get("destination") or {}, f"{at}.mirrors[{index}].destination")
            yield RequestMirror(destination, istio.percent(mirror.get("percentage"), 100.0))


def _routes(item: Object) -> Iterator[tuple[str, Fields]]:
    for index, route in enumerate((item.get("spec") or {}).get("http") or ()):
        yield f"spec.http[{index}]", route


def _both(outer: RequestMatch, inner: RequestMatch) -> RequestMatch | None:
    """One match that holds where both hold; None if the paths exclude each other."""
    path = inner.path or outer.path
    if outer.path and inner.path and outer.path != inner.path:
        narrower = inner.path.how in ("exact", "prefix") and inner.path.value.startswith(outer.path.value)
        if outer.path.how != "prefix" or not narrower:
            return None
    return RequestMatch(path, outer.headers + inner.headers, outer.query + inner.query)
