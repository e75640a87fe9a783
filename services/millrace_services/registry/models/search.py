"""Searches of models and of versions as SQL: what may be asked of each, and in which order results come."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, exists, select

from millrace_services.registry.mlflow import filters, searching
from millrace_services.registry.mlflow.errors import invalid
from millrace_services.registry.mlflow.filters import Condition
from millrace_services.registry.mlflow.searching import ATTRIBUTES, LISTED, NUMBER, TAGS, TEXT, Attribute
from millrace_services.registry.model_tables import (
    model_version_tags,
    model_versions,
    registered_model_tags,
    registered_models,
)
from millrace_services.registry.models.lookup import versions

# Prompts are models with this tag. Whoever does not ask for them does not find them.
_PROMPT: Final = "mlflow.prompt.is_prompt"
_MODEL: Final = {"name": Attribute(registered_models.c.name, LISTED)}
_MODEL_ORDER: Final = {
    "name": registered_models.c.name,
    "creation_timestamp": registered_models.c.created,
    "last_updated_timestamp": registered_models.c.updated,
    "timestamp": registered_models.c.updated,
}
_VERSION: Final = {
    "name": Attribute(registered_models.c.name, LISTED),
    "version_number": Attribute(model_versions.c.version, NUMBER),
    "run_id": Attribute(model_versions.c.run_id, LISTED),
    "source_path": Attribute(model_versions.c.source, TEXT),
}
_VERSION_ORDER: Final = {
    "name": registered_models.c.name,
    "version_number": model_versions.c.version,
    "creation_timestamp": model_versions.c.created,
    "last_updated_timestamp": model_versions.c.updated,
}


def models_query(text: str, order_by: Sequence[str]) -> Select[Any]:
    """The rows of ``registered_models`` that match a filter.

    Raises:
        RejectError: filter or order mean nothing.
    """
    parsed = filters.parse(text)
    tags = registered_model_tags.c
    has = exists().where(tags.model == registered_models.c.id)
    wanted = [*_attributes(parsed, _MODEL), *_tags(parsed, has, tags)]
    return select(registered_models).where(*wanted).order_by(*searching.order(order_by, _MODEL_ORDER, ["name"]))


def versions_query(text: str, order_by: Sequence[str]) -> Select[Any]:
    """The rows of ``model_versions`` that match a filter, each with its model's ``name``.

    Raises:
        RejectError: filter or order mean nothing.
    """
    parsed = filters.parse(text)
    tags = model_version_tags.c
    has = exists().where(tags.model == model_versions.c.model, tags.version == model_versions.c.version)
    wanted = [*_attributes(parsed, _VERSION), *_tags(parsed, has, tags)]
    last = ["name", "version_number DESC"]
    order = searching.order(order_by or ["last_updated_timestamp DESC"], _VERSION_ORDER, last)
    return versions().where(*wanted).order_by(*order)


def _attributes(parsed: Sequence[Condition], known: Mapping[str, Attribute]) -> list[ColumnElement[bool]]:
    made = []
    for condition in parsed:
        entity = condition.key.entity
        if entity in TAGS:
            continue
        if entity not in ATTRIBUTES:
            raise invalid(f"Invalid entity type '{entity}'. Valid entity types are ('attribute', 'tag', 'tags')")
        made.append(searching.attribute(condition, known))
    return made


def _tags(parsed: Sequence[Condition], has: Any, tags: Any) -> list[ColumnElement[bool]]:
    wanted: dict[str, list[ColumnElement[bool]]] = defaultdict(list)
    prompts = False
    for key, comparator, value in parsed:
        if key.entity not in TAGS:
            continue
        searching.require("tag", comparator, TEXT)
        text = searching.text(key, value)
        if key.name == _PROMPT:
            prompts = prompts or (comparator, text.lower()) in (("=", "true"), ("!=", "false"))
        else:
            wanted[key.name].append(searching.compared(tags.value, comparator, text))
    prompt = has.where(tags.key == _PROMPT, tags.value == "true")
    made = [has.where(tags.key == name, *compared_values) for name, compared_values in wanted.items()]
    return [*made, prompt if prompts else ~prompt]
