"""Structural schemas: defaulting, pruning and validation, with CEL rules."""

from millrace_local.apiserver.schema.compiled import Schema, compile_schema
from millrace_local.apiserver.schema.errors import FieldError, SchemaError
from millrace_local.apiserver.schema.node import SchemaNode

__all__ = ["FieldError", "Schema", "SchemaError", "SchemaNode", "compile_schema"]
