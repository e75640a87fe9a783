"""The API server's verbs on JSON objects: the official asynchronous client's transport without its 700 model classes.

A failed call raises, the reconcile ends, and the work queue tries it again later (``RetryError.delay`` carries
Retry-After). Reconciles are idempotent, so that is always right. Only where a connection broke the request is sent once
more at once, since a kept-alive one may have ended just then: every write here is an apply, conditional, or a create
under a name of its own, so one that had taken effect after all does no harm.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Self
from urllib.parse import urlencode

import aiohttp
import orjson
from kubernetes.aio.client import ApiClient, Configuration

from millrace_core.api.names import FIELD_MANAGER
from millrace_kube import connection, errors
from millrace_kube.metrics import KubeMetrics
from millrace_kube.resources import Object, Resource

APPLY: Final = "application/apply-patch+yaml"
MERGE: Final = "application/merge-patch+json"

_PAGE = 500
_TIMEOUT_SECONDS = 30.0
_UNAUTHORIZED = 401
_ERROR = 400


def _may_write() -> None:
    """The fence of a process that needs no leadership."""


class Client:
    """One connection pool to one API server. Use as an asynchronous context manager.

    Args:
        configuration: from ``connection.load``.
        fence: called before every write; raises where this process must not write (see ``lease``).
        reconnect: makes a new configuration after a 401, because a token may have expired; None: never.
    """

    def __init__(
        self,
        configuration: Configuration,
        *,
        metrics: KubeMetrics | None = None,
        fence: Callable[[], None] = _may_write,
        reconnect: Callable[[], Awaitable[Configuration]] | None = None,
        user_agent: str = "millrace-operator",
    ) -> None:
        self.configuration = configuration
        self.fence = fence
        self._metrics = metrics or KubeMetrics()
        self._user_agent = user_agent
        self._reconnect = reconnect
        self._reconnecting = asyncio.Lock()
        self._api = ApiClient(configuration)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._api.close()  # type: ignore[no-untyped-call]

    async def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """The live object, or None where there is none."""
        try:
            return await self.request("GET", resource.path(namespace, name), resource)
        except errors.AbsentError:
            return None

    async def list(self, resource: Resource, *, namespace: str = "", selector: str = "") -> tuple[list[Object], str]:
        """All objects of a collection and the resource version of the list.

        Raises:
            AbsentError: the kind is not served (its CRD is not installed).
        """
        query = {"limit": str(_PAGE)} | ({"labelSelector": selector} if selector else {})
        items: list[Object] = []
        while True:
            page = await self.request("GET", resource.path(namespace), resource, query=query)
            for item in page.get("items") or []:
                items.append({"apiVersion": resource.api_version, "kind": resource.kind, **item})
            query["continue"] = page["metadata"].get("continue", "")
            if not query["continue"]:
                return items, str(page["metadata"].get("resourceVersion", "0"))

    async def create(self, resource: Resource, document: Object) -> Object:
        """Creates an object. Raises AlreadyExistsError where the name is taken."""
        path = resource.path(document["metadata"].get("namespace", ""))
        return await self.request("POST", path, resource, body=document)

    async def replace(self, resource: Resource, document: Object) -> Object:
        """Replaces an object as a whole; its ``metadata.resourceVersion`` must be the live one (else ConflictError)."""
        metadata = document["metadata"]
        path = resource.path(metadata.get("namespace", ""), metadata["name"])
        return await self.request("PUT", path, resource, body=document)

    async def apply(self, resource: Resource, document: Object) -> Object:
        """Server-side apply with field manager ``millrace`` and force."""
        metadata = document["metadata"]
        path = resource.path(metadata.get("namespace", ""), metadata["name"])
        return await self.request("PATCH", path, resource, body=document, content_type=APPLY, query={"force": "true"})

    async def merge(
        self, resource: Resource, namespace: str, name: str, patch: Object, *, subresource: str = ""
    ) -> Object:
        """JSON merge patch; with ``metadata.resourceVersion`` in it the write is conditional (else ConflictError)."""
        path = resource.path(namespace, name, subresource)
        return await self.request("PATCH", path, resource, body=patch, content_type=MERGE)

    async def delete(
        self, resource: Resource, namespace: str, name: str, *, propagation: str = "Background", uid: str = ""
    ) -> bool:
        """Deletes an object (only the one with ``uid``, where given); False where there was none."""
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        if uid:
            options["preconditions"] = {"uid": uid}
        try:
            await self.request("DELETE", resource.path(namespace, name), resource, body=options)
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
        resource: Resource,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
    ) -> Object:
        """One request; the parsed answer.

        Raises:
            ApiError, RefusedError: see ``errors``; LostLeadershipError: the fence is down, nothing was sent.
        """
        parameters = dict(query or {})
        if method != "GET":
            self.fence()
            if method != "DELETE":
                parameters["fieldManager"] = FIELD_MANAGER
        what, used = f"{method} {path}", self.configuration
        try:
            try:
                status, headers, text = await self._send(method, path, parameters, body, content_type)
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                if method != "GET":
                    self.fence()
                status, headers, text = await self._send(method, path, parameters, body, content_type)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._metrics.requests.labels(method, resource.kind, "0").inc()
            raise errors.ApiError(f"{what}: {error or type(error).__name__}", status=0) from error
        self._metrics.requests.labels(method, resource.kind, str(status)).inc()
        if status == _UNAUTHORIZED:
            await self._renew(used)
        if status >= _ERROR:
            raise _error(status, what, headers, text)
        document: Object = orjson.loads(text) if text else {}
        return document

    async def _send(
        self, method: str, path: str, query: Mapping[str, str], body: Object | None, content_type: str
    ) -> tuple[int, Mapping[str, str], bytes]:
        headers = {"Accept": "application/json", "Content-Type": content_type, "User-Agent": self._user_agent}
        bearer = await connection.token(self.configuration)
        if bearer:
            headers["authorization"] = f"Bearer {bearer}"
        url = self.configuration.host + path + ("?" + urlencode(query) if query else "")
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            rest = self._api.rest_client
            answer = await rest.request(method, url, headers=headers, body=body)  # type: ignore[no-untyped-call]
            return answer.status, answer.headers, await answer.read()

    async def _renew(self, used: Configuration) -> None:
        """Reconnects for the next try, once however many requests were refused."""
        async with self._reconnecting:
            if self._reconnect is not None and self.configuration is used:
                self.configuration = await self._reconnect()
                old, self._api = self._api, ApiClient(self.configuration)
                await old.close()  # type: ignore[no-untyped-call]


def _error(status: int, what: str, headers: Mapping[str, str], text: bytes) -> Exception:
    try:
        answer = orjson.loads(text)
        message, reason = str(answer.get("message", "")), str(answer.get("reason", ""))
    except (orjson.JSONDecodeError, AttributeError):
        message, reason = text[:200].decode("utf-8", "replace"), ""
    try:
        retry_after = float(headers.get("Retry-After", 0))
    except ValueError:
        retry_after = 0.0
    return errors.of(status, what, message, reason, retry_after)
