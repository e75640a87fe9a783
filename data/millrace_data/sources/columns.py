"""The columns that a definition needs of its source, whatever the kind of source: that they are there, and fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, cast

import pyarrow as pa

from millrace_core.api.feature import EntityType, FeatureType
from millrace_core.api.source import TimeUnit
from millrace_core.base.errors import NotFoundError, RejectError
from millrace_core.base.shown import listed
from millrace_core.features.definition.definition import Definition
from millrace_core.features.definition.source_columns import filtered_by
from millrace_core.features.types.common_type import common_type
from millrace_core.features.types.conform import ARROW, KEY_ARROW, fits, may_misfit, require_fit
from millrace_core.features.types.kinds import is_number, plain_type
from millrace_data.sources.reading import CREATED_FIELD, TIMESTAMP_FIELD, Reading

WHERE_FIELD: Final = "spec.source.where"


def _holds_something(_: str) -> bool:
    return False


class Place(NamedTuple):
    """A part of a source, such as a file or a table, under the name that errors call it, and the columns it has.

    ``empty`` tells of a column whether it is known to be null in every row. The type of such a one says nothing: of a
    day without any value pandas makes a column of doubles, whatever the other days have.
    """

    name: str
    schema: pa.Schema
    empty: Callable[[str], bool] = _holds_something


def required(definition: Definition) -> dict[str, str]:
    """The source's columns without which a row means nothing, each with the field of the definition that names it."""
    columns = {key.name: f"spec.entities[{index}].name" for index, key in enumerate(definition.entities)}
    columns[definition.timestamp_field] = TIMESTAMP_FIELD
    return _own(definition, columns)


def needed(definition: Definition) -> dict[str, str]:
    """All of the source's own columns that the definition uses, each with the field that names it; required ones first.

    Of a computed column they are those that it reads.
    """
    columns = required(definition)
    named: dict[str, str] = {}
    for index, feature in enumerate(definition.features):
        if feature.source_column:
            part = "aggregate.column" if feature.aggregate else "column"
            named.setdefault(feature.source_column.column, f"spec.features[{index}].{part}")
    if definition.created_field is not None:
        named.setdefault(definition.created_field, CREATED_FIELD)
    for name in filtered_by(definition.source):
        named.setdefault(name, WHERE_FIELD)
    for check in definition.quality:
        for name in check.columns:
            named.setdefault(name, f"{check.where}.{'predicate' if check.predicate else 'column'}")
    for name, where in _own(definition, named).items():
        columns.setdefault(name, where)
    return columns


def _own(definition: Definition, named: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, where in named.items():
        computed = definition.computed.get(name)
        for own in (name,) if computed is None else computed.reads:
            found.setdefault(own, where if computed is None else computed.where)
    return found


class Use(NamedTuple):
    """One use of a column as a declared type.

    ``key`` is of a join key, whose integers are of one type; ``rounds`` of an aggregate in doubles.
    """

    declared: FeatureType
    field: str
    key: bool = False
    rounds: bool = False

    @property
    def arrow(self) -> pa.DataType:
        """The Arrow type of the values as they are used."""
        return KEY_ARROW[cast("EntityType", self.declared)] if self.key else ARROW[self.declared]


def uses(definition: Definition) -> dict[str, list[Use]]:
    """How the definition uses columns whose types it declares, by their names as it sees them."""
    found: dict[str, list[Use]] = {}
    for index, key in enumerate(definition.entities):
        found.setdefault(key.name, []).append(Use(key.type, f"spec.entities[{index}]", key=True))
    for name, field in ((definition.timestamp_field, TIMESTAMP_FIELD), (definition.created_field, CREATED_FIELD)):
        if name is not None:
            found.setdefault(name, []).append(Use("timestamp", field))
    for index, feature in enumerate(definition.features):
        if feature.source_column and feature.source_column.type:
            rounds = feature.aggregate is not None and feature.source_column.type == "float64"
            use = Use(feature.source_column.type, f"spec.features[{index}]", rounds=rounds)
            found.setdefault(feature.source_column.column, []).append(use)
    return found


def checked(definition: Definition, places: Sequence[Place], *, address: str) -> Reading:
    """How the needed columns are read of all places, once they are known to be there and to fit.

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
    declared = uses(definition)
    asked = needed(definition)
    reading = Reading.of(definition, asked)
    for column, where in asked.items():
        kinds: dict[pa.DataType, list[Place]] = {}
        there = False
        for place in places:
            found = place.schema.get_all_field_indices(column)
            if len(found) > 1:
                raise RejectError(f"{place.name} has the column {column!r} more than once", field=where)
            if column in everywhere and not found:
                raise absent(column, where, place.name, place.schema.names)
            there = there or bool(found)
            if found and not pa.types.is_null(place.schema.field(found[0]).type):
                kinds.setdefault(place.schema.field(found[0]).type, []).append(place)
        if not there:
            raise absent(column, where, address, places[0].schema.names)
        mine = [] if column in definition.computed else declared.get(column, [])
        fields.append(pa.field(column, _type(column, where, kinds, mine, reading.units.get(column))))
    return reading.over(pa.schema(fields))


def _type(
    column: str, where: str, found: Mapping[pa.DataType, list[Place]], declared: Sequence[Use], unit: TimeUnit | None
) -> pa.DataType:
    """The type in which a column of these types, each with the places that have it, is read."""
    kinds = {kind: places[0].name for kind, places in found.items()}
    if len(kinds) > 1 or not all(fits(kind, use.declared) for kind in kinds for use in declared):
        kinds = {kind: name for kind, name in kinds.items() if not all(place.empty(column) for place in found[kind])}
    if unit is not None:
        kinds = {ARROW["timestamp"] if is_number(plain_type(kind)) else kind: name for kind, name in kinds.items()}
    for use in declared:
        for kind, place in kinds.items():
            _require_fit(kind, use, column, place if len(kinds) > 1 else "")
    targets = {use.arrow for use in declared}
    if len(targets) == 1 and (
        len(kinds) > 1
        or (not all(use.rounds for use in declared) and any(may_misfit(kind, declared[0].declared) for kind in kinds))
    ):
        return targets.pop()
    return common_type(list(kinds), column=column, field=where, text=where.endswith(".expression"))


def _require_fit(kind: pa.DataType, use: Use, column: str, place: str) -> None:
    try:
        require_fit(kind, use.declared, column=column, field=use.field)
    except RejectError as error:
        if not place:
            raise
        raise RejectError(f"{place}: {error.message}", hint=error.hint, field=use.field, reason=error.reason) from error


def types(places: Sequence[Place]) -> dict[str, str]:
    """The type of every column, needed or not; of one that has another type in another place, all of them."""
    found: dict[str, dict[str, None]] = {}
    for place in places:
        for field in place.schema:
            found.setdefault(field.name, {})[str(field.type)] = None
    return {name: " | ".join(sorted(kinds)) for name, kinds in found.items()}


def absent(column: str, where: str, place: str, names: Sequence[str]) -> NotFoundError:
    """The error for a column that is not there."""
    hint = f"It has: {listed(names)}"
    return NotFoundError(f"{place} has no column {column!r}", hint=hint, field=where, reason=NO_COLUMN)


NO_COLUMN: Final = "ColumnNotFound"
