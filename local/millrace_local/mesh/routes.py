"""Route rules, as Envoy's virtual hosts.

Reference: Envoy's ``config.route.v3`` API. A route selects the endpoints of its destination by ``metadata_match`` on
the destination's key, which the endpoints carry (``clusters.py``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from millrace_core.api import names
from millrace_local.mesh.model import (
    AssignmentCheck,
    Backend,
    Destination,
    DirectResponse,
    FaultInjection,
    HeaderEdits,
    Redirect,
    RequestMatch,
    RetryPolicy,
    Rewrite,
    RouteRule,
    StringMatch,
    VirtualHost,
)

TYPE = "type.googleapis.com/envoy"
FAULT_FILTER = "envoy.filters.http.fault"
# They ask for the arm of a unit: the one says whose in headers of a fixed name, the other asks.
UNIT_FILTER = "envoy.filters.http.header_mutation"
CHECK_FILTER = "envoy.filters.http.ext_authz"
PER_MILLION = 10_000  # a percent as a fraction of a million
# Of a unit that is told, which is more than the 256 characters of one take: of a longer one none is left that is known.
MOST_UNIT_BYTES = 1025
LONGEST_BODY = 4000  # Envoy refuses an inline body above 4096 bytes
HOST_HEADERS = frozenset({"host", ":authority"})
REDIRECTS = {
    301: "MOVED_PERMANENTLY",
    302: "FOUND",
    303: "SEE_OTHER",
    307: "TEMPORARY_REDIRECT",
    308: "PERMANENT_REDIRECT",
}

ClusterOf = Callable[[Destination], str]
Json = dict[str, Any]


def own_cluster(destination: Destination) -> str:
    """The name of the cluster that only this destination has."""
    return f"only {destination.key}"


def virtual_host(host: VirtualHost, cluster_of: ClusterOf) -> Json:
    """Envoy's VirtualHost; a request that no rule matches gets 404."""
    routes = [route for rule in host.rules for route in _routes(rule, cluster_of)]
    if not any(rule.matches in ((), (RequestMatch(),)) for rule in host.rules):
        message = f"no rule of {host.name} matches this request"
        routes += _routes(
            RouteRule("no rule", direct_response=DirectResponse(404, json.dumps({"error": message}))), cluster_of
        )
    return {"name": host.name, "domains": list(host.domains), "routes": routes}


def refused_host(host: VirtualHost, message: str) -> Json:
    """A virtual host that responds to every request with 503 and the reason."""
    direct_response = DirectResponse(503, json.dumps({"error": message}))
    return virtual_host(
        VirtualHost(host.name, host.domains, (RouteRule("refused", direct_response=direct_response),)), str
    )


def _routes(rule: RouteRule, cluster_of: ClusterOf) -> list[Json]:
    shared: Json = {"name": rule.name, **_edits(rule.request, rule.response)}
    if rule.redirect:
        shared["redirect"] = _redirect(rule.redirect)
    elif rule.direct_response:
        shared["direct_response"] = {
            "status": rule.direct_response.status,
            "body": {"inline_string": rule.direct_response.body[:LONGEST_BODY]},
        }
        if rule.direct_response.body.startswith("{"):
            _set_header(shared, "response_headers_to_add", "content-type", "application/json")
    filters = {FAULT_FILTER: _fault(rule.fault)} if rule.fault else {}
    if rule.check:
        filters |= _check(rule.check)
    if filters:
        shared["typed_per_filter_config"] = filters
    routes = []
    for match in rule.matches or (RequestMatch(),):
        route = {"match": _match(match), **shared}
        if rule.backends:
            route["route"] = _action(rule, match, cluster_of)
        routes.append(route)
    return routes


def _action(rule: RouteRule, match: RequestMatch, cluster_of: ClusterOf) -> Json:
    action: Json = {"timeout": duration(rule.timeout)}
    used = [backend for backend in rule.backends if backend.weight]
    action |= _host(rule.request)
    action["weighted_clusters"] = {"clusters": [_weighted(backend, cluster_of) for backend in used]}
    if rule.rewrite:
        action |= _rewrite(rule.rewrite, match)
    if rule.retries:
        action["retry_policy"] = _retries(rule.retries)
    if rule.mirrors:
        action["request_mirror_policies"] = [
            {
                "cluster": own_cluster(mirror.destination),
                "runtime_fraction": {"default_value": _per_million(mirror.percent)},
            }
            for mirror in rule.mirrors
        ]
    return action


def _weighted(backend: Backend, cluster_of: ClusterOf) -> Json:
    return {
        "name": cluster_of(backend.destination),
        "weight": backend.weight,
        "metadata_match": _metadata(backend.destination),
        **_edits(backend.request, backend.response),
        **_host(backend.request),
    }


def _metadata(destination: Destination) -> Json:
    return {"filter_metadata": {"envoy.lb": {"to": destination.key}}}


def _match(match: RequestMatch) -> Json:
    written: Json = _path(match.path)
    if match.headers:
        written["headers"] = [_header(name, text) for name, text in match.headers]
    if match.query:
        written["query_parameters"] = [
            {"name": name, "present_match": True}
            if text.how == "present"
            else {"name": name, "string_match": _string(text)}
            for name, text in match.query
        ]
    return written


