"""Whether a child is as we applied it, and what others did to it that has to be put back. Pure.

``metadata.managedFields`` says who wrote which field last, so that no value has to be compared:

- A field that we applied is ours until another manager changes or removes it. One that it took is applied again. Where
  its value is the one that is wanted it is made ours again, and counts as no edit.
- A field that another manager added is put back where the object is ours as a whole: it decides whether the child
  works, as a second container does, ``paused``, or a key of a selector. Below ``_LEFT`` it stays, and so does all that
  is not below ``_WHOLE``: labels, annotations, finalizers, further owners, status. So does what is assumed of the kind
  anyway (``defaults``), such as ``suspend: false`` of a CronJob, which GitOps tools state; with another value it goes.
- A field that nobody owns came from a default or an admission webhook, and so did another value of a field that is
  still ours: the API server records no owner of what it admits. Both stay. Writing them again would start a loop.
- A number that a scaler sets (``_SCALED``) is whoever's set it last, as long as it is the number that we want.

A manager has no name that could be trusted, so all of them but ourselves are treated alike. What only a subresource
wrote (status) is no part of this, and neither is what was there before the API server began to track owners.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import Any, Final

import orjson

from millrace_core.api.names import FIELD_MANAGER
from millrace_kube import defaults, fieldset
from millrace_kube.fieldset import SELF, Fields
from millrace_kube.resources import Object

Path = tuple[str, ...]  # elements of fieldsV1, such as ("f:spec", 'k:{"name":"serve"}')

_WHOLE: Final[tuple[Path, ...]] = (("f:spec",),)
# KEDA stops to scale for an annotation of this name, and of "paused-replicas".
_WHOLE_ANNOTATIONS: Final[Mapping[str, str]] = {"ScaledObject": "f:autoscaling.keda.sh/paused"}
_LEFT: Final[Mapping[str, tuple[Path, ...]]] = {
    # The marks of `kubectl rollout restart`, of injectors and of those who reload.
    "Deployment": (("f:spec", "f:template", "f:metadata"),),
    "CronJob": (
        ("f:spec", "f:jobTemplate", "f:metadata"),
        ("f:spec", "f:jobTemplate", "f:spec", "f:template", "f:metadata"),
    ),
    # It cannot change once a pod runs; until then it is a queue's, which places the pods. The selector never changes.
    "Job": (("f:spec", "f:template"), ("f:spec", "f:selector")),
    # What the API server gives, and keeps.
    "Service": tuple(("f:spec", f"f:{name}") for name in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy")),
}
_SCALED: Final[Mapping[str, Path]] = {"Deployment": ("f:spec", "f:replicas")}

_UNTRACKED: Final = "before-first-apply"
# Keys of list items that Kubernetes fills in before it tells the items apart.
_KEY_DEFAULTS: Final[Mapping[str, Any]] = {"protocol": "TCP"}
# Identity and versions: they have no owner.
_UNOWNED: Final = frozenset({"name", "namespace", "uid", "resourceVersion", "managedFields"})


@dataclass(frozen=True)
class Difference:
    """What differs between a child as it is and as it is wanted.

    Attributes:
        desired: what to apply: the wanted object, without a number that a scaler has set.
        added: fields of others that have to go, with who owns each.
        taken: fields of ours that another one owns now, or nobody because it was removed.
        agreed: those of ``taken`` whose value is the wanted one all the same.
        drifted: whether a number that a scaler may set is not what is wanted.
        unfinished: whether we own what is no longer wanted, as after a crash between the two writes that put back.
    """

    desired: Object
    added: tuple[tuple[Path, str], ...] = ()
    taken: tuple[tuple[Path, str], ...] = ()
    agreed: frozenset[Path] = frozenset()
    drifted: bool = False
    unfinished: bool = False

    def __bool__(self) -> bool:
        return bool(self.added or self.taken or self.drifted or self.unfinished)

    @property
    def of_others(self) -> bool:
        """Whether another manager has changed any of it. What was removed has no owner, nor what was never applied."""
        return any(manager for _, manager in self._changed)

    @property
    def edits(self) -> str:
        """Who changed what, for people."""
        found: dict[str, list[str]] = {}
        for path, manager in self._changed:
            found.setdefault(manager, []).append(shown(path))
        return "; ".join(f"{', '.join(paths)} by {manager or 'somebody'}" for manager, paths in sorted(found.items()))

    @property
    def _changed(self) -> Iterator[tuple[Path, str]]:
        yield from self.added
        yield from (item for item in self.taken if item[0] not in self.agreed)


def difference(wanted: Object, live: Object) -> Difference:
    """What differs; false where nothing has to be written.

    Args:
        wanted: as it would be applied.
        live: as the API server has it, with managedFields; without them nothing counts as ours.
    """
    entries = [_Entry.of(item) for item in live["metadata"].get("managedFields") or ()]
    ours = next((item.fields for item in entries if item.applied), {})
    others = [item for item in entries if not item.ours]
    desired, drifted = _without_scaled(wanted, live, others), False
    if (number := _SCALED.get(wanted["kind"])) is not None:
        drifted = _value(wanted, number) != _value(live, number)
    kind, stated = wanted["kind"], _ownable(wanted)
    unwanted = {
        path: item.manager
        for item in others
        if not item.subresource
        for path in _beyond(item.fields, stated)
        if _decides(kind, path) and _value(live, path) not in (None, "", [], {})
    }
    theirs = reduce(fieldset.union, (item.fields for item in others), Fields())
    missing = list(_not_owned(_ownable(desired), ours, theirs, live))
    assumed = defaults.completed(desired) if unwanted or missing else desired
    return Difference(
        desired=desired,
        added=tuple(sorted(item for item in unwanted.items() if _value(live, item[0]) != _value(assumed, item[0]))),
        taken=tuple((path, _owner(path, others)) for path in missing),
        agreed=frozenset(
            path for path in missing if _value(live, path) in (_value(desired, path), _value(assumed, path))
        ),
        drifted=drifted,
        unfinished=any(_decides(kind, path) for path in _beyond(ours, stated)),
    )


def taken_over(live: Object, added: Iterable[tuple[Path, str]]) -> list[Object]:
    """``managedFields`` with what others added as our own, so that the next apply, which lacks it, removes it.

    The API server alone knows which lists and maps are merged; like this it does the removing, in one change.
    """
    paths = [path for path, _ in added]
    entries, moved = [], Fields()
    for item in live["metadata"].get("managedFields") or ():
        entry = _Entry.of(item)
        if entry.ours or entry.subresource:
            entries.append(item)
            continue
        fields = entry.fields
        for path in paths:
            below = fieldset.at(fields, path)
            if below is not None:
                moved = _with(moved, path, below)
                fields = fieldset.without(fields, path)
        if fields:
            entries.append({**item, "fieldsV1": fields})
    return [
        {**item, "fieldsV1": fieldset.union(item["fieldsV1"], moved)} if _Entry.of(item).applied else item
        for item in entries
    ]


def without_scaled(wanted: Object) -> Object:
    """The object without the number that a scaler may set: what is compared from one version of it to the next."""
    path = _SCALED.get(wanted["kind"])
    return _pruned(wanted, path) if path else wanted


def shown(path: Path) -> str:
    """A path as Kubernetes shows it, such as ``spec.containers[name="serve"].image``."""
    return "".join(map(fieldset.shown, path)).removeprefix(".")


@dataclass(frozen=True)
class _Entry:
    """One entry of managedFields."""

    manager: str
    fields: Fields
    subresource: str
    applied: bool  # by ourselves

    @property
    def ours(self) -> bool:
        return self.manager in (FIELD_MANAGER, _UNTRACKED)

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> _Entry:
        manager, subresource = item.get("manager", ""), item.get("subresource", "")
        applied = manager == FIELD_MANAGER and item.get("operation") == "Apply" and not subresource
        return cls(manager, item.get("fieldsV1") or {}, subresource, applied)


def _decides(kind: str, path: Path) -> bool:
    """Whether what is at the path decides whether a child of this kind works."""
    if any(path[: len(left)] == left for left in _LEFT.get(kind, ())):
        return False
    if any(path[: len(whole)] == whole for whole in _WHOLE):
        return True
    annotation = _WHOLE_ANNOTATIONS.get(kind)
    of_metadata = annotation is not None and path[:2] == ("f:metadata", "f:annotations")
    return of_metadata and any(element.startswith(str(annotation)) for element in path[2:3])


def _without_scaled(wanted: Object, live: Object, others: Iterable[_Entry]) -> Object:
    """What to apply: without the scaler's number where another manager has set it to what is wanted.

    Stated again it would be set back to what a cache knew.
    """
    path = _SCALED.get(wanted["kind"])
    if path is None or _value(wanted, path) != _value(live, path) or not _owner(path, others):
        return wanted
    return _pruned(wanted, path)


def _owner(path: Path, others: Iterable[_Entry]) -> str:
    """Who else owns the field, or what it is a part of; empty: nobody."""
    return next((item.manager for item in others if _owns(item.fields, path)), "")


def _owns(fields: Fields, path: Path) -> bool:
    for element in path:
        if element not in fields:
            return False
        fields = fields[element]
        if not fields:
            return True
    return True


def _beyond(fields: Fields, wanted: Any, path: Path = ()) -> Iterator[Path]:
    """The highest paths of a set of fields that the wanted object lacks."""
    for element, below in fields.items():
        if element == SELF:
            continue
        found, value = _child(wanted, element)
        if not found:
            # Who changed a part of an item did not add it; an injected container would lose its image.
            if not element.startswith("k:") or SELF in below:
                yield (*path, element)
        else:
            yield from _beyond(below, value, (*path, element))


def _not_owned(wanted: Any, ours: Fields, theirs: Fields, live: Any, path: Path = ()) -> Iterator[Path]:
    """The highest paths of the wanted object that are not ours.

    A member without parts is whole, as a scalar or an atomic list is. A map looks the same when somebody has removed
    all that it held: then it is empty, or others own what it holds.
    """
    for element, value in _children(wanted, ours):
        mine, other, held = ours.get(element), theirs.get(element) or {}, _child(live, element)[1]
        if mine is None:
            if value not in (None, "", [], {}):
                yield (*path, element)
        elif mine.keys() - {SELF}:
            yield from _not_owned(value, mine, other, held, (*path, element))
        elif isinstance(value, (Mapping, list, tuple)) and value and (not held or other.keys() - {SELF}):
            yield (*path, element)


def _children(wanted: Any, fields: Fields) -> Iterator[tuple[str, Any]]:
    """The parts of a value, each with its element: as the set of fields calls it, or as it would."""
    if isinstance(wanted, Mapping):
        for name, value in wanted.items():
            yield f"f:{name}", value
    elif isinstance(wanted, (list, tuple)):
        for item in wanted:
            named = (element for element in fields if element != SELF and _child([item], element)[0])
            yield next(named, f"v:{orjson.dumps(item).decode()}"), item


def _child(value: Any, element: str) -> tuple[bool, Any]:
    """Whether a value has the part that an element names, and that part."""
    kind, _, content = element.partition(":")
    if kind == "f":
        found = isinstance(value, Mapping) and content in value
        return found, value[content] if found else None
    items = value if isinstance(value, (list, tuple)) else ()
    if kind == "v":
        item = orjson.loads(content)
        return item in items, item
    keys = _keys(content) if kind == "k" else {}
    for item in items:
        if keys and isinstance(item, Mapping) and all(item.get(k, _KEY_DEFAULTS.get(k)) == v for k, v in keys.items()):
            return True, item
    return False, None


@lru_cache(maxsize=4096)
def _keys(content: str) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(content)
    return found


def _value(document: Any, path: Path) -> Any:
    for element in path:
        _, document = _child(document, element)
    return document


def _ownable(document: Object) -> Object:
    metadata = {key: value for key, value in document["metadata"].items() if key not in _UNOWNED}
    rest = {key: value for key, value in document.items() if key not in ("apiVersion", "kind", "status")}
    return {**rest, "metadata": metadata}


def _pruned(document: Object, path: Path) -> Object:
    """The object without the field at a path of names."""
    name = path[0].removeprefix("f:")
    if name not in document:
        return document
    if len(path) == 1:
        return {key: value for key, value in document.items() if key != name}
    return {**document, name: _pruned(document[name], path[1:])}


def _with(fields: Fields, path: Path, below: Fields) -> Fields:
    for element in reversed(path):
        below = {element: below}
    return fieldset.union(fields, below)
