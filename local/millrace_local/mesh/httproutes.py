"""HTTPRoutes, read as route rules.

Reference: the Gateway API, ``HTTPRoute`` v1. Weights are shares of their sum. Every HTTPRoute applies to the one
ingress, whatever Gateway its ``parentRefs`` name; with a Service as its parent a route applies to that Service's host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from millrace_core.base.errors import RejectError
from millrace_local.mesh.istio import DEFAULT_RETRIES, regex, seconds
from millrace_local.mesh.model import (
    Backend,
    Destination,
    DirectResponse,
    HeaderEdits,
    Object,
    Redirect,
    RequestMatch,
    RequestMirror,
    Rewrite,
    RouteRule,
    StringMatch,
    identity,
)
from millrace_local.mesh.services import CLUSTER_SUFFIX

Fields = Mapping[str, Any]
Resolve = Callable[[Fields, str], Destination]
"""(a BackendObjectReference, the field it stands in) to the mesh's destination."""

NO_BACKENDS = DirectResponse(500, '{"error": "the HTTPRoute\'s rule has no backend with a weight above 0"}')


def hosts(item: Object) -> tuple[str, ...]:
    """The hosts a route applies to: its hostnames and the Services it names as parents."""
    namespace, _ = identity(item)
    spec = item.get("spec") or {}
    parents = [ref for ref in spec.get("parentRefs") or () if ref.get("kind") == "Service"]
    services = [".".join((ref["name"], ref.get("namespace") or namespace)) + CLUSTER_SUFFIX for ref in parents]
    named = [host.lower() for host in spec.get("hostnames") or ()]
    return tuple(dict.fromkeys([*named, *services] or ["*"]))


def by_precedence(rules: Iterable[RouteRule]) -> tuple[RouteRule, ...]:
    """One rule per match in the Gateway API's order: exact path, longest prefix, method, most headers, most query
    parameters; otherwise in the given order (oldest route first).
    """
    single = [replace(rule, matches=(match,)) for rule in rules for match in rule.matches or (RequestMatch(),)]
    return tuple(sorted(single, key=lambda rule: _rank(rule.matches[0])))


def _rank(match: RequestMatch) -> tuple[bool, int, bool, int, int]:
    path = match.path or StringMatch("segments", "/")
    method = any(name == ":method" for name, _ in match.headers)
    length = -len(path.value.rstrip("/"))
    return path.how != "exact", length, not method, -len(match.headers), -len(match.query)


