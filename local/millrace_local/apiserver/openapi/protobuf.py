"""The OpenAPI 2 document as protocol buffers: the only form that kubectl before 1.27 reads.

Field numbers are those of ``openapiv2/OpenAPIv2.proto`` in https://github.com/google/gnostic; values of any kind and
extensions travel as JSON text, which is YAML.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson

#: The media type, and an older spelling that old clients send and Go no longer parses.
MEDIA_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
OLD_MEDIA_TYPE = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"


def wants_protobuf(accept: str) -> bool:
    """Whether the Accept header asks for this form."""
    return MEDIA_TYPE in accept or OLD_MEDIA_TYPE in accept


_VARINT, _FIXED64, _LENGTH = 0, 1, 2
_CONTINUED = 0x80

Encode = Callable[[Any], bytes]


def v2_protobuf(document: Mapping[str, Any]) -> bytes:
    """Encodes what :func:`v2_document` gives."""
    info = _text(1, document["info"]["title"]) + _text(2, document["info"]["version"])
    paths = _named(2, document["paths"], _path)
    definitions = _named(1, document["definitions"], _schema)
    return _text(1, document["swagger"]) + _block(2, info) + _block(8, paths) + _block(9, definitions)


def _varint(number: int) -> bytes:
    out = bytearray()
    number &= 2**64 - 1
    while number >= _CONTINUED:
        out.append(number & (_CONTINUED - 1) | _CONTINUED)
        number >>= 7
    out.append(number)
    return bytes(out)


def _block(field: int, content: bytes) -> bytes:
    """A message, string or bytes as a field."""
    return _varint(field << 3 | _LENGTH) + _varint(len(content)) + content


def _text(field: int, value: str) -> bytes:
    return _block(field, value.encode())


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3 | _VARINT) + _varint(int(value))


def _double(field: int, value: float) -> bytes:
    return _varint(field << 3 | _FIXED64) + struct.pack("<d", value)


def _any(field: int, value: Any) -> bytes:
    return _block(field, _block(2, orjson.dumps(value)))


def _each(field: int, values: Iterable[Any], encode: Encode) -> bytes:
    return b"".join(_block(field, encode(value)) for value in values)


def _named(field: int, values: Mapping[str, Any], encode: Encode) -> bytes:
    """A map as a list of pairs of name and value."""
    return b"".join(_block(field, _text(1, name) + _block(2, encode(value))) for name, value in values.items())


def _extensions(field: int, source: Mapping[str, Any]) -> bytes:
    extensions = {name: value for name, value in source.items() if name.startswith("x-")}
    return b"".join(_block(field, _text(1, name) + _any(2, value)) for name, value in extensions.items())


_METHODS = {"get": 2, "put": 3, "post": 4, "delete": 5, "patch": 8}


def _path(item: Mapping[str, Any]) -> bytes:
    operations = b"".join(_block(_METHODS[name], _operation(item[name])) for name in _METHODS if name in item)
    return operations + _each(9, item.get("parameters", ()), _parameter)


def _operation(operation: Mapping[str, Any]) -> bytes:
    return b"".join(
        (
            _text(5, operation["operationId"]),
            *(_text(6, media) for media in operation.get("produces", ())),
            *(_text(7, media) for media in operation.get("consumes", ())),
            _each(8, operation["parameters"], _parameter),
            _block(9, _named(1, operation["responses"], _response)),
            _extensions(13, operation),
        )
    )


def _response(response: Mapping[str, Any]) -> bytes:
    schema = _block(2, _block(1, _schema(response["schema"]))) if "schema" in response else b""
    return _block(1, _text(1, response["description"]) + schema)


#: Field numbers of a non-body parameter by its location: (its own message, type, uniqueItems).
_PLACES = {"query": (3, 6, 20), "path": (4, 5, 19)}


def _parameter(parameter: Mapping[str, Any]) -> bytes:
    required, where, description = parameter.get("required", False), parameter["in"], parameter.get("description", "")
    if where == "body":
        content = _text(1, description) + _text(2, parameter["name"]) + _text(3, where)
        content += _number(4, required) + _block(5, _schema(parameter["schema"]))
        return _block(1, _block(1, content))
    message, kind, unique = _PLACES[where]
    content = _number(1, required) + _text(2, where) + _text(3, description) + _text(4, parameter["name"])
    content += _text(kind, parameter["type"]) + _number(unique, parameter.get("uniqueItems", False))
    return _block(1, _block(2, _block(message, content)))


_SCHEMA_FIELDS: dict[str, tuple[int, Callable[[int, Any], bytes]]] = {
    "$ref": (1, _text),
    "format": (2, _text),
    "title": (3, _text),
    "description": (4, _text),
    "default": (5, _any),
    "multipleOf": (6, _double),
    "maximum": (7, _double),
    "exclusiveMaximum": (8, _number),
    "minimum": (9, _double),
    "exclusiveMinimum": (10, _number),
    "maxLength": (11, _number),
    "minLength": (12, _number),
    "pattern": (13, _text),
    "maxItems": (14, _number),
    "minItems": (15, _number),
    "uniqueItems": (16, _number),
    "maxProperties": (17, _number),
    "minProperties": (18, _number),
    "required": (19, lambda field, names: b"".join(_text(field, name) for name in names)),
    "enum": (20, lambda field, choices: b"".join(_any(field, choice) for choice in choices)),
    "additionalProperties": (21, lambda field, value: _block(field, _schema_or_flag(value))),
    "type": (22, lambda field, name: _block(field, _text(1, name))),
    "items": (23, lambda field, schema: _block(field, _block(1, _schema(schema)))),
    "properties": (25, lambda field, schemas: _block(field, _named(1, schemas, _schema))),
}


def _schema_or_flag(value: Any) -> bytes:
    return _number(2, value) if isinstance(value, bool) else _block(1, _schema(value))


def _schema(schema: Mapping[str, Any]) -> bytes:
    known = (
        encode(field, schema[keyword])
        for keyword, (field, encode) in _SCHEMA_FIELDS.items()
        if schema.get(keyword) is not None
    )
    return b"".join(known) + _extensions(31, schema)
