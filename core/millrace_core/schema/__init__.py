"""Structural schemas: defaulting, pruning and validation, with CEL rules."""

from millrace_core.schema.compiled import Schema, compile_schema
from millrace_core.schema.errors import FieldError, SchemaError
from millrace_core.schema.node import SchemaNode

__all__ = ["FieldError", "Schema", "SchemaError", "SchemaNode", "compile_schema"]
