"""How the columns of a source are read: each file, or other part of it, is conformed to the types by itself.

So parts need not agree with each other, but with what the definition says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from millrace_core.api.source import TimeUnit
from millrace_core.features.definition.definition import Definition
from millrace_core.features.history.history import TimeRange
from millrace_core.features.types.common_type import conform_common
from millrace_core.features.types.conform import MisfitError, counted_moments
from millrace_core.features.types.kinds import is_number, plain_type
from millrace_data.sources import bounds

TIMESTAMP_FIELD: Final = "spec.source.timestampField"
CREATED_FIELD: Final = "spec.source.createdTimestampField"


@dataclass(frozen=True)
class Reading:
    """What is read of each part of a source.

    Attributes:
        schema: of the needed columns, as scans give them.
        fields: of the definition, that ask for them, by column; for errors.
        units: what columns of numbers count that are times.
        timestamp: the column of the event time; None where the source has none of its own that says it.
        created: of the created time, likewise.
    """

    schema: pa.Schema
    fields: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, TimeUnit] = field(default_factory=dict)
    timestamp: str | None = None
    created: str | None = None

    @classmethod
    def of(cls, definition: Definition, fields: Mapping[str, str]) -> Reading:
        """As a definition says it; the schema is still to come."""
        source = definition.source
        times = {source.timestamp_field: source.timestamp_unit}
        if source.created_timestamp_field is not None:
            times.setdefault(source.created_timestamp_field, source.created_timestamp_unit)
        own = [
            None if name in definition.computed else name for name in (source.timestamp_field, definition.created_field)
        ]
        return cls(pa.schema([]), fields, {name: unit for name, unit in times.items() if unit is not None}, *own)

    def over(self, schema: pa.Schema) -> Reading:
        """The same with these columns."""
        return replace(self, schema=schema)

    def renamed(self, names: Mapping[str, str]) -> Reading:
        """The same of files that call columns otherwise."""
        return Reading(
            pa.schema([each.with_name(names[each.name]) for each in self.schema]),
            {names[name]: where for name, where in self.fields.items()},
            {names[name]: unit for name, unit in self.units.items()},
            self.timestamp and names[self.timestamp],
            self.created and names[self.created],
        )

    def array(self, name: str, values: pa.Array) -> pa.Array:
        """The values of a column as scans give them.

        Raises:
            MisfitError: one cannot be had so.
        """
        target = self.schema.field(name).type
        if values.type == target:
            return values
        if name in self.units and is_number(plain_type(values.type)):
            return counted_moments(values, self.units[name], column=name)
        if values.null_count == len(values):
            return pa.nulls(len(values), target)
        # A database may tell the types of its columns with their values alone.
        return values if pa.types.is_null(target) else conform_common(values, target, column=name)

    def said(self, error: MisfitError, place: str, row: int) -> MisfitError:
        """A misfit with the field at fault, and the file or table and the row in which it is."""
        return error.of(self.fields.get(error.column, "")).at(place, row)

    def within(self, there: pa.Schema, time_range: TimeRange) -> pc.Expression:
        """Holds for every row of a window, and for few others; ``there`` has the types of the times in one file."""
        found = pc.scalar(True)
        if self.timestamp is not None:
            unit = self.units.get(self.timestamp)
            found = bounds.within(self.timestamp, there.field(self.timestamp).type, time_range, unit)
        if time_range.created_after is not None and self.created is not None:
            unit = self.units.get(self.created)
            kind = there.field(self.created).type
            found &= bounds.written_after(self.created, kind, time_range.created_after, unit)
        return found
