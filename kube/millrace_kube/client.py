"""The API server's verbs on JSON objects.

A failed call raises (see ``errors``) and is not tried again here: reconciles are idempotent, so the work queue does
that, after Retry-After at the earliest. Only where a connection broke the request is sent once more at once, since a
kept-alive one may have ended just then: every write here is an apply, conditional, repeatable, or a create under a name
of its own, so one that had taken effect after all does no harm.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Self

import aiohttp
import orjson

from millrace_core.api.names import FIELD_MANAGER
from millrace_kube import errors
from millrace_kube.connection import CONNECT_SECONDS, Connection
from millrace_kube.resources import Object, Resource
from millrace_kube.uncounted import UNCOUNTED

if TYPE_CHECKING:
    from millrace_kube.metrics import KubeMetrics

PAGE: Final = 500
# A watch that says nothing for so long (bookmarks come every minute or sooner) is taken for dead.
SILENCE_SECONDS: Final = 90.0

_JSON: Final = "application/json"
_MERGE: Final = "application/merge-patch+json"
_APPLY: Final = "application/apply-patch+yaml"
_UNAUTHORIZED: Final = 401
_ERROR: Final = 400


def _may_write() -> None:
    """The fence of a process that needs no leadership."""


class Client:
    """One connection pool to one API server. Use as an asynchronous context manager.

    Args:
        connection: see ``connection``.
        fence: called before every write; raises where this process must not write (see ``lease``).
        reconnect: makes a new connection after a 401, because a token may have expired; None: never.
        user_agent: who we are in the server's logs; ``field_manager``: whose the fields are that we write.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        metrics: KubeMetrics | None = None,
        fence: Callable[[], None] = _may_write,
        reconnect: Callable[[], Awaitable[Connection]] | None = None,
        user_agent: str = "millrace-operator",
        field_manager: str = FIELD_MANAGER,
    ) -> None:
        self.connection = connection
        self.fence = fence
        self._metrics: KubeMetrics = metrics or UNCOUNTED
        self._headers = {"Accept": "application/json", "User-Agent": user_agent}
        self._field_manager = field_manager
        self._reconnect = reconnect
        self._reconnecting = asyncio.Lock()
        self._session = connection.session(self._headers)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """The live object, or None where there is none; ``namespace`` is "" for cluster-scoped kinds."""
        try:
            return await self.request("GET", resource.path(namespace, name), kind=resource.kind)
        except errors.AbsentError:
            return None

    async def list(
        self, resource: Resource, namespace: str = "", *, labels: str = "", fields: str = ""
    ) -> tuple[list[Object], str]:
        """All objects of a collection, in pages, and the resource version to watch from.

        A server that forgets a list while its pages are read (etcd is compacted) is asked for the whole of it at once:
        pages that came too late would come too late again.

        Raises:
            AbsentError: the kind is not served (its CRD is not installed).
        """
        selected = _query(labelSelector=labels, fieldSelector=fields)
        query = {**selected, "limit": str(PAGE)}
        items: list[Object] = []
        while True:
            try:
                page = await self.request("GET", resource.path(namespace), kind=resource.kind, query=query)
            except errors.ExpiredError:
                if "limit" not in query:
                    raise
                items, query = [], selected
                continue
            if "items" not in page:  # taken for an empty list it would empty a cache
                raise errors.UnavailableError(f"GET {resource.path(namespace)}: the answer is no list: no items in it")
            items += [resource.typed(item) for item in page["items"] or []]
            metadata = page.get("metadata") or {}
            if not metadata.get("continue"):
                return items, str(metadata.get("resourceVersion", ""))
            query["continue"] = metadata["continue"]

    async def create(self, resource: Resource, document: Object) -> Object:
        """Creates an object. Raises AlreadyExistsError where the name is taken."""
        path = resource.path(document["metadata"].get("namespace", ""))
        return await self.request("POST", path, kind=resource.kind, body=resource.typed(document))

    async def replace(self, resource: Resource, document: Object) -> Object:
        """Replaces an object as a whole; its ``metadata.resourceVersion`` must be the live one (else ConflictError)."""
        metadata = document["metadata"]
        path = resource.path(metadata.get("namespace", ""), metadata["name"])
        return await self.request("PUT", path, kind=resource.kind, body=document)

    async def apply(self, resource: Resource, document: Object) -> Object:
        """Server-side apply by this client's field manager, with force."""
        metadata = document["metadata"]
        path = resource.path(metadata.get("namespace", ""), metadata["name"])
        force = {"force": "true"}
        return await self.request("PATCH", path, kind=resource.kind, body=document, query=force, content_type=_APPLY)

    async def patch(
        self, resource: Resource, namespace: str, name: str, body: Object, *, subresource: str = ""
    ) -> Object:
        """JSON merge patch; with ``metadata.resourceVersion`` in it the write is conditional (else ConflictError)."""
        path = resource.path(namespace, name, subresource)
        return await self.request("PATCH", path, kind=resource.kind, body=body, content_type=_MERGE)

    async def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        *,
        uid: str = "",
        propagation: str = "Background",
        grace: int | None = None,
    ) -> bool:
        """Deletes an object; False where there was none.

        Args:
            uid: delete only the object with this uid.
            propagation: Background, Foreground or Orphan.
            grace: seconds that a pod has to end; None: as its spec says.

        Raises:
            ConflictError: the object is still there, and the server would not delete it now.
        """
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        if uid:
            options["preconditions"] = {"uid": uid}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        try:
            await self.request("DELETE", resource.path(namespace, name), kind=resource.kind, body=options)
        except errors.AbsentError:
            return False
        except errors.ConflictError:
            found = await self.get(resource, namespace, name)
            if found is None or (uid and found["metadata"]["uid"] != uid):
                return False  # another object of this name: ours is gone
            raise
        return True

    async def request(
        self,
        method: str,
        path: str,
        *,
        kind: str = "",
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = _JSON,
    ) -> Object:
        """One request; the parsed answer.

        Args:
            kind: of the objects, for the metrics.

        Raises:
            ApiError: see ``errors``. LostLeadershipError: the fence is down, nothing was sent.
        """
        parameters = dict(query or {})
        if method in ("POST", "PUT", "PATCH"):
            parameters["fieldManager"] = self._field_manager
        data = orjson.dumps(body) if body is not None else None
        what, used = f"{method} {path}", self.connection
        try:
            try:
                status, headers, content = await self._send(method, path, parameters, data, content_type)
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                status, headers, content = await self._send(method, path, parameters, data, content_type)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._metrics.requests.labels(method, kind, "0").inc()
            raise errors.UnavailableError(f"{what}: {error or type(error).__name__}") from error
        self._metrics.requests.labels(method, kind, str(status)).inc()
        if status >= _ERROR:
            await self._refused(status, used)
            raise _error(status, what, headers, content)
        return _object(what, status, content)

    async def watch(
        self,
        resource: Resource,
        version: str,
        *,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        seconds: int = 300,
    ) -> AsyncGenerator[tuple[str, Object]]:
        """Event types and objects from resource version ``version`` on, until the server ends the watch.

        Raises:
            ExpiredError: ``version`` is too old (as a status or within the stream), or nothing comes, as from a server
                that was set back to before it. UnavailableError: the stream broke.
        """
        query = _query(labelSelector=labels, fieldSelector=fields, resourceVersion=version)
        query |= {"watch": "1", "allowWatchBookmarks": "true", "timeoutSeconds": str(seconds)}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS)
        path, used = resource.path(namespace), self.connection
        what = f"watch {path}"
        try:
            async with self._session.get(
                used.server + path, params=query, headers=used.authorization(), timeout=timeout
            ) as response:
                if response.status >= _ERROR:
                    content = await response.read()
                    await self._refused(response.status, used)
                    raise _error(response.status, what, response.headers, content)
                async for line in _lines(response.content):
                    kind, found = _event(line, what)
                    yield kind, resource.typed(found)
        except aiohttp.SocketTimeoutError as error:
            raise errors.ExpiredError(f"{what}: silent for {SILENCE_SECONDS:g} s") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise errors.UnavailableError(f"{what}: {error or type(error).__name__}") from error

    async def _send(
        self, method: str, path: str, query: Mapping[str, str], data: bytes | None, content_type: str
    ) -> tuple[int, Mapping[str, str], bytes]:
        if method != "GET":
            self.fence()
        headers = {**self.connection.authorization(), "Content-Type": content_type}
        url = self.connection.server + path
        async with self._session.request(method, url, params=query, data=data, headers=headers) as response:
            return response.status, response.headers, await response.read()

    async def _refused(self, status: int, used: Connection) -> None:
        """After a 401 connects anew for the next try, once however many requests were refused."""
        if status != _UNAUTHORIZED or self._reconnect is None:
            return
        async with self._reconnecting:
            if self.connection is used:
                self.connection = await self._reconnect()
                old, self._session = self._session, self.connection.session(self._headers)
                await old.close()


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Splits the stream at newlines; unlike readline it takes lines of any length. A cut last line is dropped."""
    parts: list[bytes] = []
    async for chunk in content.iter_any():
        first, *others = chunk.split(b"\n")
        parts.append(first)
        if others:
            for line in (b"".join(parts), *others[:-1]):
                if line:
                    yield line
            parts = [others[-1]]


def _event(line: bytes, what: str) -> tuple[str, Object]:
    try:
        event = orjson.loads(line)
        kind, found = str(event["type"]), event["object"]
        if kind == "ERROR":
            message, reason = str(found.get("message", "")), str(found.get("reason", ""))
            raise errors.of(int(found.get("code") or 0), what, message, reason)
        found["metadata"]["resourceVersion"]
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise errors.UnavailableError(f"{what}: no event of a watch: {line[:80]!r}") from error
    return kind, found


def _object(what: str, status: int, content: bytes) -> Object:
    """The object of an answer that was success. A proxy's page is none: the API server is not there just now."""
    with suppress(orjson.JSONDecodeError):
        answer = orjson.loads(content)
        if isinstance(answer, dict):
            return answer
    raise errors.UnavailableError(f"{what}: the answer is no JSON object: {content[:80]!r}", status=status)


def _error(status: int, what: str, headers: Mapping[str, str], content: bytes) -> errors.ApiError:
    try:
        answer = orjson.loads(content)
        message, reason = str(answer.get("message", "")), str(answer.get("reason", ""))
    except (orjson.JSONDecodeError, AttributeError):
        message, reason = content[:200].decode("utf-8", "replace"), ""
    delay = headers.get("Retry-After", "")
    return errors.of(status, what, message, reason, float(delay) if delay.isdigit() else 0.0)


def _query(**values: str) -> dict[str, str]:
    return {name: value for name, value in values.items() if value}
