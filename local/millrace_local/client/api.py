"""Requests to a Kubernetes API server: JSON in and out, errors as ``ApiError`` by status."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Literal, Self

import aiohttp
import orjson

from millrace_core.base.errors import RetryError
from millrace_kube.resources import Object, Resource
from millrace_local.client.config import Connection

PAGE = 500
REQUEST_SECONDS = 30.0
# A watch that says nothing for so long (bookmarks come every minute or sooner) is taken for dead and resumed.
SILENCE_SECONDS = 90.0

PatchKind = Literal["merge", "json", "strategic", "apply"]
_PATCH_TYPES: Mapping[PatchKind, str] = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}


class ApiError(RetryError):
    """The API server refused or could not be reached; ``status`` is the HTTP status, 0 for no answer."""

    reason = "ApiError"

    def __init__(self, message: str, *, status: int = 0, reason: str = "", delay: float = 0.0) -> None:
        super().__init__(message, reason=reason, delay=delay)
        self.status = status

    @property
    def is_missing(self) -> bool:
        """The object (or the whole resource) does not exist."""
        return self.status == 404  # noqa: PLR2004 - statuses are best known by number

    @property
    def is_conflict(self) -> bool:
        """Somebody else wrote in between, or the name is taken (``reason`` is AlreadyExists)."""
        return self.status == 409  # noqa: PLR2004

    @property
    def is_gone(self) -> bool:
        """The resource version is too old, or newer than a server that was set back; list again."""
        return self.status == 410 or "Too large resource version" in self.message  # noqa: PLR2004


class Client:
    """One connection pool to one API server. An asynchronous context manager."""

    def __init__(self, connection: Connection, *, field_manager: str = "millrace-agent") -> None:
        self.connection = connection
        self._manager = field_manager
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        # trust_env stays off: http_proxy is for the pods' traffic, never for the way to the API server.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self.connection.tls or True, limit=0, keepalive_timeout=60),
            timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS, sock_connect=10),
            headers={"User-Agent": self._manager, "Accept": "application/json"},
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, resource: Resource, namespace: str, name: str) -> Object:
        """Reads one object; ``namespace`` is "" for cluster-wide kinds."""
        return await self.request("GET", resource.path(namespace, name))

    async def list(
        self, resource: Resource, namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> tuple[list[Object], str]:
        """Reads all objects in pages; returns them with the resource version to watch from."""
        items: list[Object] = []
        query = _query(limit=str(PAGE), labelSelector=labels, fieldSelector=fields)
        while True:
            page = await self.request("GET", resource.path(namespace), query=query)
            items += [resource.typed(item) for item in page.get("items") or []]
            metadata = page.get("metadata") or {}
            if not metadata.get("continue"):
                return items, metadata.get("resourceVersion", "")
            query["continue"] = metadata["continue"]

    async def create(self, resource: Resource, namespace: str, body: Object, subresource: str = "") -> Object:
        """Creates an object, or posts to the named object's subresource (``binding``, ``token``)."""
        name = body["metadata"]["name"] if subresource else ""
        path = resource.path(namespace, name, subresource)
        typed = {"apiVersion": resource.api_version, "kind": resource.kind, **body}
        return await self.request("POST", path, body=typed, query={"fieldManager": self._manager})

    async def patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        body: Any,
        *,
        kind: PatchKind = "merge",
        subresource: str = "",
        force: bool = False,
    ) -> Object:
        """Patches one object; ``force`` takes over fields of others and belongs to ``apply`` only."""
        query = _query(fieldManager=self._manager, force="true" if force else "")
        path = resource.path(namespace, name, subresource)
        return await self.request("PATCH", path, body=body, query=query, content_type=_PATCH_TYPES[kind])

    async def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        *,
        uid: str = "",
        grace: int | None = None,
        propagation: str = "",
    ) -> None:
        """Deletes one object (with this ``uid`` only, if given); ``grace`` in seconds. Already gone is success."""
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if uid:
            options["preconditions"] = {"uid": uid}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        if propagation:
            options["propagationPolicy"] = propagation
        try:
            await self.request("DELETE", resource.path(namespace, name), body=options)
        except ApiError as error:
            if not error.is_missing and not (uid and error.is_conflict):
                raise

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Object:
        """Makes one request and returns the JSON of its answer.

        Raises:
            ApiError: the server answered with an error status, or not at all (status 0).
        """
        headers = {**self.connection.authorization(), "Content-Type": content_type}
        data = orjson.dumps(body) if body is not None else None
        try:
            async with self._open().request(
                method, self.connection.server + path, data=data, params=query, headers=headers
            ) as response:
                content = await response.read()
                if not response.ok:
                    raise _refusal(response, content)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ApiError(f"{method} {path}: {error or type(error).__name__}") from error
        answer = orjson.loads(content) if content else {}
        return answer if isinstance(answer, dict) else {"value": answer}

    async def watch(
        self,
        resource: Resource,
        namespace: str = "",
        *,
        version: str,
        labels: str = "",
        fields: str = "",
        seconds: int = 300,
    ) -> AsyncIterator[Object]:
        """Yields watch events from resource version ``version`` on, until the server ends the watch.

        Raises:
            ApiError: 410 when ``version`` is too old (as a status or within the stream); 0 when the stream broke.
        """
        query = _query(labelSelector=labels, fieldSelector=fields, resourceVersion=version)
        query |= {"watch": "1", "allowWatchBookmarks": "true", "timeoutSeconds": str(seconds)}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=SILENCE_SECONDS)
        path = resource.path(namespace)
        try:
            async with self._open().get(
                self.connection.server + path,
                params=query,
                headers=self.connection.authorization(),
                timeout=timeout,
            ) as response:
                if not response.ok:
                    raise _refusal(response, await response.read())
                async for line in _lines(response.content):
                    event = _event(line)
                    yield event
        except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError, OSError) as error:
            raise ApiError(f"watch {path}: {error or type(error).__name__}") from error

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise ApiError("the client is not open; use `async with Client(...)`")
        return self._session


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Splits the stream at newlines; unlike readline it takes lines of any length. A cut last line is dropped."""
    rest = b""
    async for chunk in content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line:
                yield line


def _event(line: bytes) -> Object:
    try:
        event: Object = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise ApiError(f"watch: not JSON: {line[:80]!r}") from error
    if event.get("type") == "ERROR":
        status = event.get("object") or {}
        code = int(status.get("code") or 0)
        raise ApiError(str(status.get("message", "")), status=code, reason=status.get("reason", ""))
    return event


def _refusal(response: aiohttp.ClientResponse, content: bytes) -> ApiError:
    try:
        status = orjson.loads(content)
    except orjson.JSONDecodeError:
        status = {}
    if not isinstance(status, dict):
        status = {}
    message = str(status.get("message") or content[:200].decode(errors="replace") or response.reason)
    retry_after = response.headers.get("Retry-After", "")
    delay = float(retry_after) if retry_after.isdigit() else 0.0
    where = f"{response.method} {response.url.path}: {response.status}"
    return ApiError(f"{where}: {message}", status=response.status, reason=str(status.get("reason", "")), delay=delay)


def _query(**values: str) -> dict[str, str]:
    return {name: value for name, value in values.items() if value}
