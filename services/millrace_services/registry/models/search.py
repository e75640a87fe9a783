"""Searches of models and of versions as SQL: what may be asked of each, and in which order results come."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Column, ColumnElement, Row, Select, exists, func, select

from millrace_services.registry.mlflow import filters
from millrace_services.registry.mlflow.errors import invalid
from millrace_services.registry.mlflow.filters import Condition, Key, Value
from millrace_services.registry.mlflow.paging import offset_of, token_of
from millrace_services.registry.model_tables import (
    model_version_tags,
    model_versions,
    registered_model_tags,
    registered_models,
)
from millrace_services.registry.models.lookup import versions

# Prompts are models with this tag. Whoever does not ask for them does not find them.
_PROMPT: Final = "mlflow.prompt.is_prompt"
_TEXT: Final = frozenset({"=", "!=", "LIKE", "ILIKE"})
_LISTED: Final = _TEXT | {"IN", "NOT IN"}
_NUMBER: Final = frozenset({"=", "!=", "<", "<=", ">", ">="})
_WHOLE: Final = re.compile(r"-?[0-9]{1,9}")
_ATTRIBUTE: Final = frozenset({"", "attribute", "attributes"})
_TAG: Final = frozenset({"tag", "tags"})


class Attribute(NamedTuple):
    """A column that is searched by, and how it may be compared."""

    column: Column[Any]
    comparators: frozenset[str]


_MODEL: Final = {"name": Attribute(registered_models.c.name, _LISTED)}
_MODEL_ORDER: Final = {
    "name": registered_models.c.name,
    "creation_timestamp": registered_models.c.created,
    "last_updated_timestamp": registered_models.c.updated,
    "timestamp": registered_models.c.updated,
}
_VERSION: Final = {
    "name": Attribute(registered_models.c.name, _LISTED),
    "version_number": Attribute(model_versions.c.version, _NUMBER),
    "run_id": Attribute(model_versions.c.run_id, _LISTED),
    "source_path": Attribute(model_versions.c.source, _TEXT),
}
_VERSION_ORDER: Final = {
    "name": registered_models.c.name,
    "version_number": model_versions.c.version,
    "creation_timestamp": model_versions.c.created,
    "last_updated_timestamp": model_versions.c.updated,
}


class Page(NamedTuple):
    """Which results of a search are wanted."""

    size: int
    offset: int

    @classmethod
    def of(cls, size: int, token: str) -> Page:
        """The page of a token. Raises ``MlflowError`` where it is none."""
        return cls(size, offset_of(token))

    def applied(self, query: Select[Any]) -> Select[Any]:
        """The query for this page, and for one result more."""
        return query.limit(self.size + 1).offset(self.offset)

    def cut(self, rows: Sequence[Row[Any]]) -> tuple[Sequence[Row[Any]], str]:
        """The page of what came, and the token of the next one; empty where there is none."""
        return rows[: self.size], token_of(self.offset + self.size) if len(rows) > self.size else ""


def models_query(text: str, order_by: Sequence[str]) -> Select[Any]:
    """The rows of ``registered_models`` that match a filter.

    Raises:
        RejectError: filter or order mean nothing.
    """
    parsed = filters.parse(text)
    tags = registered_model_tags.c
    has = exists().where(tags.model == registered_models.c.id)
    wanted = [*_attributes(parsed, _MODEL), *_tags(parsed, has, tags)]
    return select(registered_models).where(*wanted).order_by(*_order(order_by, _MODEL_ORDER, ["name"]))


def versions_query(text: str, order_by: Sequence[str]) -> Select[Any]:
    """The rows of ``model_versions`` that match a filter, each with its model's ``name``.

    Raises:
        RejectError: filter or order mean nothing.
    """
    parsed = filters.parse(text)
    tags = model_version_tags.c
    has = exists().where(tags.model == model_versions.c.model, tags.version == model_versions.c.version)
    wanted = [*_attributes(parsed, _VERSION), *_tags(parsed, has, tags)]
    order = _order(order_by or ["last_updated_timestamp DESC"], _VERSION_ORDER, ["name", "version_number DESC"])
    return versions().where(*wanted).order_by(*order)


def _attributes(parsed: Sequence[Condition], known: Mapping[str, Attribute]) -> list[ColumnElement[bool]]:
    made = []
    for key, comparator, value in parsed:
        if key.entity in _TAG:
            continue
        if key.entity not in _ATTRIBUTE:
            raise invalid(f"Invalid entity type '{key.entity}'. Valid entity types are ('attribute', 'tag', 'tags')")
        attribute = known.get(key.name)
        if attribute is None:
            raise invalid(f"Invalid attribute key '{key.name}' specified. Valid keys are {sorted(known)}")
        if comparator not in attribute.comparators:
            allowed = ", ".join(sorted(attribute.comparators))
            raise invalid(f"Invalid comparator for attribute {key.name}: {comparator}. Allowed are {allowed}")
        kind = int if attribute.comparators is _NUMBER else str
        made.append(compared(attribute.column, comparator, _of(kind, key, value)))
    return made


def _tags(parsed: Sequence[Condition], has: Any, tags: Any) -> list[ColumnElement[bool]]:
    wanted: dict[str, list[ColumnElement[bool]]] = defaultdict(list)
    prompts = False
    for key, comparator, value in parsed:
        if key.entity not in _TAG:
            continue
        if comparator not in _TEXT:
            raise invalid(f"Invalid comparator for tag: {comparator}. Allowed are {', '.join(sorted(_TEXT))}")
        text = _of(str, key, value)
        if key.name == _PROMPT:
            prompts = prompts or (comparator, str(text).lower()) in (("=", "true"), ("!=", "false"))
        else:
            wanted[key.name].append(compared(tags.value, comparator, text))
    prompt = has.where(tags.key == _PROMPT, tags.value == "true")
    made = [has.where(tags.key == name, *compared_values) for name, compared_values in wanted.items()]
    return [*made, prompt if prompts else ~prompt]


def compared(column: Any, comparator: str, value: Any) -> ColumnElement[bool]:
    """A comparison as SQL; ``_`` and ``%`` of LIKE and ILIKE stand for one character and for any number of them."""
    made: ColumnElement[bool]
    match comparator:
        case "LIKE":
            made = column.like(_pattern(value), escape="\\")
        case "ILIKE":
            made = func.lower(column).like(_pattern(value.lower()), escape="\\")
        case "IN" | "NOT IN":
            made = column.in_(value) if comparator == "IN" else column.not_in(value)
        case "!=" | "=":
            made = column != value if comparator == "!=" else column == value
        case "<" | "<=":
            made = column < value if comparator == "<" else column <= value
        case _:
            made = column > value if comparator == ">" else column >= value
    return made


def _pattern(text: str) -> str:
    return text.replace("\\", "\\\\")


def _of(kind: type[int] | type[str], key: Key, value: Value) -> Value:
    if isinstance(value, tuple) or (kind is str and isinstance(value, str)):
        return value
    # A number may stand in quotes.
    if kind is int and isinstance(value, str | int) and _WHOLE.fullmatch(str(value)):
        return int(value)
    expected = "a number" if kind is int else "a text in quotes"
    raise invalid(f"Invalid value for attribute '{key.name}': {expected} is expected")


def _order(given: Sequence[str], known: Mapping[str, Column[Any]], last: Sequence[str]) -> list[Any]:
    parsed = [filters.parse_order(each) for each in given]
    for key, _ in parsed:
        if key.entity not in _ATTRIBUTE or key.name not in known:
            raise invalid(f"Invalid order by key '{key.name}' specified. Valid keys are {sorted(known)}")
    filters.refuse_twice(key.name for key, _ in parsed)
    named = {key.name for key, _ in parsed}
    parsed += [order for order in map(filters.parse_order, last) if order[0].name not in named]
    return [known[key.name].desc() if descending else known[key.name].asc() for key, descending in parsed]
