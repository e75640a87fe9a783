"""The body of ``POST /get-online-features``: Feast's form, checked."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson

from millrace_core.base.errors import RejectError
from millrace_core.base.shown import shown

# The content type of Arrow streams.
STREAM: Final = b"application/vnd.apache.arrow.stream"

_TEXT: Final = frozenset([str])


class FeatureRequest(NamedTuple):
    """A checked request: which features, of which entities.

    Feast's clients send request fields among the entities; ``split`` tells them apart, once the plan knows both.

    Attributes:
        project: the namespace of the views.
        refs: ``view:feature`` each; empty where ``feature_service`` names a list of them.
        full_feature_names: whether answers call a feature ``view__feature``.
        entities: equally long columns by join key.
        request_values: columns of the same length by request field.
        rows: the length of the columns.
    """

    project: str
    refs: tuple[str, ...]
    feature_service: str
    full_feature_names: bool
    entities: dict[str, list[Any]]
    request_values: dict[str, list[Any]]
    rows: int

    def split(self, join_keys: Collection[str], request_fields: Collection[str]) -> FeatureRequest:
        """The request with the join keys in ``entities`` and all request fields in ``request_values``.

        Raises:
            RejectError: a column is neither a join key nor a request field; names those that are known.
        """
        if not request_fields and all(name in join_keys for name in self.entities):
            return self
        values = {name: column for name, column in self.entities.items() if name in request_fields}
        for name in self.entities:
            if name not in join_keys and name not in values:
                fields = f"; the request fields: {', '.join(sorted(request_fields))}" if request_fields else ""
                raise RejectError(
                    f"{name!r} is no join key of the requested features",
                    hint=f"The join keys are: {', '.join(join_keys) or 'none'}{fields}",
                    field=f"entities.{name}",
                )
        entities = {name: column for name, column in self.entities.items() if name in join_keys}
        return self._replace(entities=entities, request_values=values | self.request_values)

    def decoded(self, binary: Collection[str]) -> FeatureRequest:
        """The request of JSON with its join keys of bytes as bytes; those in ``binary`` came in base64.

        Raises:
            RejectError: a value is no base64.
        """
        entities = dict(self.entities)
        for name in entities.keys() & set(binary):
            entities[name] = [_bytes(name, row, value) for row, value in enumerate(entities[name])]
        return self._replace(entities=entities)


def parse(body: bytes, default_project: str, loads: Callable[[bytes], Any] = orjson.loads) -> FeatureRequest:
    """Reads the JSON body, by ``loads``.

    Raises:
        RejectError: the body is no such request; names the field, what came and what is expected.
    """
    try:
        document = loads(body)
    except orjson.JSONDecodeError as error:
        raise RejectError(f"the body is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise RejectError(f"the body is {json_type(document)}, an object is expected")
    return from_document(document, default_project)


def from_document(document: dict[str, Any], default_project: str) -> FeatureRequest:
    """The request that a document in the form of the JSON body is. Raises as ``parse``."""
    refs = document.get("features") or []
    service = document.get("feature_service") or ""
    if not isinstance(refs, list) or not _TEXT.issuperset(map(type, refs)):
        raise RejectError("expected a list of references such as view:feature", field="features")
    if not isinstance(service, str):
        raise RejectError("expected the name of a feature service or of a ModelDeployment", field="feature_service")
    if bool(refs) == bool(service):
        raise RejectError(
            "expected either features or feature_service", hint='Send "features": ["view:feature"]', field="features"
        )
    project = document.get("project") or default_project
    if not isinstance(project, str):
        raise RejectError(f"{json_type(project)} came, a namespace is expected", field="project")
    full = document.get("full_feature_names", False)
    if not isinstance(full, bool):
        raise RejectError(f"{json_type(full)} came, true or false is expected", field="full_feature_names")
    if document.get("include_feature_view_version_metadata"):
        raise RejectError(
            "true came; feature views have no versions to tell of",
            hint="Leave it out, or send false",
            field="include_feature_view_version_metadata",
        )
    request = document.get("request") or {}
    if not isinstance(request, dict):
        raise RejectError(
            f"{json_type(request)} came, one list of values per request field is expected", field="request"
        )
    entities = _entities(document.get("entities"))
    return FeatureRequest(project, tuple(refs), service, full, entities, request, row_count(entities, request))


def row_count(entities: Mapping[str, Sequence[Any]], request: Mapping[str, Any]) -> int:
    """How many rows a request is for: as many as its columns have, and one where it has none, as it may of views
    without entities."""
    for column in (*entities.values(), *request.values()):
        if isinstance(column, list):  # what is not is refused by whoever reads it
            return len(column)
    return 1


def _entities(value: Any) -> dict[str, list[Any]]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RejectError(
            "expected one list of values per join key", hint='Send "entities": {"user_id": [1001]}', field="entities"
        )
    for name, column in value.items():
        if not isinstance(column, list):
            raise RejectError(f"{json_type(column)} came, a list of values is expected", field=f"entities.{name}")
    lengths = list(map(len, value.values()))
    if lengths and lengths.count(lengths[0]) != len(lengths):
        counted = ", ".join(f"{name} has {length}" for name, length in zip(value, lengths, strict=True))
        raise RejectError(f"the columns differ in length: {counted}", field="entities")
    return value


def _bytes(name: str, row: int, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return b64decode(value, validate=True)
    except ValueError as error:
        raise RejectError(
            f"{shown(value, 100)} came, bytes in base64 are expected", field=f"entities.{name}[{row}]"
        ) from error


def is_stream(media_type: bytes | None) -> bool:
    """Whether a content type (or the accepted ones) is Arrow's stream."""
    return media_type is not None and STREAM in media_type


def json_type(value: Any) -> str:
    """What JSON calls the kind of a value, with its article, for messages."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
