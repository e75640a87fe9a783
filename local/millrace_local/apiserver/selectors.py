"""Label and field selectors: parsed once per request, then matched with the index of each object."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache

from millrace_local.apiserver.errors import bad_request
from millrace_local.apiserver.store import StoreEntry, field_value

Matches = Callable[[StoreEntry], bool]
_Labels = Callable[[Mapping[str, str]], bool]

_NAME = r"[A-Za-z0-9](?:[-A-Za-z0-9_./]*[A-Za-z0-9])?"
_SET = re.compile(rf"^({_NAME})\s+(in|notin)\s*\(([^()]*)\)$")
_COMPARE = re.compile(rf"^({_NAME})\s*(==|=|!=|>|<)\s*({_NAME})?$")
_EXISTS = re.compile(rf"^(!?)\s*({_NAME})$")
# A comma within brackets parts nothing.
_TERM = re.compile(r"(?:[^,(]|\([^()]*+\)|\()++")


@lru_cache(maxsize=512)
def label_selector(text: str) -> _Labels:
    """Compiles a label selector such as ``app=web,tier in (a, b),!legacy``.

    Raises:
        StatusError: 400 when the text is no selector.
    """
    terms = [_label_term(term.strip(), text) for term in _TERM.findall(text) if term.strip()]
    if len(terms) == 1:
        return terms[0]
    return lambda labels: all(term(labels) for term in terms)


def _label_term(term: str, whole: str) -> _Labels:
    if found := _SET.match(term):
        key, operator, listed = found.groups()
        values = frozenset(value.strip() for value in listed.split(","))
        if operator == "in":
            return lambda labels: labels.get(key) in values
        return lambda labels: labels.get(key) not in values
    if found := _COMPARE.match(term):
        return _comparison(found[1], found[2], found[3] or "", whole)
    if found := _EXISTS.match(term):
        absent, key = found[1] == "!", found[2]
        return lambda labels: (key in labels) is not absent
    raise bad_request(f"unable to parse requirement: {term!r} in label selector {whole!r}")


def _comparison(key: str, operator: str, value: str, whole: str) -> _Labels:
    if operator in ("=", "=="):
        return lambda labels: labels.get(key) == value
    if operator == "!=":
        return lambda labels: labels.get(key) != value
    if not value.lstrip("-").isdigit():
        raise bad_request(f"for 'Gt', 'Lt' operators, the value must be an integer in label selector {whole!r}")
    bound = int(value)

    def compare(labels: Mapping[str, str]) -> bool:
        held = labels.get(key, "")
        if not held.lstrip("-").isdigit():
            return False
        return int(held) > bound if operator == ">" else int(held) < bound

    return compare


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


_FIELD_SPLIT = re.compile(r"(?<!\\),")
_FIELD_TERM = re.compile(r"^(.*?[^\\!=])(==|!=|=)(.*)$")


def field_selector(text: str, selectable: tuple[str, ...]) -> list[tuple[str, bool, str]]:
    """Parses a field selector into (path, equal, value) terms.

    Raises:
        StatusError: 400 for a path that is not among ``selectable`` or the two of metadata.
    """
    terms = []
    for term in _FIELD_SPLIT.split(text):
        if not term:
            continue
        found = _FIELD_TERM.match(term)
        if not found:
            raise bad_request(f"invalid selector: '{term}'; can't understand '{term}'")
        path, operator, value = found[1], found[2], _unescape(found[3])
        if path not in ("metadata.name", "metadata.namespace") and path not in selectable:
            raise bad_request(f"field label not supported: {path}")
        terms.append((path, operator != "!=", value))
    return terms


def _field_of(entry: StoreEntry, path: str) -> str:
    if path == "metadata.name":
        return entry.name
    if path == "metadata.namespace":
        return entry.namespace
    if path in entry.fields:
        return entry.fields[path]
    return field_value(entry.object(), path)


def matcher(labels: str, fields: str, selectable: tuple[str, ...]) -> Matches | None:
    """A test for both selectors together; ``None`` where everything matches."""
    by_label = label_selector(labels) if labels else None
    terms = field_selector(fields, selectable) if fields else []
    if by_label is None and not terms:
        return None

    def matches(entry: StoreEntry) -> bool:
        if by_label is not None and not by_label(entry.labels):
            return False
        return all((_field_of(entry, path) == value) is equal for path, equal, value in terms)

    return matches
