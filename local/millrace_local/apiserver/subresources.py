"""Subresources other than status: scale, binding, eviction, log and finalize."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from millrace_local.apiserver import logs, pods
from millrace_local.apiserver.decoding import decode_as, decode_object
from millrace_local.apiserver.errors import invalid, method_not_allowed, not_found
from millrace_local.apiserver.options import WriteOptions
from millrace_local.apiserver.patching import change_of
from millrace_local.apiserver.representations import Representation
from millrace_local.apiserver.request import Request, RequestTarget, Response, Stream, json_response
from millrace_local.apiserver.resources import NAMESPACES, PODS
from millrace_local.apiserver.scale import patched, scale_of, stated, with_scale
from millrace_local.apiserver.server import ApiServer
from millrace_local.apiserver.versions import served_object

_TEXT = b"text/plain"


def serve(verb: str, request: Request, target: RequestTarget, server: ApiServer) -> Response | Stream:
    """The response to a request on a subresource.

    Raises:
        StatusError: 405 for a verb that the subresource does not know.
    """
    match target.subresource, verb:
        case "scale", "get":
            return json_response(stated(_object(target, server), target.resource))
        case "scale", "update" | "patch":
            return _scale(verb, request, target, server)
        case "log", "get":
            return _log(request, target, server)
        case "binding", "create":
            return pods.bind(request, target, server)
        case "eviction", "create":
            return pods.evict(request, target, server)
        case "finalize", "update":
            return _finalize(request, target, server)
    raise method_not_allowed(f"{target.resource.plural}/{target.subresource}", target.resource.group, verb)


def _object(target: RequestTarget, server: ApiServer) -> dict[str, Any]:
    resource = target.resource
    entry = server.store.get(resource.storage, target.namespace, target.name)
    if entry is None:
        raise not_found(resource.plural, resource.group, target.name)
    return served_object(entry, resource)


def _scale(verb: str, request: Request, target: RequestTarget, server: ApiServer) -> Response:
    resource = target.resource
    if verb == "patch":
        wanted = change_of(request, target, server.scale_schema())
    else:
        sent = decode_object(request)

        def wanted(_: dict[str, Any]) -> dict[str, Any]:
            return sent

    def change(current: dict[str, Any]) -> dict[str, Any]:
        scale = patched(current, wanted, resource) if verb == "patch" else wanted(scale_of(current, resource))
        server.scale_schema().default(scale)
        if errors := server.scale_schema().validate(scale):
            raise invalid("Scale", "autoscaling", target.name, errors)
        return with_scale(current, scale, resource)

    written = server.writer.update(target, change, WriteOptions.of(request))
    return json_response(scale_of(served_object(written.entry, resource), resource))


def _finalize(request: Request, target: RequestTarget, server: ApiServer) -> Response:
    sent = decode_as(request, "", "v1", "Namespace")

    def change(namespace: dict[str, Any]) -> dict[str, Any]:
        namespace["spec"] = {
            **namespace.get("spec", {}),
            "finalizers": (sent.get("spec") or {}).get("finalizers") or [],
        }
        return namespace

    server.store.get(NAMESPACES, "", target.name)
    written = server.writer.update(target, change, WriteOptions.of(request))
    return Response(Representation(target.resource).one(written.entry))


def _log(request: Request, target: RequestTarget, server: ApiServer) -> Stream:
    options = logs.LogOptions.of(request, datetime.now(UTC))
    container, file = logs.log_file(_object(target, server), options, server.pods)
    gone = asyncio.Event()

    def over() -> bool:
        entry = server.store.get(PODS, target.namespace, target.name)
        return logs.ended(None if entry is None else entry.object(), container)

    return Stream(logs.read(file, options, over, gone), content_type=_TEXT, on_gone=gone.set)
