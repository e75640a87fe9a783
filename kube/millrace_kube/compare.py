"""Whether a live object already holds all that is wanted of it, and what differs between two states of one.

The live object may hold more: defaults of the API server, fields of other writers, status. Two forms of the same value
are equal: ``1000m`` and ``1`` CPU, an absent field and an empty one. Items of the lists that Kubernetes merges by key
(containers, env, ports, …) are found by their key and others may stand beside them; every other list is
replaced as a whole by an apply, so it must be equal in length and order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from millrace_kube.quantities import parse
from millrace_kube.resources import Object

# Kubernetes' own list-map keys, by field name (OpenAPI: x-kubernetes-list-map-keys).
_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "imagePullSecrets": ("name",),
    "ownerReferences": ("uid",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
}
_PORT_KEYS: Final = (("containerPort", "protocol"), ("port", "protocol"))
_DEFAULTS: Final[Mapping[str, Any]] = {"protocol": "TCP"}
# Fields of the core kinds that hold quantities.
_QUANTITIES: Final = frozenset({"requests", "limits", "sizeLimit", "capacity"})
# Groups whose lists Kubernetes itself merges; in custom resources every list counts as a whole.
_NATIVE: Final = ("v1", "apps/", "batch/", "policy/")


def covers(desired: Object, live: Object) -> bool:
    """Whether every value of ``desired`` is present in ``live``."""
    native = str(desired["apiVersion"]).startswith(_NATIVE)
    wanted = {key: value for key, value in desired.items() if key not in ("apiVersion", "kind", "status")}
    return _holds(wanted, live, "", native=native)


def _holds(desired: Any, live: Any, field: str, *, native: bool) -> bool:
    if isinstance(desired, Mapping) and isinstance(live, Mapping):
        if field in _QUANTITIES:
            return all(_same_quantity(value, live.get(key)) for key, value in desired.items())
        return all(_holds(value, live.get(key), key, native=native) for key, value in desired.items())
    if isinstance(desired, (list, tuple)) and isinstance(live, (list, tuple)):
        return _list_holds(desired, live, field, native=native)
    if desired in (None, "", [], {}) and live in (None, "", [], {}):
        return True
    if field in _QUANTITIES:
        return _same_quantity(desired, live)
    return (type(desired) is type(live) and bool(desired == live)) or _same_number(desired, live)


def _list_holds(desired: Sequence[Any], live: Sequence[Any], field: str, *, native: bool) -> bool:
    keys = _map_keys(desired, field) if native or field == "ownerReferences" else ()
    if not keys:
        return len(desired) == len(live) and all(
            _holds(want, have, "", native=native) for want, have in zip(desired, live, strict=True)
        )
    found = {_identity(item, keys): item for item in live}
    return all(_holds(item, found.get(_identity(item, keys)), "", native=native) for item in desired)


def _map_keys(desired: Sequence[Any], field: str) -> tuple[str, ...]:
    """The keys that identify the items of a list; none where items share them, so that the list counts as a whole."""
    if not desired or not isinstance(desired[0], Mapping):
        return ()
    keys = _KEYS.get(field, ())
    if field == "ports":
        keys = next((keys for keys in _PORT_KEYS if keys[0] in desired[0]), ())
    identities = [_identity(item, keys) for item in desired]
    return keys if None not in identities and len(set(identities)) == len(identities) else ()


def _identity(item: Any, keys: tuple[str, ...]) -> tuple[str, ...] | None:
    """The values of the keys as text; None of what is no object."""
    if not isinstance(item, Mapping):
        return None
    return tuple(repr(item.get(key, _DEFAULTS.get(key))) for key in keys)


def _same_number(desired: Any, live: Any) -> bool:
    numbers = isinstance(desired, (int, float)) and isinstance(live, (int, float))
    return numbers and isinstance(desired, bool) == isinstance(live, bool) and desired == live


def _same_quantity(desired: Any, live: Any) -> bool:
    return desired == live or (live is not None and parse(str(desired)) == parse(str(live)) is not None)


def merge_patch(before: Mapping[str, Any], after: Mapping[str, Any]) -> Object:
    """The JSON merge patch (RFC 7396) that turns ``before`` into ``after``; empty where they are equal."""
    patch: Object = {name: None for name in before if name not in after}
    for name, value in after.items():
        if name not in before:
            patch[name] = value
        elif value is before[name]:
            continue
        elif isinstance(value, Mapping) and isinstance(before[name], Mapping):
            if deeper := merge_patch(before[name], value):
                patch[name] = deeper
        elif value != before[name]:
            patch[name] = value
    return patch
