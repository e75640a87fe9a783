"""The columns that a definition needs of its source, whatever the kind of source: that they are there, and fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import pyarrow as pa

from millrace_core.base.errors import NotFoundError, RejectError
from millrace_core.features.definition.definition import Definition
from millrace_core.features.expressions import expressions
from millrace_core.features.types.conform import require_fit

WHERE_FIELD: Final = "spec.source.where"
_NAMES_SHOWN: Final = 30


class Place(NamedTuple):
    """A part of a source, such as a file or a table, under the name that errors call it, and the columns it has."""

    name: str
    schema: pa.Schema


def required(definition: Definition) -> dict[str, str]:
    """Columns without which a row means nothing, each with the field of the definition that names it."""
    columns = {key.name: f"spec.entities[{index}].name" for index, key in enumerate(definition.join_keys)}
    columns[definition.timestamp_field] = "spec.source.timestampField"
    return columns


def needed(definition: Definition) -> dict[str, str]:
    """All columns that the definition uses, each with the field that names it; the required ones first."""
    columns = required(definition)
    for index, feature in enumerate(definition.features):
        if feature.source_column:
            part = "aggregate.column" if feature.aggregate else "column"
            columns.setdefault(feature.source_column.column, f"spec.features[{index}].{part}")
    if definition.created_field is not None:
        columns.setdefault(definition.created_field, "spec.source.createdTimestampField")
    for name in filtered_by(definition):
        columns.setdefault(name, WHERE_FIELD)
    for check in definition.quality:
        for name in check.columns:
            columns.setdefault(name, f"{check.where}.{'predicate' if check.predicate else 'column'}")
    return columns


def filtered_by(definition: Definition) -> tuple[str, ...]:
    """The columns that the row filter reads.

    Raises:
        RejectError: the filter is no pure scalar expression over columns.
    """
    if definition.source.where is None:
        return ()
    found = expressions.parse(definition.source.where, where=WHERE_FIELD)
    return tuple(".".join(name) for name in found.names)


def checked(definition: Definition, places: Sequence[Place], *, address: str) -> pa.Schema:
    """The needed columns with the types that they have over all places, once they are known to be there and to fit.

    Columns that are not required may be absent from some places, where they count as null.

    Args:
        definition: of the view.
        places: at least one.
        address: of the whole source, for errors.

    Raises:
        NotFoundError: a column is not there; names it, the field that asks for it, and the columns that are there.
        RejectError: a column is there twice, or its type cannot be read as declared.
    """
    fields = []
    everywhere = required(definition)
    for column, where in needed(definition).items():
        types = []
        for place in places:
            found = place.schema.get_all_field_indices(column)
            if len(found) > 1:
                raise RejectError(f"{place.name} has the column {column!r} more than once", field=where)
            types += [place.schema.field(found[0])] if found else []
            if column in everywhere and not found:
                raise absent(column, where, place.name, place.schema.names)
        if not types:
            raise absent(column, where, address, places[0].schema.names)
        fields.append(_unified(column, where, types))
    schema = pa.schema(fields)
    _check_types(definition, schema)
    return schema


def types(places: Sequence[Place]) -> dict[str, str]:
    """The type of every column, needed or not; of one that has another type in another place, all of them."""
    found: dict[str, dict[str, None]] = {}
    for place in places:
        for field in place.schema:
            found.setdefault(field.name, {})[str(field.type)] = None
    return {name: " | ".join(sorted(kinds)) for name, kinds in found.items()}


def absent(column: str, where: str, place: str, names: Sequence[str]) -> NotFoundError:
    """The error for a column that is not there."""
    shown = ", ".join(names[:_NAMES_SHOWN])
    return NotFoundError(f"{place} has no column {column!r}", hint=f"It has: {shown}", field=where, reason=NO_COLUMN)


NO_COLUMN: Final = "ColumnNotFound"


def _unified(column: str, where: str, fields: Sequence[pa.Field]) -> pa.Field:
    try:
        return pa.unify_schemas([pa.schema([field]) for field in fields], promote_options="permissive").field(0)
    except pa.ArrowException as error:
        types = ", ".join(sorted({str(field.type) for field in fields}))
        raise RejectError(
            f"column {column!r} has types that do not go together in different files: {types}",
            hint="Write the files with one type",
            field=where,
            reason="WrongColumnType",
        ) from error


def _check_types(definition: Definition, schema: pa.Schema) -> None:
    for index, key in enumerate(definition.join_keys):
        require_fit(schema.field(key.name).type, key.type, column=key.name, field=f"spec.entities[{index}]")
    for name, field in (
        (definition.timestamp_field, "spec.source.timestampField"),
        (definition.created_field, "spec.source.createdTimestampField"),
    ):
        if name is not None:
            require_fit(schema.field(name).type, "timestamp", column=name, field=field)
    for index, feature in enumerate(definition.features):
        if feature.source_column and feature.source_column.type:
            column, declared = feature.source_column.column, feature.source_column.type
            require_fit(schema.field(column).type, declared, column=column, field=f"spec.features[{index}]")
