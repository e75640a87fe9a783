"""The body of ``POST /get-online-features``: Feast's form, checked."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import orjson

from millrace.base.errors import RejectError

# The content type of Arrow streams.
STREAM: Final = b"application/vnd.apache.arrow.stream"


class FeatureRequest(NamedTuple):
    """What is asked. ``entities`` holds equally long columns by join key."""

    project: str
    refs: tuple[str, ...]
    feature_service: str
    full_feature_names: bool
    entities: dict[str, list[Any]]
    rows: int


def parse(body: bytes, default_project: str) -> FeatureRequest:
    """Reads the body.

    Raises:
        RejectError: it is no such request; names the field, what came and what is expected.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RejectError(f"the body is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise RejectError(f"the body is {named(document)}, an object is expected")
    return of(document, default_project)


def of(document: dict[str, Any], default_project: str) -> FeatureRequest:
    """The request that a document with the names of the JSON body makes. Raises as ``parse``."""
    refs = document.get("features") or []
    service = document.get("feature_service") or ""
    if not isinstance(refs, list) or not all(isinstance(ref, str) for ref in refs):
        raise RejectError("expected a list of references such as view:feature", field="features")
    if not isinstance(service, str):
        raise RejectError("expected the name of a ModelDeployment", field="feature_service")
    if bool(refs) == bool(service):
        raise RejectError(
            "expected either features or feature_service", hint='Send "features": ["view:feature"]', field="features"
        )
    project = document.get("project") or default_project
    if not isinstance(project, str):
        raise RejectError(f"{named(project)} came, a namespace is expected", field="project")
    full = document.get("full_feature_names", False)
    if not isinstance(full, bool):
        raise RejectError(f"{named(full)} came, true or false is expected", field="full_feature_names")
    entities, rows = _entities(document.get("entities"))
    return FeatureRequest(project, tuple(refs), service, full, entities, rows)


def _entities(value: Any) -> tuple[dict[str, list[Any]], int]:
    if not isinstance(value, dict) or not value:
        raise RejectError(
            "expected one list of values per join key", hint='Send "entities": {"user_id": [1001]}', field="entities"
        )
    for name, column in value.items():
        if not isinstance(column, list):
            raise RejectError(f"{named(column)} came, a list of values is expected", field=f"entities.{name}")
    lengths = {name: len(column) for name, column in value.items()}
    if len(set(lengths.values())) > 1:
        counted = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise RejectError(f"the columns differ in length: {counted}", field="entities")
    return value, next(iter(lengths.values()))


def is_stream(media_type: bytes | None) -> bool:
    """Whether a content type (or the accepted ones) is Arrow's stream."""
    return media_type is not None and STREAM in media_type


def named(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
