"""Request bodies: JSON, or YAML where Kubernetes takes it."""

from __future__ import annotations

from typing import Any

import orjson

from millrace.local.apiserver.request import Request
from millrace.local.apiserver.status import bad_request, unsupported_media_type

OBJECT_TYPES = ("application/json", "application/yaml")


def decode_object(request: Request) -> dict[str, Any]:
    """The object in a create or replace.

    Raises:
        ApiError: 415 for a format that is not read, 400 for a body that is no object.
    """
    media_type = request.media_type
    if media_type not in ("", *OBJECT_TYPES):
        raise unsupported_media_type(media_type, OBJECT_TYPES)
    decoded = _yaml(request.body) if media_type == "application/yaml" else _json(request.body)
    if not isinstance(decoded, dict):
        raise bad_request(f"the body must be an object, got {type(decoded).__name__}")
    return decoded


def decode_patch(request: Request) -> Any:
    """The patch in the body: a list for JSON patches, else an object."""
    return _yaml(request.body) if request.media_type.endswith("+yaml") else _json(request.body)


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise bad_request(f"the body is not valid JSON: {error}") from None


def _yaml(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    import yaml

    try:
        return yaml.load(body, Loader=_loader())
    except yaml.YAMLError as error:
        raise bad_request(f"the body is not valid YAML: {error}") from None


def _loader() -> Any:
    """A safe YAML loader that leaves timestamps as the strings they are in JSON."""
    import yaml

    class Loader(yaml.CSafeLoader):
        pass

    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
    }
    return Loader
