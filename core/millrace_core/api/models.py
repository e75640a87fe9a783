"""Objects as models, and what is wrong where a document is none, field by field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeVar

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from millrace_core.api import examples
from millrace_core.api.base import ApiModel
from millrace_core.base.errors import RejectError
from millrace_core.base.shown import shown

Location = tuple[int | str, ...]
M = TypeVar("M", bound=ApiModel)

# Types of errors for which pydantic does not say what is expected.
_SAYS_LITTLE: Final = ("missing", "string_pattern_mismatch")


def validated(model: type[M], document: Any) -> M:
    """The object of a document, whose fields have the names that the API server takes, and no others.

    Raises:
        ValidationError: see ``mistakes``.
    """
    return model.model_validate(document, by_alias=True, by_name=False)


def load(model: type[M], document: Mapping[str, Any]) -> M:
    """The object of a document of this kind, which the API server has checked.

    Raises:
        RejectError: a field is wrong; names object and field.
    """
    try:
        return validated(model, document)
    except ValidationError as error:
        field, message = next(mistakes(model, error))
        raise RejectError(
            f"{document.get('kind')} {name_of(document)}: {message}", field=field, reason="InvalidObject"
        ) from error


def name_of(document: Mapping[str, Any]) -> str:
    """The name of an object, for messages."""
    metadata = document.get("metadata")
    name = metadata.get("name") or metadata.get("generateName") if isinstance(metadata, Mapping) else None
    return str(name) if name else "without a name"


# YAML 1.1, as kubectl reads it.
BOOLEAN_WORDS: Final = "; y, n, yes, no, on and off are booleans in YAML: write a text in quotes"


def mistakes(model: type[ApiModel], error: ValidationError) -> Iterator[tuple[str, str]]:
    """The wrong fields of an object of ``model``, each with a sentence."""
    # A field that is not there is named first: where another one is missing, this may be what was meant for it.
    for each in sorted(error.errors(), key=lambda each: each["type"] != "extra_forbidden"):
        yield _path(each["loc"]), _sentence(model, each)


def _sentence(model: type[ApiModel], mistake: ErrorDetails) -> str:
    kind, location = mistake["type"], mistake["loc"]
    if kind == "value_error":  # one of ours, which says what came
        return str(mistake["ctx"]["error"])
    if kind == "extra_forbidden":
        names = sorted({str(field.alias) for field in _fields(model, location[:-1])})
        return f"there is no such field; the fields here are {', '.join(names)}"
    came = "" if kind == "missing" else f" (came: {shown(mistake['input'], 80)})"
    if kind == "string_type" and isinstance(mistake["input"], bool):
        came += BOOLEAN_WORDS
    example = f" {examples.written(mistake['ctx']['pattern'])}" if kind == "string_pattern_mismatch" else ""
    return mistake["msg"] + came + (_meaning(model, location) if kind in _SAYS_LITTLE else "") + example


def _meaning(model: type[ApiModel], location: Location) -> str:
    """The description of a field, or of the list that an item stands in, which `kubectl explain` shows, too."""
    while location and isinstance(location[-1], int):
        location = location[:-1]
    found = [field for field in _fields(model, location[:-1]) if field.alias == location[-1]]
    return f": {found[0].description}" if found and found[0].description else ""


def _fields(model: type[ApiModel], location: Location) -> list[FieldInfo]:
    """The fields of what is at a place of an object."""
    pending: Any = model
    for name in (each for each in location if isinstance(each, str)):
        pending = next((field.annotation for field in _fields_of(pending) if field.alias == name), None)
    return list(_fields_of(pending))


def _fields_of(annotation: Any) -> Iterator[FieldInfo]:
    for model in _models(annotation):
        yield from model.model_fields.values()


def _models(annotation: Any) -> Iterator[type[ApiModel]]:
    if isinstance(annotation, type) and issubclass(annotation, ApiModel):
        yield annotation
    for each in getattr(annotation, "__args__", ()):
        yield from _models(each)


def _path(location: Location) -> str:
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return path.lstrip(".")
