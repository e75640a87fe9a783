"""Who owns what: controller references, and the names and hashes of children."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import Any

import orjson

from millrace_local.client.resources import Obj, Resource
from millrace_local.client.selectors import matches

# Letters and digits that spell no words and are hard to confuse; the same ones Kubernetes generates names from.
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
LONGEST_BASE = 57


def controller_reference(resource: Resource, owner: Obj) -> Obj:
    """The owner reference of a child that ``owner`` controls."""
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def controller_of(obj: Obj) -> Obj | None:
    """The owner reference of the object's controller, if it has one."""
    references = obj["metadata"].get("ownerReferences") or ()
    return next((reference for reference in references if reference.get("controller")), None)


def controller_uid(obj: Obj) -> Iterator[str]:
    """The uid of the object's controller: an index of informers."""
    if reference := controller_of(obj):
        yield reference["uid"]


def is_deleted(obj: Obj) -> bool:
    """Whether its deletion has begun."""
    return bool(obj["metadata"].get("deletionTimestamp"))


def adoptable(owner: Obj, candidates: Iterable[Obj]) -> list[Obj]:
    """The candidates that ``owner`` selects and nobody controls."""
    if is_deleted(owner):
        return []
    selector = owner["spec"].get("selector")
    return [
        candidate
        for candidate in candidates
        if controller_of(candidate) is None
        and not is_deleted(candidate)
        and matches(selector, candidate["metadata"].get("labels") or {})
    ]


def adopted(resource: Resource, owner: Obj, child: Obj) -> Obj:
    """``child`` with ``owner`` as its controller."""
    references = [*(child["metadata"].get("ownerReferences") or []), controller_reference(resource, owner)]
    return {**child, "metadata": {**child["metadata"], "ownerReferences": references}}


def released(owner: Obj, child: Obj) -> Obj:
    """``child`` without ``owner`` among its owners."""
    references = child["metadata"].get("ownerReferences") or []
    rest = [reference for reference in references if reference["uid"] != owner["metadata"]["uid"]]
    return {**child, "metadata": {**child["metadata"], "ownerReferences": rest}}


def short_hash(value: Any, length: int = 10) -> str:
    """A hash of a JSON value, safe within names and labels, the same on every machine."""
    digest = hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).digest()
    number = int.from_bytes(digest)
    letters = []
    for _ in range(length):
        number, place = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[place])
    return "".join(letters)


def free_names(base: str, uid: str, is_taken: Callable[[str], bool]) -> Iterator[str]:
    """Names for new children of the owner ``uid``, one after another, skipping those taken, by whomever.

    They follow from the owner alone, so a creation repeated from a late copy meets the name it made and does no harm.
    """
    for ordinal in count():
        name = f"{base[:LONGEST_BASE]}-{short_hash([uid, ordinal], 5)}"
        if not is_taken(name):
            yield name


def pod_of(template: Obj, *, name: str, namespace: str, owner: Obj) -> Obj:
    """A pod of a pod template: its labels, annotations and spec, under ``name``, with ``owner`` as controller."""
    metadata = template.get("metadata") or {}
    inherited = {field: metadata[field] for field in ("labels", "annotations", "finalizers") if metadata.get(field)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**inherited, "name": name, "namespace": namespace, "ownerReferences": [owner]},
        "spec": dict(template.get("spec") or {}),
    }
