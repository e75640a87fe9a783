"""Istio's field types, read into the mesh's model.

Reference: Istio's networking API, ``VirtualService`` (HTTPMatchRequest, HTTPRetry, HTTPRewrite, HTTPRedirect,
HTTPFaultInjection).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from millrace_core.base.errors import RejectError
from millrace_core.base.go_duration import parse_duration
from millrace_core.base.re2 import PatternError, compile_pattern
from millrace_core.base.shown import shown
from millrace_local.mesh.model import (
    DirectResponse,
    FaultInjection,
    HeaderEdits,
    Redirect,
    RequestMatch,
    RetryPolicy,
    Rewrite,
    StringMatch,
)

# A request whose connection failed or whose stream was refused has not reached the pod, so a retry repeats
# nothing. Istio's own default adds conditions that a pod's response can meet; those would hide errors.
UNSENT = ("connect-failure", "refused-stream")
DEFAULT_RETRIES = RetryPolicy(2, UNSENT)


def seconds(text: str, field: str) -> float:
    """A Go duration such as ``1h30m`` or ``250ms`` in seconds.

    Raises:
        RejectError: ``text`` is not a duration, or a negative one.
    """
    length = parse_duration(text)
    if length is None or length < timedelta(0):
        raise RejectError(f"{text!r} is no duration", hint="Write it as 250ms, 10s or 1m30s", field=field)
    return length.total_seconds()


def regex(pattern: str, field: str) -> str:
    """The pattern itself, if Envoy accepts it.

    Raises:
        RejectError: it is not a regular expression in RE2's syntax.
    """
    try:
        compile_pattern(pattern)
    except PatternError as error:
        raise RejectError(
            f"{shown(pattern)} is no regular expression: {error}",
            hint="Istio and Envoy take RE2 syntax only: no look-around, back-references or possessive repeats",
            field=field,
        ) from error
    return pattern


def text(match: Mapping[str, Any], field: str, *, ignore_case: bool = False) -> StringMatch:
    """A StringMatch; an empty one asks that the header is present."""
    if "exact" in match:
        return StringMatch("exact", match["exact"], ignore_case)
    if "prefix" in match:
        return StringMatch("prefix", match["prefix"], ignore_case)
    if "regex" in match:
        return StringMatch("regex", regex(match["regex"], f"{field}.regex"))
    return StringMatch("present")


def match(stated: Mapping[str, Any], field: str) -> RequestMatch:
    """An HTTPMatchRequest, without the fields about the client or the gateway."""
    headers = [
        (name.lower(), text(value or {}, f"{field}.headers[{name}]"))
        for name, value in sorted((stated.get("headers") or {}).items())
    ]
    for name, value in sorted((stated.get("withoutHeaders") or {}).items()):
        unwanted = text(value or {}, f"{field}.withoutHeaders[{name}]")
        headers.append((name.lower(), StringMatch(unwanted.how, unwanted.value, negate=True)))
    headers += [
        (f":{name}", text(stated[name], f"{field}.{name}"))
        for name in ("method", "authority", "scheme")
        if stated.get(name)
    ]
    uri, ignore_case = stated.get("uri"), bool(stated.get("ignoreUriCase"))
    query = sorted((stated.get("queryParams") or {}).items())
    return RequestMatch(
        path=text(uri, f"{field}.uri", ignore_case=ignore_case) if uri else None,
        headers=tuple(headers),
        query=tuple((name, text(value or {}, f"{field}.queryParams[{name}]")) for name, value in query),
    )


def edits(headers: Mapping[str, Any] | None, side: str) -> HeaderEdits:
    """``headers.request`` or ``headers.response``."""
    found = (headers or {}).get(side) or {}
    return HeaderEdits(
        set=tuple(sorted((found.get("set") or {}).items())),
        add=tuple(sorted((found.get("add") or {}).items())),
        remove=tuple(found.get("remove") or ()),
    )


def redirect(stated: Mapping[str, Any] | None) -> Redirect | None:
    """An HTTPRedirect."""
    if stated is None:
        return None
    return Redirect(
        code=stated.get("redirectCode", 301),
        scheme=stated.get("scheme"),
        host=stated.get("authority"),
        port=stated.get("port"),
        path=stated.get("uri"),
        prefix=stated.get("prefixRewrite"),
    )


def direct_response(stated: Mapping[str, Any] | None) -> DirectResponse | None:
    """An HTTPDirectResponse with a body of text."""
    if stated is None:
        return None
    return DirectResponse(stated.get("status", 200), (stated.get("body") or {}).get("string", ""))


def rewrite(stated: Mapping[str, Any] | None, field: str) -> Rewrite | None:
    """An HTTPRewrite."""
    if stated is None:
        return None
    by_regex = stated.get("uriRegexRewrite") or {}
    pattern = regex(by_regex["match"], f"{field}.uriRegexRewrite.match") if "match" in by_regex else None
    return Rewrite(
        prefix=stated.get("uri"),
        regex=(pattern, by_regex.get("rewrite", "")) if pattern else None,
        host=stated.get("authority"),
    )


def retries(stated: Mapping[str, Any] | None, field: str) -> RetryPolicy | None:
    """An HTTPRetry. Without one: two retries of requests that never reached a pod. ``attempts: 0``: none."""
    if stated is None:
        return DEFAULT_RETRIES
    attempts = stated.get("attempts", 2)
    if attempts < 1:
        return None
    words = [word.strip() for word in (stated.get("retryOn") or ",".join(UNSENT)).split(",")]
    per_try = stated.get("perTryTimeout")
    return RetryPolicy(
        attempts=attempts,
        on=tuple(word for word in words if word and not word.isdigit()),
        statuses=tuple(int(word) for word in words if word.isdigit()),
        per_try=seconds(per_try, f"{field}.perTryTimeout") if per_try else 0.0,
    )


def fault(stated: Mapping[str, Any] | None, field: str) -> FaultInjection | None:
    """An HTTPFaultInjection of a fixed delay, an HTTP status, or both."""
    if not stated:
        return None
    delay, abort = stated.get("delay") or {}, stated.get("abort") or {}
    return FaultInjection(
        delay=seconds(delay["fixedDelay"], f"{field}.delay.fixedDelay") if "fixedDelay" in delay else 0.0,
        delay_percent=percent(delay.get("percentage"), float(delay.get("percent", 0))),
        abort_status=abort.get("httpStatus", 0),
        abort_percent=percent(abort.get("percentage"), 0.0),
    )


def percent(stated: Mapping[str, Any] | None, default: float) -> float:
    """A Percent message, 0 to 100."""
    return default if stated is None else float(stated.get("value", 0.0))
