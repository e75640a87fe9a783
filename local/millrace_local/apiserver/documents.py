"""Paths that name no object: discovery, version, health and the OpenAPI documents."""

from __future__ import annotations

from typing import Any

import orjson

from millrace_local.apiserver import discovery
from millrace_local.apiserver.openapi import (
    MEDIA_TYPE,
    v2_document,
    v2_protobuf,
    v3_document,
    v3_index,
    wants_protobuf,
)
from millrace_local.apiserver.request import JSON, Request, Response
from millrace_local.apiserver.server import ApiServer

_PATHS = ("/api", "/api/v1", "/apis", "/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz", "/version")


_FIXED = {"/": {"paths": list(_PATHS)}, "/api": discovery.api_versions(), "/version": discovery.VERSION}


class Documents:
    """Serves paths that name no resource; documents are cached until the resources change."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self._cache: dict[tuple[str, bool], bytes] = {}
        self._generation = -1

    def find(self, request: Request) -> Response | None:
        """The response for a path, ``None`` where it names no document."""
        if request.method not in ("GET", "HEAD"):
            return None
        path = request.path.rstrip("/") or "/"
        if path in ("/healthz", "/livez", "/readyz") or path.startswith(("/healthz/", "/livez/", "/readyz/")):
            return Response(b"ok", content_type=b"text/plain; charset=utf-8")
        registry = self._server.registry
        if registry.generation != self._generation:
            self._cache.clear()
            self._generation = registry.generation
        if path == "/openapi/v2" and wants_protobuf(request.headers.get("accept", "")):
            return self._protobuf()
        aggregated = path in ("/api", "/apis") and discovery.wants_aggregated(request)
        body = self._cache.get((path, aggregated))
        if body is None:
            document = self._document(path, aggregated=aggregated)
            if document is None:
                return None
            body = self._cache[(path, aggregated)] = orjson.dumps(document)
        return Response(body, content_type=discovery.AGGREGATED_TYPE if aggregated else JSON)

    def _protobuf(self) -> Response:
        """OpenAPI 2 for kubectl before 1.27, which reads no JSON. Cached apart from the aggregated documents."""
        body = self._cache.get(("/openapi/v2", True))
        if body is None:
            body = self._cache[("/openapi/v2", True)] = v2_protobuf(v2_document(self._definitions()))
        return Response(body, content_type=MEDIA_TYPE.encode())

    def _document(self, path: str, *, aggregated: bool) -> dict[str, Any] | None:
        registry = self._server.registry
        match path.strip("/").split("/"):
            case ["openapi", version, *rest]:
                return self._open_api(version, "/".join(rest))
            case ["api" | "apis" as root] if aggregated:
                return discovery.aggregated(registry, core=root == "api")
            case ["apis", group]:
                return discovery.group(registry, group)
            case ["api", version]:
                return discovery.resource_list(registry, "", version)
            case ["apis", group, version]:
                return discovery.resource_list(registry, group, version)
        return discovery.group_list(registry) if path == "/apis" else _FIXED.get(path)

    def _open_api(self, version: str, path: str) -> dict[str, Any] | None:
        definitions = self._definitions()
        if version == "v3":
            return v3_document(path, definitions) if path else v3_index(definitions)
        return v2_document(definitions) if (version, path) == ("v2", "") else None

    def _definitions(self) -> list[dict[str, Any]]:
        return list(self._server.registry.definitions.values())
