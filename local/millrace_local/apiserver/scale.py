"""The scale subresource: the replicas of any workload as a ``Scale`` object."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from millrace_core.schema.errors import invalid
from millrace_local.apiserver import jsonpath
from millrace_local.apiserver.errors import StatusError
from millrace_local.apiserver.errors import invalid as invalid_object
from millrace_local.apiserver.resources import ApiResource

Obj = dict[str, Any]


def _paths(resource: ApiResource) -> tuple[str, str, str]:
    """The paths of the desired replicas, the actual replicas and the selector."""
    if not resource.custom:
        return ".spec.replicas", ".status.replicas", ".spec.selector"
    declared = resource.definition["subresources"]["scale"]
    return declared["specReplicasPath"], declared["statusReplicasPath"], declared.get("labelSelectorPath", "")


def _first(obj: Obj, path: str, default: Any) -> Any:
    found = jsonpath.find(obj, path) if path else []
    return found[0] if found and found[0] is not None else default


def selector_text(selector: Any) -> str:
    """A plain map or a ``LabelSelector`` as a query parameter writes it."""
    if isinstance(selector, str):
        return selector
    if "matchLabels" not in selector and "matchExpressions" not in selector:
        return ",".join(f"{key}={value}" for key, value in sorted(selector.items()))
    terms = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for term in selector.get("matchExpressions") or ():
        key, operator, values = term["key"], term["operator"], ",".join(sorted(term.get("values") or ()))
        terms.append(
            {
                "In": f"{key} in ({values})",
                "NotIn": f"{key} notin ({values})",
                "Exists": key,
                "DoesNotExist": f"!{key}",
            }[operator]
        )
    return ",".join(terms)


def stated(obj: Obj, resource: ApiResource) -> Obj:
    """The ``Scale`` of an object that says how many replicas it wants.

    Raises:
        StatusError: 500, as Kubernetes has it for a custom resource without a value at its ``specReplicasPath``.
    """
    path = _paths(resource)[0]
    if resource.custom and _first(obj, path, None) is None:
        raise StatusError(
            500, "InternalError", f'Internal error occurred: the spec replicas field "{path}" does not exist'
        )
    return scale_of(obj, resource)


def patched(obj: Obj, patch: Callable[[Obj], Obj], resource: ApiResource) -> Obj:
    """The ``Scale`` of an object after a patch.

    Raises:
        StatusError: 400, as Kubernetes has it, where neither the object nor the patch says how many replicas; that is
            not taken for 0.
    """
    path, before = _paths(resource)[0], scale_of(obj, resource)
    if _first(obj, path, None) is None:
        before["spec"] = {}
    after = patch(before)
    if _part(after, "spec", obj).get("replicas") is None:
        raise StatusError(400, "BadRequest", f'the spec replicas field "{path}" cannot be empty')
    return after


def _part(scale: Obj, field: str, obj: Obj) -> Obj:
    """``spec`` or ``metadata`` of a ``Scale`` that was sent.

    Raises:
        StatusError: 422, it is no object.
    """
    found = scale.get(field) or {}
    if not isinstance(found, dict):
        error = invalid(field, found, "must be an object")
        raise invalid_object("Scale", "autoscaling", obj["metadata"]["name"], [error])
    return found


def scale_of(obj: Obj, resource: ApiResource) -> Obj:
    """The ``Scale`` of an object; of one that does not say how many replicas it wants, with 0."""
    spec_path, status_path, selector_path = _paths(resource)
    metadata = obj["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    scale: Obj = {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {name: metadata[name] for name in kept if name in metadata},
        "spec": {"replicas": _first(obj, spec_path, 0)},
        "status": {"replicas": _first(obj, status_path, 0)},
    }
    selector = _first(obj, selector_path, "")
    if selector:
        scale["status"]["selector"] = selector_text(selector)
    return scale


def with_scale(obj: Obj, scale: Obj, resource: ApiResource) -> Obj:
    """The object with the replicas, and the resourceVersion and uid if given, of a ``Scale``.

    Raises:
        StatusError: 422 when the replicas are not a whole number from 0 on, or spec or metadata no object.
    """
    replicas = _part(scale, "spec", obj).get("replicas", 0)
    if not isinstance(replicas, int) or isinstance(replicas, bool) or replicas < 0:
        field_error = invalid("spec.replicas", replicas, "must be greater than or equal to 0")
        raise invalid_object("Scale", "autoscaling", obj["metadata"]["name"], [field_error])
    *holders, last = _paths(resource)[0].removeprefix(".").split(".")
    node = obj
    for name in holders:
        node = node.setdefault(name, {})
        if not isinstance(node, dict):
            raise StatusError(500, "InternalError", f"{name} of {obj['metadata']['name']} is not an object")
    node[last] = replicas
    wanted = _part(scale, "metadata", obj)
    obj["metadata"]["resourceVersion"] = wanted.get("resourceVersion") or obj["metadata"]["resourceVersion"]
    obj["metadata"]["uid"] = wanted.get("uid") or obj["metadata"]["uid"]
    return obj
