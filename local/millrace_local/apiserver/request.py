"""HTTP requests, what they are about, and the two forms of a response."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import orjson

from millrace_local.apiserver.errors import bad_request
from millrace_local.apiserver.resources import ApiResource

JSON = b"application/json"


@dataclass(slots=True)
class Request:
    """A request whose body has been read."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes = b""

    def flag(self, name: str) -> bool:
        """A boolean query parameter: false if absent, true if present without a value."""
        return name in self.query and self.query[name].lower() in ("", "1", "t", "true")

    def number(self, name: str) -> int | None:
        """An integer query parameter.

        Raises:
            StatusError: 400 when it is no integer.
        """
        text = self.query.get(name, "")
        if not text:
            return None
        try:
            return int(text)
        except ValueError:
            raise bad_request(f'query parameter {name}: expected an integer, got "{text}"') from None

    @property
    def media_type(self) -> str:
        """The body's media type without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def user_agent(self) -> str:
        """The whole User-Agent header."""
        return self.headers.get("user-agent", "")


def parse_query(text: bytes) -> dict[str, str]:
    """The query parameters; of a repeated one the first value counts, as in Kubernetes."""
    if not text:
        return {}
    found: dict[str, str] = {}
    for name, value in parse_qsl(text.decode("latin-1"), keep_blank_values=True):
        found.setdefault(name, value)
    return found


@dataclass(frozen=True, slots=True)
class RequestTarget:
    """The resource, and the namespace, object and subresource, that a path names."""

    resource: ApiResource
    namespace: str = ""
    name: str = ""
    subresource: str = ""


@dataclass(slots=True)
class Response:
    """A response whose body is known as a whole."""

    body: bytes
    status: int = 200
    content_type: bytes = JSON
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)


@dataclass(slots=True)
class Stream:
    """A response that is sent piece by piece until it ends or the client leaves."""

    pieces: AsyncGenerator[bytes, None]
    content_type: bytes = JSON
    status: int = 200
    on_gone: Callable[[], None] | None = None


def json_response(document: Any, status: int = 200) -> Response:
    """A JSON document as a response."""
    return Response(orjson.dumps(document), status)
