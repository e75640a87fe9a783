"""Reads features of a view: stored ones from rows, on-demand ones computed from them and from the request.

The value of an on-demand feature is PRESENT, or NULL_VALUE where its expression gives null. This holds also where there
is no row: features that are not visible are null in the expression.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from millrace_core.api.feature import FeatureType
from millrace_core.features.definition.definition import Definition
from millrace_core.features.online.feature_columns import NULL_VALUE, PRESENT, FeatureColumn, FeatureColumns
from millrace_core.features.online.request_values import request_columns
from millrace_core.features.online.row_reader import Layouts, RowReader

Request = Mapping[str, Sequence[Any]]

NO_REQUEST: Final[Request] = {}


class FeatureReader:
    """Reads chosen features of one view. Made once per feature set, used per request, by one thread at a time.

    Args:
        definition: the view's.
        names: the wanted features, in order.

    Attributes:
        request_fields: what the request must bring: names and types.
    """

    def __init__(self, definition: Definition, names: Iterable[str]) -> None:
        self._names = tuple(names)
        computed = [name for name in self._names if definition.feature[name].on_demand]
        stored = [name for name in self._names if not definition.feature[name].on_demand]
        self.request_fields: tuple[tuple[str, FeatureType], ...] = ()
        self._program = None
        if computed:
            # Imported late, with DuckDB: a gateway without on-demand features needs neither its time nor its memory.
            from millrace_core.features.evaluation.program import Program  # noqa: PLC0415

            self._program = Program(definition, computed, [each.name for each in definition.stored])
            read = [each.name[0] for each in self._program.inputs if len(each.name) == 1]
            self.request_fields = tuple((each.name[1], each.type) for each in self._program.inputs[len(read) :])
            self._inputs = read
            stored = list(dict.fromkeys(stored + read))
        self._stored = {name: index for index, name in enumerate(stored)}
        self._reader = RowReader(definition, stored)

    @property
    def computes(self) -> bool:
        """Whether expressions are evaluated."""
        return self._program is not None

    def work(self, rows: Sequence[bytes | None], brought: int) -> float:
        """Steps of ``read`` at most (``Program.work``); ``brought``: bytes of the request."""
        if self._program is None:
            return 0
        return self._program.work(len(rows), brought + sum(map(len, filter(None, rows))))

    def read(
        self,
        rows: Sequence[bytes | None],
        as_of: int,
        request: Request = NO_REQUEST,
        layouts: Layouts | None = None,
    ) -> FeatureColumns:
        """The wanted columns (see ``RowReader.read``), on-demand ones computed.

        Args:
            rows: the store's answers; None where it has no row.
            as_of: the moment of the read, microseconds.
            request: columns of request fields by name; others are ignored.
            layouts: other layouts that rows may have, by schema id.

        Raises:
            RejectError: a request field is missing or mistyped; names it. ReportError: bytes that are no row.
        """
        columns = self._reader.read(rows, as_of, layouts)
        if self._program is None:
            return columns
        brought = request_columns(self.request_fields, request, len(rows))
        inputs = [columns.features[self._stored[name]].values for name in self._inputs]
        values, errors = self._program.values([*inputs, *brought], len(rows))
        present = columns.features[0].statuses if columns.alike and columns.features else [PRESENT] * len(rows)
        computed = {name: _column(column, present) for name, column in zip(self._program.wanted, values, strict=True)}
        features = [computed.get(name) or columns.features[self._stored[name]] for name in self._names]
        alike = columns.alike and all(column.statuses is present for column in computed.values())
        return FeatureColumns(features, columns.event_times, columns.unknown, alike, columns.row_times, errors)


def _column(values: Sequence[Any], present: Sequence[str]) -> FeatureColumn:
    if None not in values:
        return FeatureColumn(values, present)
    return FeatureColumn(values, [NULL_VALUE if value is None else PRESENT for value in values])
