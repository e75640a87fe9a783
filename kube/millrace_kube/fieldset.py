"""Sets of fields, in the form in which ``managedFields`` carries them (``fieldsV1``).

A set maps path elements to the sets below them: ``f:name`` is a field, ``k:{"name":"web"}`` an item of a list map,
``v:"x"`` an item of a list set. An element is a member if nothing is below it, or if ``.`` is among what is below it.
Sets are never changed in place and may share parts. Source: ``sigs.k8s.io/structured-merge-diff/fieldpath``.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

Fields = dict[str, Any]  # recursive: dict[str, Fields]

SELF = "."


def is_member(below: Fields) -> bool:
    """Whether the element above ``below`` belongs to the set itself."""
    return not below or SELF in below


def _rebuilt(below: Fields, *, member: bool) -> Fields | None:
    """The entry of an element, or None if nothing is left of it."""
    if member and below:
        return {SELF: {}, **below}
    return below if member or below else None


def union(left: Fields, right: Fields) -> Fields:
    """Every member of either set."""
    if not left or not right or left is right:
        return left or right
    out = dict(left)
    for element, below in right.items():
        own = out.get(element)
        if own is None:
            out[element] = below
        elif own != below:
            member = is_member(own) or is_member(below)
            kept = _rebuilt(union(_children(own), _children(below)), member=member)
            out[element] = {} if kept is None else kept
    return out


def difference(left: Fields, right: Fields) -> Fields:
    """The members of ``left`` that are not members of ``right``; a member does not stand for what is below it."""
    out: Fields = {}
    for element, below in left.items():
        other = right.get(element)
        if other is None or element == SELF:
            out[element] = below
            continue
        member = is_member(below) and not is_member(other)
        kept = _rebuilt(difference(_children(below), _children(other)), member=member)
        if kept is not None:
            out[element] = kept
    return out


def intersection(left: Fields, right: Fields) -> Fields:
    """The members of both sets."""
    out: Fields = {}
    for element, below in left.items():
        other = right.get(element)
        if other is None:
            continue
        member = is_member(below) and is_member(other)
        kept = _rebuilt(intersection(_children(below), _children(other)), member=member)
        if kept is not None:
            out[element] = kept
    return out


def at(fields: Fields, path: Sequence[str]) -> Fields | None:
    """What a set holds at a path of elements; None where it does not hold the path."""
    for element in path:
        if element not in fields:
            return None
        fields = fields[element]
    return fields


def without(fields: Fields, path: Sequence[str]) -> Fields:
    """The set without all that is at and below a path, and without what is empty then and no member itself."""
    first, rest = path[0], path[1:]
    kept = without(fields[first], rest) if rest else {}
    others = {element: under for element, under in fields.items() if element != first}
    return {**others, first: kept} if kept else others


def _children(below: Fields) -> Fields:
    if SELF not in below:
        return below
    return {element: sub for element, sub in below.items() if element != SELF}


def paths(fields: Fields, prefix: str = "") -> Iterator[str]:
    """Every member as Kubernetes shows it, such as ``.spec.containers[name="web"].image``."""
    for element in sorted(fields):
        if element == SELF:
            continue
        path = prefix + shown(element)
        if is_member(fields[element]):
            yield path
        yield from paths(fields[element], path)


def shown(element: str) -> str:
    kind, _, content = element.partition(":")
    if kind == "f":
        return f".{content}"
    if kind == "k":
        keys = ",".join(f"{name}={json.dumps(value)}" for name, value in json.loads(content).items())
        return f"[{keys}]"
    return f"[={content}]" if kind == "v" else f"[{content}]"


def key_element(keys: dict[str, Any]) -> str:
    """The path element of a list-map item with these keys."""
    return "k:" + _compact(keys)


@functools.lru_cache(maxsize=4096, typed=True)
def single_key_element(name: str, value: Any) -> str:
    """The path element of an item with one key; the same names come again and again."""
    return key_element({name: value})


def value_element(value: Any) -> str:
    """The path element of a list-set item."""
    return "v:" + _compact(value)


def _compact(value: Any) -> str:
    text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    if "<" in text or ">" in text or "&" in text:  # as Go's encoder escapes them
        text = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return text
