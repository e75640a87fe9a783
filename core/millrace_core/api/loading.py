"""Objects from YAML text or dictionaries, with errors that name file, object and field."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml
from pydantic import ValidationError

from millrace_core.api.base import API_VERSION, ApiModel
from millrace_core.api.experiment import Experiment
from millrace_core.api.featureview import FeatureView
from millrace_core.api.kinds import KINDS
from millrace_core.api.modeldeployment import ModelDeployment
from millrace_core.base.errors import RejectError

ApiObject = FeatureView | ModelDeployment | Experiment


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
        return model.model_validate(document)  # type: ignore[return-value]
    except ValidationError as error:
        field, message = next(mistakes(model, error))
        raise RejectError(f"{where}{kind} {name}: {message}", field=field, reason="InvalidObject") from error


def mistakes(model: type[ApiModel], error: ValidationError) -> Iterator[tuple[str, str]]:
    """The wrong fields of an object of ``model``, each with a sentence."""
    for each in error.errors():
        message = each["msg"]
        if each["type"] != "missing":
            message += f" (came: {each['input']!r:.80})"
        if each["type"] in _SAYS_LITTLE:
            message += _meaning(model, each["loc"])
        yield _path(each["loc"]), message


def _meaning(model: type[ApiModel], location: tuple[int | str, ...]) -> str:
    """The description of a field, which `kubectl explain` shows, too."""
    description = None
    pending: Any = model
    for name in location:
        if isinstance(name, int):
            continue
        fields = [field for inner in _models(pending) for field in inner.model_fields.values()]
        found = [field for field in fields if field.alias == name]
        if not found:
            return ""
        description, pending = found[0].description, found[0].annotation
    return f": {description}" if description else ""


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


def _path(location: tuple[int | str, ...]) -> str:
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return path.lstrip(".")
