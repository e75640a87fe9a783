"""Objects from YAML text or dictionaries, with errors that name file, object and field."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from millrace_core.api.base import API_VERSION, ApiModel
from millrace_core.api.experiment import Experiment
from millrace_core.api.featureview import FeatureView
from millrace_core.api.kinds import KINDS
from millrace_core.api.modeldeployment import ModelDeployment
from millrace_core.base.errors import RejectError

ApiObject = FeatureView | ModelDeployment | Experiment
Location = tuple[int | str, ...]
M = TypeVar("M", bound=ApiModel)


class Loader(yaml.SafeLoader):
    """Keeps times as texts, as kubectl does. YAML 1.1 would make datetimes of them."""


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}

# Types of errors for which pydantic does not say what is expected.
_SAYS_LITTLE = ("missing", "string_pattern_mismatch")
_MODELS: dict[str, type[ApiModel]] = {kind.name: kind.model for kind in KINDS}


def load_yaml(text: str, *, origin: str = "") -> list[ApiObject]:
    """The objects of Millrace's kinds in a YAML text of one or more documents. Other kinds are skipped.

    Args:
        text: the YAML.
        origin: where the text came from, such as a path, for messages.

    Raises:
        RejectError: the text is no YAML, or an object is wrong; names origin, object and field.
    """
    return [load_object(document, origin=origin) for document in _documents(text, origin)]


def load_object(document: dict[str, Any], *, origin: str = "") -> ApiObject:
    """One object from its dictionary.

    Raises:
        RejectError: the kind is unknown or a field is wrong; names origin, object and field.
    """
    kind = document.get("kind")
    model = _MODELS.get(str(kind))
    if model is None:
        raise RejectError(f"kind {kind!r} is not one of {', '.join(_MODELS)}", field="kind", reason="UnknownKind")
    name = (document.get("metadata") or {}).get("name", "without a name")
    where = f"{origin}: " if origin else ""
    try:
        return validated(model, document)  # type: ignore[return-value]
    except ValidationError as error:
        field, message = next(mistakes(model, error))
        raise RejectError(f"{where}{kind} {name}: {message}", field=field, reason="InvalidObject") from error


def validated(model: type[M], document: Any) -> M:
    """The object of a document, whose fields have the names that the API server takes, and no others.

    Raises:
        ValidationError: see ``mistakes``.
    """
    return model.model_validate(document, by_alias=True, by_name=False)


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
    came = "" if kind == "missing" else f" (came: {mistake['input']!r:.80})"
    return mistake["msg"] + came + (_meaning(model, location) if kind in _SAYS_LITTLE else "")


def _meaning(model: type[ApiModel], location: Location) -> str:
    """The description of a field, which `kubectl explain` shows, too."""
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


def _documents(text: str, origin: str) -> Iterator[dict[str, Any]]:
    try:
        documents = list(yaml.load_all(text, Loader))
    except yaml.YAMLError as error:
        raise RejectError(f"{origin or 'the text'} is no YAML: {error}", reason="InvalidYaml") from error
    for document in documents:
        if isinstance(document, dict) and document.get("apiVersion") == API_VERSION:
            yield document


def _path(location: Location) -> str:
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return path.lstrip(".")
