"""W3C trace context and request ids: taken from the request, put into logs and into calls to others.

Format: https://www.w3.org/TR/trace-context/ (``00-<trace id, 32 hex>-<span id, 16 hex>-<flags>``). Ids are
parsed or made only when somebody asks for them, because most requests neither log nor call anyone. Where spans are
recorded (``tracing``), the ids are those of the request's span.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from typing import Any, NamedTuple, cast

Scope = MutableMapping[str, Any]
# What a span or a line of the log says beside its name.
Attributes = Mapping[str, str | int | float | bool]

_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_KEY = "millrace.trace"
_current: ContextVar[Scope | None] = ContextVar("millrace_request", default=None)


class Trace(NamedTuple):
    """One request's place in a trace: ``span_id`` is this server's own, a child of the caller's.

    Attributes:
        parent_id: the caller's span; empty: the trace begins here.
    """

    trace_id: str
    span_id: str
    flags: str
    state: str
    request_id: str
    parent_id: str = ""


def enter(scope: Scope) -> None:
    """Makes an ASGI scope the current request of this task."""
    _current.set(scope)


def current() -> Trace:
    """The current request's trace; outside any request, a new one."""
    scope = _current.get()
    if scope is None:
        return of([])
    found = scope.get(_KEY)
    if found is None:
        found = scope[_KEY] = of(scope["headers"])
    return cast(Trace, found)


def current_scope() -> Scope | None:
    """The current request; None outside any."""
    return _current.get()


def set_place(scope: Scope, place: Trace) -> None:
    """Says which span the request is at."""
    scope[_KEY] = place


def active() -> bool:
    """Whether the present task works for a request."""
    return _current.get() is not None


def given_request_id(headers: list[tuple[bytes, bytes]]) -> bytes | None:
    """The caller's ``x-request-id``, if it sent one that is safe to repeat."""
    for name, value in headers:
        if name == b"x-request-id":
            return value if _REQUEST_ID.fullmatch(value) else None
    return None


def outgoing() -> dict[str, str]:
    """Headers that carry the current trace to another service."""
    now = current()
    headers = {
        "traceparent": f"00-{now.trace_id}-{now.span_id}-{now.flags}",
        "x-request-id": now.request_id,
    }
    if now.state:
        headers["tracestate"] = now.state
    return headers


def of(headers: list[tuple[bytes, bytes]]) -> Trace:
    """The place that a request's headers give it: in its caller's trace, or in one that begins here."""
    wanted = {name: value for name, value in headers if name in (b"traceparent", b"tracestate")}
    parsed = _parse(wanted.get(b"traceparent", b""))
    trace_id, parent_id, flags = parsed or (_hex(128), "", "00")
    state = wanted.get(b"tracestate", b"").decode("latin-1") if parsed else ""
    given = given_request_id(headers)
    return Trace(trace_id, _hex(64), flags, state, given.decode() if given else trace_id, parent_id)


def _parse(value: bytes) -> tuple[str, str, str] | None:
    match = _TRACEPARENT.fullmatch(value)
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    if version == b"ff" or (version == b"00" and more) or not int(trace_id, 16) or not int(span_id, 16):
        return None
    return trace_id.decode(), span_id.decode(), flags.decode()


def _hex(bits: int) -> str:
    return f"{random.getrandbits(bits) or 1:0{bits // 4}x}"
