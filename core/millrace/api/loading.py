"""Objects from YAML text or dictionaries, with errors that name file, object and field."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml
from pydantic import ValidationError

from millrace.api.base import API_VERSION, ApiModel
from millrace.api.experiment import Experiment
from millrace.api.featureview import FeatureView
from millrace.api.kinds import KINDS
from millrace.api.modeldeployment import ModelDeployment
from millrace.base.errors import RejectError

Object = FeatureView | ModelDeployment | Experiment


class Loader(yaml.SafeLoader):
    """Keeps times as the text that they are, as kubectl does; YAML 1.1 alone would make datetimes of them."""


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}

_MODELS: dict[str, type[ApiModel]] = {kind.name: kind.model for kind in KINDS}


def load_yaml(text: str, *, origin: str = "") -> list[Object]:
    """Every object of Millrace's kinds in a YAML text of one or more documents; other kinds are passed over.

    Args:
        text: the YAML.
        origin: where it came from (a path), for messages.

    Raises:
        RejectError: the text is no YAML, or an object is wrong; names origin, object and field.
    """
    return [load_object(document, origin=origin) for document in _documents(text, origin)]


def load_object(document: dict[str, Any], *, origin: str = "") -> Object:
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
        first = error.errors()[0]
        path = _path(first["loc"])
        raise RejectError(
            f"{where}{kind} {name}: {first['msg']} (came: {first['input']!r:.120})",
            field=path,
            reason="InvalidObject",
        ) from error


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
