"""Schemas of the built-in kinds, and the OpenAPI documents of the whole API."""

from millrace_local.apiserver.openapi.builtin import builtin_schema
from millrace_local.apiserver.openapi.protobuf import MEDIA_TYPE, v2_protobuf, wants_protobuf
from millrace_local.apiserver.openapi.v2 import v2_document
from millrace_local.apiserver.openapi.v3 import v3_document, v3_index

__all__ = [
    "MEDIA_TYPE",
    "builtin_schema",
    "v2_document",
    "v2_protobuf",
    "v3_document",
    "v3_index",
    "wants_protobuf",
]
