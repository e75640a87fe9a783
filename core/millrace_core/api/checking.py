"""What the cluster would say to an object: the API server by schema, CEL and the rules of metadata, then the operator.

Evaluated here, without a cluster, from what ``make generate`` writes into the CRDs.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from pydantic import ValidationError

from millrace_core.api.crdgen import root_schema
from millrace_core.api.group import API_VERSION, GROUP
from millrace_core.api.kinds import KINDS, Kind
from millrace_core.api.models import BOOLEAN_WORDS, mistakes, validated
from millrace_core.schema import Schema, compile_schema
from millrace_core.schema.defaulting import copied
from millrace_core.schema.metadata import metadata_errors, shape_errors
from millrace_core.schema.node import SchemaNode

# What the API server takes of metadata.generateName, and how many characters it adds.
_MOST_OF_PREFIX: Final = 58
_RANDOM: Final = 5
_KINDS: Final[Mapping[str, Kind]] = {kind.name: kind for kind in KINDS}


class Fault(NamedTuple):
    """One fault of an object: the dotted path of a field, and a sentence."""

    field: str
    message: str


class Checked(NamedTuple):
    """What was found of an object: its faults, and the object as the API server stores it, with its defaults."""

    faults: list[Fault]
    stored: dict[str, Any]


def is_ours(document: Mapping[str, Any]) -> bool:
    """Whether an object is meant to be one of Millrace's kinds, rightly or not."""
    version = document.get("apiVersion")
    if isinstance(version, str) and version:
        return version.partition("/")[0] == GROUP
    return document.get("kind") in _KINDS


def check(document: Mapping[str, Any]) -> Checked:
    """Looks at one object of Millrace's kinds as a create of it would; ``document`` stays as it is."""
    if wrong := list(_envelope(document)):
        return Checked(wrong, {})
    kind = _KINDS[document["kind"]]
    obj: dict[str, Any] = copied(document)
    _generate_name(obj.get("metadata"))
    found = list(_unknown(_schema(kind.name), obj))
    obj.pop("status", None)  # a create brings none along
    found += _metadata_faults(kind, obj.get("metadata"))
    _schema(kind.name).default(obj)
    # Ours first: they say more. The schema adds what they do not see.
    return Checked(merged(merged(found, _model_faults(kind, obj)), _schema_faults(kind, obj)), obj)


def merged(first: Iterable[Fault], second: Iterable[Fault]) -> list[Fault]:
    """Faults of two checks of one object; what both find in one place is said once, in the words of the first."""
    said = list(first)
    return said + [each for each in second if not any(_same_place(each.field, other.field) for other in said)]


def _envelope(document: Mapping[str, Any]) -> Iterator[Fault]:
    for name, expected in (("apiVersion", API_VERSION), ("kind", " or ".join(_KINDS))):
        came = document.get(name)
        if came is None or came == "":
            yield Fault(name, f"it is missing, {expected} is expected")
        elif came != API_VERSION if name == "apiVersion" else came not in _KINDS:
            yield Fault(name, f"{came!r} came, {expected} is expected")


def _model_faults(kind: Kind, document: Mapping[str, Any]) -> Iterator[Fault]:
    try:
        validated(kind.model, document)
    except ValidationError as error:
        yield from (Fault(*each) for each in mistakes(kind.model, error))


def _unknown(schema: Schema, obj: dict[str, Any]) -> Iterator[Fault]:
    """Drops the fields that there are not, and names each."""
    for path in schema.prune(obj):
        here = _parent(schema.root, path)
        there = ", ".join(sorted(here.properties)) if here is not None else ""
        if there:
            yield Fault(path, f"there is no such field; the fields here are {there}")
        elif here is not None and here.type not in ("", "object"):
            yield Fault(path, f"there is no such field; {path.rpartition('.')[0]} is a {here.type}, no object")
        else:
            yield Fault(path, "there is no such field")


def _generate_name(metadata: Any) -> None:
    """Gives an object a name as the API server does, where it has only the beginning of one."""
    prefix = metadata.get("generateName") if isinstance(metadata, dict) else None
    if isinstance(prefix, str) and prefix and not metadata.get("name"):
        metadata["name"] = f"{prefix[:_MOST_OF_PREFIX]}{'x' * _RANDOM}"


def _metadata_faults(kind: Kind, metadata: Any) -> list[Fault]:
    if not isinstance(metadata, dict):
        return []
    wrong = shape_errors(metadata) or metadata_errors(f"{GROUP}/{kind.plural}", metadata)
    said = {each.path: each.message + (BOOLEAN_WORDS if each.message.endswith("got bool") else "") for each in wrong}
    return [Fault(*each) for each in said.items()]


def _schema_faults(kind: Kind, obj: dict[str, Any]) -> Iterator[Fault]:
    for each in _schema(kind.name).validate(obj):
        if each.path != "<nil>":  # says only that rules were not evaluated
            yield Fault(each.path, each.message)


@functools.cache
def _schema(kind: str) -> Schema:
    return compile_schema(root_schema(_KINDS[kind].model))


def _parent(node: SchemaNode | None, path: str) -> SchemaNode | None:
    """What is declared of the place that an unknown field is in."""
    for step in path.replace("[", ".[").split(".")[:-1]:
        if node is None:
            return None
        node = node.items if step.startswith("[") and node.items is not None else node.children[step]
    return node


def _same_place(one: str, other: str) -> bool:
    """Whether one of two places is in the other."""
    short, long = sorted((one, other), key=len)
    return long == short or (long.startswith(short) and long[len(short)] in ".[")