@dataclass(frozen=True)
class HttpRouteReader:
    """Reads one HTTPRoute: ``resolve`` finds a backend, ``report`` takes a message for each field without effect
    here.
    """

    item: Object
    resolve: Resolve
    report: Callable[[str], None]

    def rules(self) -> tuple[RouteRule, ...]:
        """The rules in the order of the route.

        Raises:
            RejectError: a field has a value that the Gateway API refuses.
        """
        return tuple(self._rules())

    def _rules(self) -> Iterator[RouteRule]:
        namespace, name = identity(self.item)
        for index, rule in enumerate((self.item.get("spec") or {}).get("rules") or ()):
            at = f"spec.rules[{index}]"
            yield self._rule(f"HTTPRoute {namespace}/{name} {at}", at, rule)

    def _rule(self, origin: str, at: str, rule: Fields) -> RouteRule:
        filters = self._filters(rule.get("filters") or (), at)
        matches: tuple[Fields, ...] = tuple(rule.get("matches") or ({},))
        redirect = _redirect(filters.get("RequestRedirect"))
        backends = () if redirect else tuple(self._backends(rule.get("backendRefs") or (), at))
        timeout = (rule.get("timeouts") or {}).get("request", "0s")
        return RouteRule(
            name=origin,
            matches=tuple(_match(match, f"{at}.matches") for match in matches),
            backends=backends,
            redirect=redirect,
            direct_response=None if redirect or any(backend.weight for backend in backends) else NO_BACKENDS,
            request=_edits(filters.get("RequestHeaderModifier")),
            response=_edits(filters.get("ResponseHeaderModifier")),
            mirrors=tuple(self._mirrors(rule, at)),
            rewrite=_rewrite(filters.get("URLRewrite")),
            retries=DEFAULT_RETRIES,
            timeout=seconds(timeout, f"{at}.timeouts.request"),
        )

    def _filters(self, stated: Iterable[Fields], at: str) -> dict[str, Fields]:
        """The settings of the filters by type, except mirrors, of which there may be several."""
        known = {
            "RequestHeaderModifier": "requestHeaderModifier",
            "ResponseHeaderModifier": "responseHeaderModifier",
            "RequestRedirect": "requestRedirect",
            "URLRewrite": "urlRewrite",
        }
        found: dict[str, Fields] = {}
        for index, item in enumerate(stated):
            kind = item.get("type", "")
            if kind in known:
                found[kind] = item.get(known[kind]) or {}
            elif kind != "RequestMirror":
                raise RejectError(
                    f"the embedded mesh has no filter {kind}",
                    hint=f"It has {', '.join((*known, 'RequestMirror'))}",
                    field=f"{at}.filters[{index}].type",
                )
        return found

    def _backends(self, references: Iterable[Fields], at: str) -> Iterator[Backend]:
        for index, reference in enumerate(references):
            filters = self._filters(reference.get("filters") or (), f"{at}.backendRefs[{index}]")
            yield Backend(
                self.resolve(reference, f"{at}.backendRefs[{index}]"),
                reference.get("weight", 1),
                _edits(filters.get("RequestHeaderModifier")),
                _edits(filters.get("ResponseHeaderModifier")),
            )

    def _mirrors(self, rule: Fields, at: str) -> Iterator[RequestMirror]:
        for index, item in enumerate(rule.get("filters") or ()):
            if item.get("type") != "RequestMirror":
                continue
            mirror = item.get("requestMirror") or {}
            fraction = mirror.get("fraction")
            percent = float(mirror.get("percent", 100))
            if fraction:
                percent = 100.0 * fraction.get("numerator", 0) / (fraction.get("denominator") or 100)
            where = f"{at}.filters[{index}].requestMirror.backendRef"
            yield RequestMirror(self.resolve(mirror.get("backendRef") or {}, where), percent)


def _match(match: Fields, at: str) -> RequestMatch:
    path = match.get("path") or {}
    headers = [(item["name"].lower(), _text(item, f"{at}.headers")) for item in match.get("headers") or ()]
    if match.get("method"):
        headers.append((":method", StringMatch("exact", match["method"])))
    return RequestMatch(
        path=_path(path, f"{at}.path"),
        headers=tuple(headers),
        query=tuple((item["name"], _text(item, f"{at}.queryParams")) for item in match.get("queryParams") or ()),
    )


def _path(path: Fields, at: str) -> StringMatch:
    kind, value = path.get("type", "PathPrefix"), path.get("value", "/")
    if kind == "Exact":
        return StringMatch("exact", value)
    if kind == "RegularExpression":
        return StringMatch("regex", regex(value, f"{at}.value"))
    return StringMatch("segments", value)


def _text(item: Fields, at: str) -> StringMatch:
    if item.get("type", "Exact") == "Exact":
        return StringMatch("exact", item["value"])
    return StringMatch("regex", regex(item["value"], f"{at}.value"))


def _edits(modifier: Fields | None) -> HeaderEdits:
    found = modifier or {}

    def pairs(items: Iterable[Fields] | None) -> tuple[tuple[str, str], ...]:
        # Envoy reads %…% as a variable; the Gateway API knows literal values only.
        return tuple((item["name"], item["value"].replace("%", "%%")) for item in items or ())

    return HeaderEdits(
        set=pairs(found.get("set")),
        add=pairs(found.get("add")),
        remove=tuple(found.get("remove") or ()),
    )


def _redirect(found: Fields | None) -> Redirect | None:
    if found is None:
        return None
    path = found.get("path") or {}
    return Redirect(
        code=found.get("statusCode", 302),
        scheme=found.get("scheme"),
        host=found.get("hostname"),
        port=found.get("port"),
        path=path.get("replaceFullPath"),
        prefix=path.get("replacePrefixMatch"),
    )


def _rewrite(found: Fields | None) -> Rewrite | None:
    if found is None:
        return None
    path = found.get("path") or {}
    return Rewrite(
        prefix=path.get("replacePrefixMatch"),
        full_path=path.get("replaceFullPath"),
        host=found.get("hostname"),
    )
