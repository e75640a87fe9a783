"""Verbs on objects: from a request and its target to the response."""

from __future__ import annotations

from collections.abc import Callable

import orjson

from millrace_local.apiserver import pods, reviews, subresources
from millrace_local.apiserver.decoding import decode_as, decode_object
from millrace_local.apiserver.deletion import DeleteOptions
from millrace_local.apiserver.errors import method_not_allowed, no_such_path, not_found, success
from millrace_local.apiserver.negotiation import representation_of
from millrace_local.apiserver.options import WriteOptions
from millrace_local.apiserver.patching import patch
from millrace_local.apiserver.request import Request, RequestTarget, Response, Stream, json_response
from millrace_local.apiserver.resources import PODS
from millrace_local.apiserver.selectors import matcher
from millrace_local.apiserver.server import ApiServer
from millrace_local.apiserver.writes import WriteResult

_STATUS_VERBS = ("get", "patch", "update")


class Objects:
    """Dispatches each verb to what carries it out."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server

    def carry_out(self, verb: str, request: Request, target: RequestTarget) -> Response | Stream:
        """The response to a request.

        Raises:
            StatusError: the request is refused.
        """
        resource = target.resource
        if resource.verbs == ("create",) and verb == "create":
            return _answer_only(request, target, self._server)
        if target.subresource not in ("", "status"):
            return subresources.serve(verb, request, target, self._server)
        known = resource.verbs if not target.subresource else _STATUS_VERBS
        if verb not in known:
            raise method_not_allowed(resource.plural, resource.group, verb or request.method)
        reader = self._server.reader
        carriers: dict[str, Callable[[Request, RequestTarget], Response | Stream]] = {
            "get": reader.get,
            "list": reader.listing,
            "watch": reader.watch,
            "create": self._create,
            "update": self._update,
            "patch": self._patch,
            "delete": self._delete,
            "deletecollection": self._delete_collection,
        }
        return carriers[verb](request, target)

    def _create(self, request: Request, target: RequestTarget) -> Response:
        written = self._server.writer.create(target, decode_object(request), WriteOptions.of(request))
        return written_response(request, target, written)

    def _patch(self, request: Request, target: RequestTarget) -> Response:
        schema = self._server.schema(target.resource)
        written = patch(request, target, self._server.writer, self._server.store, schema)
        return written_response(request, target, written)

    def _update(self, request: Request, target: RequestTarget) -> Response:
        obj = decode_object(request)
        written = self._server.writer.update(target, lambda _: obj, WriteOptions.of(request))
        return written_response(request, target, written)

    def _delete(self, request: Request, target: RequestTarget) -> Response:
        resource = target.resource
        options = DeleteOptions.of(request)
        entry = self._server.store.get(resource.storage, target.namespace, target.name)
        if entry is None:
            raise not_found(resource.plural, resource.group, target.name)
        deleted = self._server.deleter.delete(resource, entry, options)
        if deleted.gone and resource.storage != PODS:
            return json_response(success(resource.plural, resource.group, entry.name, entry.uid))
        return Response(representation_of(request, resource).one(deleted.entry))

    def _delete_collection(self, request: Request, target: RequestTarget) -> Response:
        server, resource = self._server, target.resource
        options = DeleteOptions.of(request)
        matches = matcher(
            request.query.get("labelSelector", ""),
            request.query.get("fieldSelector", ""),
            server.registry.selectable(resource),
        )
        entries = [e for e in server.store.entries(resource.storage, target.namespace) if matches is None or matches(e)]
        deleted = [server.deleter.delete(resource, entry, options).entry for entry in entries]
        meta = {"resourceVersion": str(server.store.revision)}
        return Response(representation_of(request, resource).many(deleted, meta))


def _answer_only(request: Request, target: RequestTarget, server: ApiServer) -> Response:
    """Resources that are never stored: reviews, and the older way to bind a pod."""
    if target.resource.kind != "Binding":
        return reviews.review(request, target)
    name = (decode_as(request, "", "v1", "Binding").get("metadata") or {}).get("name") or ""
    pods_resource = server.registry.find("", "v1", "pods")
    if pods_resource is None:
        raise no_such_path()
    return pods.bind(request, RequestTarget(pods_resource, target.namespace, name, "binding"), server)


def written_response(request: Request, target: RequestTarget, written: WriteResult) -> Response:
    """The object after a write, with a ``Warning`` header for each warning."""
    form = representation_of(request, target.resource)
    headers = [(b"warning", f"299 - {orjson.dumps(text).decode()}".encode()) for text in written.warnings]
    return Response(form.one(written.entry), 201 if written.created else 200, form.content_type, headers)
