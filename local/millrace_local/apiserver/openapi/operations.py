"""The paths of a resource and their operations, as OpenAPI 3 describes them.

kubectl reads here which query parameters and patch types a server accepts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from millrace_local.apiserver.resources import ApiResource

_APPLY, _JSON, _MERGE, _STRATEGIC = (
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
)
_BODIES = ("application/json", "application/yaml")
_SCALE = ("autoscaling", "v1", "Scale")

#: Kinds of subresource bodies, by subresource; a resource's own kind otherwise.
_BODY_KINDS = {
    "scale": _SCALE,
    "binding": ("", "v1", "Binding"),
    "eviction": ("policy", "v1", "Eviction"),
    "token": ("authentication.k8s.io", "v1", "TokenRequest"),
}
_SUBRESOURCE_ACTIONS = {
    "binding": ("post",),
    "eviction": ("post",),
    "token": ("post",),
    "log": ("get",),
    "finalize": ("put",),
}

_DRY_RUN = ("dryRun", "string", "When present, indicates that modifications should not be persisted.")
_FIELD_MANAGER = ("fieldManager", "string", "A name associated with the actor that is making these changes.")
_FIELD_VALIDATION = (
    "fieldValidation",
    "string",
    "Instructs the server on how to handle unknown or duplicate fields: Ignore, Warn or Strict.",
)
_FORCE = ("force", "boolean", "Force is going to take over conflicting fields of others; for apply requests only.")
_LIST = (
    ("allowWatchBookmarks", "boolean", "Asks for watch events of type BOOKMARK."),
    ("continue", "string", "Where the next chunk of a list continues."),
    ("fieldSelector", "string", "Restricts the list of returned objects by their fields."),
    ("labelSelector", "string", "Restricts the list of returned objects by their labels."),
    ("limit", "integer", "The largest number of objects to return."),
    ("resourceVersion", "string", "Constrains what resource versions a request may be served from."),
    ("resourceVersionMatch", "string", "How resourceVersion is applied to list calls."),
    ("sendInitialEvents", "boolean", "Asks a watch to begin with the present objects."),
    ("timeoutSeconds", "integer", "How long the request may take, whatever happens."),
    ("watch", "boolean", "Asks for the changes as a stream of events."),
)
_DELETE = (
    _DRY_RUN,
    ("gracePeriodSeconds", "integer", "The seconds before the object is deleted."),
    ("orphanDependents", "boolean", "Deprecated: use propagationPolicy."),
    ("propagationPolicy", "string", "Whether and how garbage collection is done: Orphan, Background or Foreground."),
)
_WRITE = (_DRY_RUN, _FIELD_MANAGER, _FIELD_VALIDATION)
_QUERY: dict[str, tuple[tuple[str, str, str], ...]] = {
    "get": (),
    "list": _LIST,
    "post": _WRITE,
    "put": _WRITE,
    "patch": (*_WRITE, _FORCE),
    "delete": _DELETE,
    "deletecollection": (*_DELETE, *_LIST),
}
_METHODS = {"list": "get", "deletecollection": "delete"}
_VERBS = {"post": "create", "put": "update"}  # verbs of actions, where they differ from the action's name


def prefix(resource: ApiResource) -> str:
    """``api/v1`` or ``apis/apps/v1``: the document that describes the resource."""
    return f"{'apis' if resource.group else 'api'}/{resource.api_version}"


def paths(resource: ApiResource, kinds: dict[tuple[str, str, str], str]) -> dict[str, Any]:
    """The paths of a resource; ``kinds`` gives the schema name of each (group, version, kind)."""
    base = f"/{prefix(resource)}"
    scope = "/namespaces/{namespace}" if resource.namespaced else ""
    collection = f"{base}{scope}/{resource.plural}"
    item = f"{collection}/{{name}}"
    own = (resource.group, resource.version, resource.kind)
    out = {
        collection: _path(resource, own, kinds, ("list", "post", "deletecollection"), collection),
        item: _path(resource, own, kinds, ("get", "put", "patch", "delete"), item),
    }
    if resource.namespaced:
        everywhere = f"{base}/{resource.plural}"
        out[everywhere] = _path(resource, own, kinds, ("list",), everywhere)
    for sub in sorted(resource.subresources):
        actions = _SUBRESOURCE_ACTIONS.get(sub, ("get", "put", "patch"))
        path = f"{item}/{sub}"
        out[path] = _path(resource, _BODY_KINDS.get(sub, own), kinds, actions, path, always=True)
    return {path: operations for path, operations in out.items() if operations}


def _path(
    resource: ApiResource,
    kind: tuple[str, str, str],
    kinds: dict[tuple[str, str, str], str],
    actions: Iterable[str],
    path: str,
    *,
    always: bool = False,
) -> dict[str, Any]:
    offered = [action for action in actions if always or _VERBS.get(action, action) in resource.verbs]
    if not offered:
        return {}
    operations = {
        _METHODS.get(action, action): _operation(resource, kind, kinds[kind], action, path) for action in offered
    }
    names = [name for name in ("namespace", "name") if f"{{{name}}}" in path]
    return {**operations, "parameters": [_parameter(name, "string", "", where="path") for name in names]}


def _operation(
    resource: ApiResource, kind: tuple[str, str, str], schema: str, action: str, path: str
) -> dict[str, Any]:
    response = resource.plural_list_kind if action == "list" else kind[2]
    response_schema = schema.removesuffix(kind[2]) + response
    content = {media: {"schema": reference(response_schema)} for media in _BODIES}
    out: dict[str, Any] = {
        "operationId": _operation_id(action, path),
        "parameters": [_parameter(*parameter) for parameter in _QUERY[action]],
        "responses": {"200": {"description": "OK", "content": content}, "401": {"description": "Unauthorized"}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": dict(zip(("group", "version", "kind"), kind, strict=True)),
    }
    media = _request_media(resource, action)
    if media:
        body = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch" if action == "patch" else schema
        required = not action.startswith("delete")
        if not required:
            body = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"
        out["requestBody"] = {
            "content": {name: {"schema": reference(body)} for name in media},
            **({"required": True} if required else {}),
        }
    return out


def _request_media(resource: ApiResource, action: str) -> tuple[str, ...]:
    if action == "patch":
        return (_APPLY, _JSON, _MERGE) if resource.custom else (_APPLY, _JSON, _MERGE, _STRATEGIC)
    return ("*/*",) if action in {"post", "put", "delete", "deletecollection"} else ()


def reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _operation_id(action: str, path: str) -> str:
    words = [word for word in path.split("/") if word]
    return action + "".join(word.strip("{}").replace(".", "-").title().replace("-", "") for word in words)


def _parameter(name: str, kind: str, description: str, where: str = "query") -> dict[str, Any]:
    out: dict[str, Any] = {"name": name, "in": where, "schema": {"type": kind, "uniqueItems": True}}
    if description:
        out["description"] = description
    return {**out, "required": True} if where == "path" else out
