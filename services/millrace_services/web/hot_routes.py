"""Which hot route a request is for: one of an exact path, or one of all that begin so."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple
from urllib.parse import unquote

from starlette.types import Scope

from millrace_core.base.errors import MillraceError
from millrace_services.web.hot import Gate, Handler

Full = Callable[[], MillraceError | None]


class Route(NamedTuple):
    """A hot route: ``label`` in metrics, the ``gate`` that is asked while a body is read, its part of ASGI's scope.

    The handler of an ``open`` one judges callers itself. ``full`` says of a request that is there whole why it is
    refused unread, if it is.
    """

    handler: Handler
    label: str
    gate: Gate | None
    scope: dict[str, Any]
    open: bool = False
    full: Full | None = None


class HotRoutes:
    """The hot routes of a service."""

    def __init__(self) -> None:
        self._exact: dict[tuple[str, str], Route] = {}
        self._methods: dict[str, list[str]] = {}  # by path
        self._direct: dict[tuple[bytes, bytes], Route] = {}
        self._below: dict[bytes, Handler] = {}
        self._prefixes: tuple[bytes, ...] = ()

    def add(self, method: str, path: str, handler: Handler, label: str, gate: Gate | None, full: Full | None) -> None:
        """One of an exact path."""
        scope = {"method": method, "path": path, "raw_path": path.encode(), "query_string": b""}
        made = self._exact[method, path] = Route(handler, label, gate, scope, full=full)
        if method not in (methods := self._methods.setdefault(path, [])):
            methods.append(method)
        if gate is None:
            self._direct[method.encode(), path.encode()] = made

    def add_below(self, prefix: str, handler: Handler) -> None:
        """An open one of all paths that begin so, by whatever method."""
        self._below[prefix.encode()] = handler
        self._prefixes = tuple(self._below)

    def direct(self, method: bytes, url: bytes) -> Route | None:
        """The route of a request as it came over the wire; None where it has a gate, or there is none."""
        found = self._direct.get((method, url))
        return self._found_below(method, url) if found is None and url.startswith(self._prefixes) else found

    def of(self, scope: Scope) -> Route | None:
        """The route of a request; None where there is none."""
        found = self._exact.get((scope["method"], scope["path"]))
        if found is not None or not self._prefixes:
            return found
        return self._found_below(scope["method"].encode(), scope["raw_path"])

    def methods(self, path: str) -> list[str]:
        """Those that an exact path has."""
        return self._methods.get(path, [])

    def served(self) -> Iterable[tuple[str, str]]:
        """Each as path and method, for people."""
        yield from ((path, method) for path, methods in self._methods.items() for method in methods)
        yield from ((prefix.decode(), "*") for prefix in self._below)

    def _found_below(self, method: bytes, url: bytes) -> Route | None:
        for prefix, handler in self._below.items():
            if url.startswith(prefix):
                path, _, query = url.partition(b"?")
                scope = {"method": method.decode(), "path": unquote(path.decode("latin-1"), errors="replace")}
                return Route(
                    handler, prefix.decode(), None, {**scope, "raw_path": path, "query_string": query}, open=True
                )
        return None
