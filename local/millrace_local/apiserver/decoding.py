"""Request bodies: JSON everywhere, YAML and protobuf where Kubernetes takes them."""

from __future__ import annotations

import functools
from typing import Any

import orjson

from millrace_core.schema import Schema, compile_schema
from millrace_local.apiserver import protobuf
from millrace_local.apiserver.errors import StatusError, bad_request, unsupported_media_type
from millrace_local.apiserver.openapi import builtin_schema
from millrace_local.apiserver.request import Request

# What is kept is written as JSON, of 254 levels at most, with a few levels around it.
_DEEPEST = 200
OBJECT_TYPES = ("application/json", "application/yaml", protobuf.MEDIA_TYPE)


def decode_object(request: Request) -> dict[str, Any]:
    """The object in the body.

    Raises:
        StatusError: 415 for a format that is not read, 400 for a body that is no object.
    """
    media_type = request.media_type
    if media_type not in ("", *OBJECT_TYPES):
        raise unsupported_media_type(media_type, OBJECT_TYPES)
    decoded = _DECODERS.get(media_type, _json)(request.body)
    if not isinstance(decoded, dict):
        raise bad_request(f"the body must be an object, got {type(decoded).__name__}")
    _refuse_deep(request.body, decoded)
    return decoded


def decode_as(request: Request, group: str, version: str, kind: str) -> dict[str, Any]:
    """The object in the body, whose fields are those of a built-in kind.

    Raises:
        StatusError: as ``decode_object``; 400 for a field of another type than the kind's.
    """
    decoded = decode_object(request)
    schema = _schema(group, version, kind)
    schema.default(decoded)
    for error in schema.validate(decoded):
        raise bad_request(f'{kind} in version "{version}" cannot be handled as a {kind}: {error.path}: {error.message}')
    return decoded


@functools.cache
def _schema(group: str, version: str, kind: str) -> Schema:
    return compile_schema(builtin_schema(group, version, kind))


def decode_patch(request: Request) -> Any:
    """The patch in the body: a list for JSON patches, else an object."""
    patch = _yaml(request.body) if request.media_type.endswith("+yaml") else _json(request.body)
    _refuse_deep(request.body, patch)
    return patch


def _refuse_deep(body: bytes, decoded: Any) -> None:
    # Of few brackets nothing deep is made; YAML without them is limited where it is read.
    if body.count(b"[") + body.count(b"{") <= _DEEPEST:
        return
    level = [decoded] if isinstance(decoded, dict | list) else []
    for _ in range(_DEEPEST):
        level = [
            each
            for value in level
            for each in (value.values() if isinstance(value, dict) else value)
            if isinstance(each, dict | list)
        ]
        if not level:
            return
    raise bad_request(f"the body is nested deeper than {_DEEPEST} levels")


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise bad_request(f"the body is not valid JSON: {error}") from None


def _protobuf(body: bytes) -> Any:
    try:
        return protobuf.decode(body)
    except protobuf.UnknownMessageError as error:
        raise StatusError(415, "UnsupportedMediaType", str(error)) from None
    except protobuf.UndecodableError as error:
        raise bad_request(str(error)) from None


def _yaml(body: bytes) -> Any:
    # Most bodies with the media type of YAML are JSON, which is YAML too and is parsed a hundred times faster.
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    documents = yaml_documents(body)
    return documents[0] if len(documents) == 1 else None


def yaml_documents(text: bytes) -> list[Any]:
    """The documents of a YAML file as JSON values: times stay text, and keys are strings.

    Raises:
        StatusError: 400 for what is not YAML, or has no form in JSON.
    """
    from millrace_core.base import yaml_text  # noqa: PLC0415 - costs a tenth of the start time

    try:
        return yaml_text.values(text.decode())
    except (yaml_text.YamlError, UnicodeDecodeError) as error:
        raise bad_request(f"the body is not valid YAML: {error}") from None


_DECODERS = {"application/yaml": _yaml, protobuf.MEDIA_TYPE: _protobuf}
