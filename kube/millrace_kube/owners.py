"""Who owns what: owner references, and the adoption of what nobody controls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from millrace_kube.resources import Object, deleting, labels_of, name_of
from millrace_kube.selectors import matches


def owner_reference(owner: Object, *, controller: bool = True) -> Object:
    """An owner reference to ``owner``, for a child's ``metadata.ownerReferences``.

    A foreground deletion of the owner waits for the child. Where the API server has the admission plugin
    OwnerReferencesPermissionEnforcement, that needs the right to update the owner's ``finalizers``.
    """
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": name_of(owner),
        "uid": owner["metadata"]["uid"],
        "controller": controller,
        "blockOwnerDeletion": True,
    }


def controller_of(document: Object) -> Object | None:
    """The owner reference of the object's controller, if it has one."""
    references = document["metadata"].get("ownerReferences") or ()
    return next((reference for reference in references if reference.get("controller")), None)


def controller_uid(document: Object) -> Iterator[str]:
    """The uid of the object's controller: an index of informers."""
    if reference := controller_of(document):
        yield reference["uid"]


def adoptable(owner: Object, candidates: Iterable[Object]) -> list[Object]:
    """The candidates that ``owner`` selects and nobody controls."""
    if deleting(owner):
        return []
    selector = owner["spec"].get("selector")
    return [
        candidate
        for candidate in candidates
        if controller_of(candidate) is None and not deleting(candidate) and matches(selector, labels_of(candidate))
    ]


def adopted(owner: Object, child: Object) -> Object:
    """``child`` with ``owner`` as its controller."""
    references = [*(child["metadata"].get("ownerReferences") or []), owner_reference(owner)]
    return {**child, "metadata": {**child["metadata"], "ownerReferences": references}}


def released(owner: Object, child: Object) -> Object:
    """``child`` without ``owner`` among its owners."""
    references = child["metadata"].get("ownerReferences") or []
    rest = [reference for reference in references if reference["uid"] != owner["metadata"]["uid"]]
    return {**child, "metadata": {**child["metadata"], "ownerReferences": rest}}