def _path(path: StringMatch | None) -> Json:
    if path is None or (path.how == "segments" and path.value in ("", "/")):
        return {"prefix": "/"}
    case: Json = {"case_sensitive": False} if path.ignore_case else {}
    if path.how == "segments":
        return {"path_separated_prefix": path.value.rstrip("/"), **case}
    if path.how == "regex":
        return {"safe_regex": {"regex": path.value}}
    return {"path" if path.how == "exact" else "prefix": path.value, **case}


def _header(name: str, text: StringMatch) -> Json:
    condition: Json = {"present_match": True} if text.how == "present" else {"string_match": _string(text)}
    if text.negate and text.how != "present":
        # Without this Envoy would not match a request that lacks the header.
        condition["treat_missing_header_as_empty"] = True
    return {"name": name, **condition, **({"invert_match": True} if text.negate else {})}


def _string(text: StringMatch) -> Json:
    return {"safe_regex": {"regex": text.value}} if text.how == "regex" else {text.how: text.value}


def _edits(request: HeaderEdits, response: HeaderEdits) -> Json:
    written: Json = {}
    for side, edits in (("request", request), ("response", response)):
        for name, value in edits.set:
            if name.lower() not in HOST_HEADERS:
                _set_header(written, f"{side}_headers_to_add", name, value)
        for name, value in edits.add:
            _set_header(written, f"{side}_headers_to_add", name, value, append=True)
        if edits.remove:
            written[f"{side}_headers_to_remove"] = list(edits.remove)
    return written


def _set_header(written: Json, key: str, name: str, value: str, *, append: bool = False) -> None:
    action = "APPEND_IF_EXISTS_OR_ADD" if append else "OVERWRITE_IF_EXISTS_OR_ADD"
    written.setdefault(key, []).append({"header": {"key": name, "value": value}, "append_action": action})


def _host(edits: HeaderEdits) -> Json:
    """Envoy rewrites the Host header by a field of its own, not among the headers."""
    return next(({"host_rewrite_literal": value} for name, value in edits.set if name.lower() in HOST_HEADERS), {})


def _rewrite(rewrite: Rewrite, match: RequestMatch) -> Json:
    written: Json = {"host_rewrite_literal": rewrite.host} if rewrite.host else {}
    if rewrite.regex:
        pattern, substitution = rewrite.regex
        written["regex_rewrite"] = {"pattern": {"regex": pattern}, "substitution": substitution}
    elif rewrite.full_path is not None:
        written["regex_rewrite"] = {"pattern": {"regex": "^/.*$"}, "substitution": rewrite.full_path}
    elif rewrite.prefix is not None:
        path = match.path
        if path and path.how == "segments" and rewrite.prefix in ("", "/"):
            # Replacing "/a" by "/" as text would make "/a/b" into "//b".
            pattern = f"^{re.escape(path.value.rstrip('/'))}/?(.*)$"
            written["regex_rewrite"] = {"pattern": {"regex": pattern}, "substitution": r"/\1"}
        else:
            written["prefix_rewrite"] = rewrite.prefix
    return written


def _retries(retries: RetryPolicy) -> Json:
    conditions = [*retries.on, *(["retriable-status-codes"] if retries.statuses else [])]
    written: Json = {
        "retry_on": ",".join(conditions),
        "num_retries": retries.attempts,
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {"@type": f"{TYPE}.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"},
            }
        ],
        # LEAST_REQUEST takes the less busy of two random endpoints, and one that fails at once is never busy: of two
        # endpoints, the dead one is drawn three times in four.
        "host_selection_retry_max_attempts": 50,
    }
    if retries.statuses:
        written["retriable_status_codes"] = list(retries.statuses)
    if retries.per_try:
        written["per_try_timeout"] = duration(retries.per_try)
    return written


def _redirect(redirect: Redirect) -> Json:
    written: Json = {"response_code": REDIRECTS.get(redirect.code, "MOVED_PERMANENTLY")}
    fields = {
        "scheme_redirect": redirect.scheme,
        "host_redirect": redirect.host,
        "port_redirect": redirect.port,
        "path_redirect": redirect.path,
        "prefix_rewrite": redirect.prefix,
    }
    return written | {name: value for name, value in fields.items() if value is not None}


def _fault(fault: FaultInjection) -> Json:
    written: Json = {"@type": f"{TYPE}.extensions.filters.http.fault.v3.HTTPFault"}
    if fault.delay:
        written["delay"] = {
            "fixed_delay": duration(fault.delay),
            "percentage": _per_million(fault.delay_percent),
        }
    if fault.abort_status:
        written["abort"] = {
            "http_status": fault.abort_status,
            "percentage": _per_million(fault.abort_percent),
        }
    return written


def _check(check: AssignmentCheck) -> Json:
    values = {
        names.SERVICE_HEADER: f"{check.namespace}/{check.service}",
        names.UNIT_HEADER: f"%REQ({check.header}):{MOST_UNIT_BYTES}%",
    }
    told = [
        {"append": {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}
        for name, value in values.items()
    ]
    return {
        UNIT_FILTER: {
            "@type": f"{TYPE}.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute",
            "mutations": {"request_mutations": told},
        },
        CHECK_FILTER: {"@type": f"{TYPE}.config.route.v3.FilterConfig", "config": {}},
    }


def _per_million(percent: float) -> Json:
    return {"numerator": round(percent * PER_MILLION), "denominator": "MILLION"}


def duration(seconds: float) -> str:
    """Seconds as Envoy's JSON writes a duration."""
    return f"{seconds:.6f}".rstrip("0").rstrip(".") + "s"
