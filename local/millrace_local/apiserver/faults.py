"""Faults on demand, for tests: calls that fail, hang or are cut, and watches that are dropped or stale.

Served at ``/faults`` only by a server started with ``--faults``: ``PUT`` sets the list of rules, ``GET`` shows them
with their counters, ``DELETE`` removes them. ``POST /faults/drop-watches`` cuts all watches now, and
``POST /faults/forget-history`` makes every watch from an earlier resourceVersion answer 410. What ``/faults/access`` is
stands in ``access``.

A rule is an object; what is absent matches everything:

- ``verb``, ``resource``, ``name``, ``userAgent``: regular expressions that must match wholly (``userAgent`` in part);
  ``resource`` is the plural, with the subresource if there is one (``pods``, ``deployments/scale``);
- ``nth``: only the n-th matching call, from 1; ``times``: only that many calls;
- ``action``: ``status`` (respond with ``code`` 403, 409, 429, 500 or 503, and ``retryAfter`` seconds), ``drop`` (cut
  the connection before the request takes effect), ``dropAfter`` (cut it after the request took effect), ``dropWatches``
  (cut all watches, then go on), ``staleWatch`` (delay watch events by ``seconds``, or until the rule is removed),
  ``latency`` (wait ``seconds``, then go on).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from millrace_local.apiserver import access
from millrace_local.apiserver.errors import StatusError, bad_request, no_such_path
from millrace_local.apiserver.request import Request, RequestTarget, Response, Stream, json_response
from millrace_local.apiserver.server import ApiServer
from millrace_local.apiserver.watching import ConnectionCut, Watcher

_ACTIONS = ("status", "drop", "dropAfter", "dropWatches", "staleWatch", "latency")
_REASONS = {
    403: "Forbidden",
    409: "Conflict",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
}
_PATTERNS = ("verb", "resource", "name", "userAgent")
_NUMBERS = ("nth", "times", "code", "retryAfter", "seconds")
_HOLD_POLL_SECONDS = 0.02
_TOO_MANY = 429


@dataclass(eq=False)
class FaultRule:
    """One rule; ``calls`` counts the calls that matched it, ``fired`` how often it acted."""

    given: dict[str, Any]
    action: str
    patterns: dict[str, re.Pattern[str]]
    calls: int = 0
    fired: int = 0
    gone: bool = field(default=False)

    @classmethod
    def of(cls, given: Any) -> FaultRule:
        """Reads a rule.

        Raises:
            StatusError: 400 for a field or value that no rule has.
        """
        if not isinstance(given, dict):
            raise bad_request(f"a fault rule must be an object, got {type(given).__name__}")
        unknown = set(given) - {*_PATTERNS, *_NUMBERS, "action"}
        if unknown:
            raise bad_request(f"unknown fields in a fault rule: {sorted(unknown)}")
        if given.get("action") not in _ACTIONS:
            raise bad_request(f"action: expected one of {', '.join(_ACTIONS)}, got {given.get('action')!r}")
        if given["action"] == "status" and given.get("code") not in _REASONS:
            raise bad_request(f"code: expected one of {sorted(_REASONS)}, got {given.get('code')!r}")
        for name in _NUMBERS:
            if not isinstance(given.get(name, 0), int | float):
                raise bad_request(f"{name}: expected a number, got {given[name]!r}")
        try:
            patterns = {name: re.compile(given[name]) for name in _PATTERNS if given.get(name)}
        except (re.error, TypeError) as error:
            raise bad_request(f"a pattern of a fault rule is no regular expression: {error}") from None
        return cls(given, given["action"], patterns)

    def matches(self, **call: str) -> bool:
        """Whether the rule applies to a call."""
        for name, pattern in self.patterns.items():
            text = call.get(name, "")
            if not (pattern.search(text) if name == "userAgent" else pattern.fullmatch(text)):
                return False
        return True

    def due(self) -> bool:
        """Counts a matching call; returns whether the rule acts on it."""
        self.calls += 1
        nth, times = self.given.get("nth"), self.given.get("times")
        if (nth and self.calls != nth) or (times and self.fired >= times):
            return False
        self.fired += 1
        return True

    def number(self, name: str) -> float:
        """A number of the rule, 0 when absent."""
        return float(self.given.get(name) or 0)


class FaultInjector:
    """The rules in force."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self._access = access.AccessControl(server)
        self._rules: list[FaultRule] = []
        server.hub.hold = self._hold

    def serve(self, request: Request) -> Response:
        """Serves ``/faults``.

        Raises:
            StatusError: 400 for a bad rule, 404 for another method or path.
        """
        if request.path == access.PATH:
            return self._access.serve(request)
        match request.method, request.path:
            case "GET", "/faults":
                pass
            case "PUT", "/faults":
                try:
                    given = orjson.loads(request.body)
                except orjson.JSONDecodeError as error:
                    raise bad_request(f"fault rules are not JSON: {error}") from None
                self._set([FaultRule.of(rule) for rule in (given if isinstance(given, list) else [given])])
            case "DELETE", "/faults":
                self._set([])
            case "POST", "/faults/drop-watches":
                self._server.hub.drop(cut=True)
            case "POST", "/faults/forget-history":
                self._server.store.forget_history()
            case _:
                raise no_such_path()
        shown = [{**rule.given, "calls": rule.calls, "fired": rule.fired} for rule in self._rules]
        return json_response({"rules": shown})

    def _set(self, rules: list[FaultRule]) -> None:
        for rule in self._rules:
            rule.gone = True
        self._rules = rules

    async def around(
        self, request: Request, verb: str, target: RequestTarget, carry_out: Callable[[], Response | Stream]
    ) -> Response | Stream:
        """Carries out a request, with the faults that the rules inject.

        Raises:
            StatusError: the status that a rule asks for.
            ConnectionCut: a rule asks for it.
        """
        self._access.check(request, verb, target)
        call = _call(request, verb, target)
        due = [r for r in self._rules if r.action != "staleWatch" and r.matches(**call) and r.due()]
        for rule in due:
            if rule.action == "latency":
                await asyncio.sleep(rule.number("seconds"))
            elif rule.action == "status":
                raise _status(rule)
            elif rule.action == "drop":
                raise ConnectionCut
            elif rule.action == "dropWatches":
                self._server.hub.drop(cut=True)
        response = carry_out()
        if any(rule.action == "dropAfter" for rule in due):
            if isinstance(response, Stream) and response.on_gone is not None:
                response.on_gone()
            raise ConnectionCut
        return response

    async def _hold(self, resource: str, watcher: Watcher) -> None:
        """Delays the events of a watch as long as a rule says."""
        call = {"verb": "watch", "resource": resource.rpartition("/")[2], "userAgent": watcher.user_agent}
        for rule in self._rules:
            if rule.action == "staleWatch" and rule.matches(**call) and rule.due():
                loop = asyncio.get_running_loop()
                seconds = rule.number("seconds")
                end = loop.time() + seconds if seconds else float("inf")
                while not rule.gone and not watcher.closed and loop.time() < end:  # noqa: ASYNC110 - any may end it
                    await asyncio.sleep(_HOLD_POLL_SECONDS)


def _call(request: Request, verb: str, target: RequestTarget) -> dict[str, str]:
    name = target.name
    if not name and request.method == "POST":
        try:
            name = orjson.loads(request.body).get("metadata", {}).get("name") or ""
        except (orjson.JSONDecodeError, AttributeError):
            name = ""
    resource = target.resource.plural + (f"/{target.subresource}" if target.subresource else "")
    return {"verb": verb, "resource": resource, "name": name, "userAgent": request.user_agent}


def _status(rule: FaultRule) -> StatusError:
    code = int(rule.number("code"))
    headers, details = [], {}
    if code == _TOO_MANY:
        seconds = max(1, int(rule.number("retryAfter")))
        headers, details = [("Retry-After", str(seconds))], {"retryAfterSeconds": seconds}
    return StatusError(code, _REASONS[code], f"fault injected: {code}", details=details, headers=headers)
