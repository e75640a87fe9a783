"""A container's environment variables, with references resolved and ``$(VAR)`` expanded. Pure."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

from millrace_core.base.errors import RejectError
from millrace_core.base.quantities import quantity
from millrace_kube.resources import Object

_REFERENCE = re.compile(r"\$\$|\$\(([-._A-Za-z0-9]+)\)")
_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]")

# (kind, name): "Secret" or "ConfigMap", in the pod's namespace
Reference = tuple[str, str]
# Content by key of each referenced object, None for one that does not exist.
Resolved = Mapping[Reference, Mapping[str, bytes] | None]


@dataclass(frozen=True)
class DownwardApi:
    """What ``fieldRef`` and ``resourceFieldRef`` of a pod may refer to.

    Attributes:
        pod: the pod.
        address: its IP address.
        host_address: the node's IP address.
        allocatable: what the node offers; it stands for limits that a container does not set.
    """

    pod: Object
    address: str
    host_address: str
    allocatable: Mapping[str, str]


class MissingError(RejectError):
    """A Secret, ConfigMap or key that is not optional does not exist (yet)."""

    reason = "CreateContainerConfigError"


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Expands ``$(VAR)``; an unknown one stays. ``$$`` is a plain ``$``, so ``$$(VAR)`` is not expanded."""

    def value(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        return variables.get(found[1], found[0])

    return _REFERENCE.sub(value, text)


def content(obj: Object) -> dict[str, bytes]:
    """The data of a Secret or ConfigMap by key."""
    if obj.get("kind") == "Secret":
        return {key: base64.b64decode(value) for key, value in (obj.get("data") or {}).items()}
    plain = {key: value.encode() for key, value in (obj.get("data") or {}).items()}
    return {**plain, **{key: base64.b64decode(value) for key, value in (obj.get("binaryData") or {}).items()}}


def references(container: Object) -> Iterator[Reference]:
    """The Secrets and ConfigMaps that the container's environment refers to."""
    for source in container.get("envFrom") or []:
        for field, kind in (("secretRef", "Secret"), ("configMapRef", "ConfigMap")):
            if source.get(field):
                yield kind, source[field]["name"]
    for variable in container.get("env") or []:
        for field, kind in (("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap")):
            if reference := (variable.get("valueFrom") or {}).get(field):
                yield kind, reference["name"]


def environment(container: Object, downward: DownwardApi, resolved: Resolved) -> dict[str, str]:
    """The container's own variables, in order: later ones may refer to earlier ones.

    Raises:
        MissingError: a referenced object or key does not exist; names it.
        RejectError: a field reference that Kubernetes does not know.
    """
    variables: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        for field, kind in (("secretRef", "Secret"), ("configMapRef", "ConfigMap")):
            if reference := source.get(field):
                found = lookup(resolved, (kind, reference["name"]), optional=bool(reference.get("optional")))
                prefix = source.get("prefix", "")
                variables |= {f"{prefix}{key}": _text(value) for key, value in found.items() if "=" not in key}
    for variable in container.get("env") or []:
        source = variable.get("valueFrom")
        value = (
            _resolve(source, container, downward, resolved) if source else expand(variable.get("value", ""), variables)
        )
        if value is not None:
            variables[variable["name"]] = value
    return variables


def lookup(resolved: Resolved, reference: Reference, *, optional: bool) -> Mapping[str, bytes]:
    """The content of a Secret or ConfigMap; empty for an optional one that does not exist.

    Raises:
        MissingError: it does not exist.
    """
    found = resolved.get(reference)
    if found is None:
        if optional:
            return {}
        kind, name = reference
        raise MissingError(f'{kind.lower()} "{name}" not found')
    return found


def _resolve(source: Object, container: Object, downward: DownwardApi, resolved: Resolved) -> str | None:
    if "fieldRef" in source:
        return field_value(source["fieldRef"]["fieldPath"], downward)
    if "resourceFieldRef" in source:
        return resource_value(source["resourceFieldRef"], container, downward)
    field, kind = ("secretKeyRef", "Secret") if "secretKeyRef" in source else ("configMapKeyRef", "ConfigMap")
    reference = source[field]
    optional = bool(reference.get("optional"))
    found = lookup(resolved, (kind, reference["name"]), optional=optional)
    if reference["key"] in found:
        return _text(found[reference["key"]])
    if optional:
        return None
    namespace = downward.pod["metadata"]["namespace"]
    raise MissingError(f"couldn't find key {reference['key']} in {kind} {namespace}/{reference['name']}")


def field_value(path: str, downward: DownwardApi) -> str:
    """The value of a ``fieldRef``; "" for a label or annotation that the pod does not have.

    Raises:
        RejectError: the field does not exist or cannot be referred to.
    """
    metadata, spec = downward.pod["metadata"], downward.pod["spec"]
    if found := _SUBSCRIPT.fullmatch(path):
        return str((metadata.get(found[1]) or {}).get(found[2], ""))
    if path in ("metadata.labels", "metadata.annotations"):
        entries = metadata.get(path.removeprefix("metadata.")) or {}
        return "\n".join(f'{key}="{value}"' for key, value in sorted(entries.items()))
    values = {
        "metadata.name": metadata["name"],
        "metadata.namespace": metadata["namespace"],
        "metadata.uid": metadata["uid"],
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName", "default"),
        "status.podIP": downward.address,
        "status.podIPs": downward.address,
        "status.hostIP": downward.host_address,
        "status.hostIPs": downward.host_address,
    }
    if path not in values:
        raise RejectError(f"fieldPath {path!r} is not supported", hint=f"Expected one of {', '.join(values)}")
    return str(values[path])


def resource_value(reference: Object, container: Object, downward: DownwardApi) -> str:
    """The value of a ``resourceFieldRef`` in units of its ``divisor``, rounded up to a whole number.

    An absent limit is what the node offers; an absent request is 0.
    """
    containers = [*downward.pod["spec"]["containers"], *(downward.pod["spec"].get("initContainers") or [])]
    chosen = next((c for c in containers if c["name"] == reference.get("containerName")), container)
    group, _, name = reference["resource"].partition(".")
    given = ((chosen.get("resources") or {}).get(group) or {}).get(name)
    if given is None:
        given = downward.allocatable.get(name, "0") if group == "limits" else "0"
    divisor = quantity(reference.get("divisor") or "1") or Fraction(1)
    return str(math.ceil(quantity(given) / divisor))


def _text(value: bytes) -> str:
    return value.decode(errors="surrogateescape")
