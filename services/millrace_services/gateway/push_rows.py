"""The rows of a push, made ready: checked, filtered, those that readers will be told of encoded for the store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from millrace_core.base.errors import RejectError
from millrace_core.features.definition.definition import Definition
from millrace_core.features.evaluation.time_limit import READ_SECONDS
from millrace_core.features.expressions.growth import work
from millrace_core.features.history.history import TimeRange
from millrace_core.features.online import feast_form, push_batch
from millrace_core.features.online.push_batch import PushClock, RejectedRow
from millrace_core.features.online.push_request import FEAST_CREATED, FEAST_EVENT, PushRequest
from millrace_data.online.commands import WriteContext, row_commands
from millrace_data.online.resp import Command
from millrace_data.sources.filtered import FilteredSource

_ALL_TIMES = TimeRange(None, 2**63 - 1)
# To plan a letter of an expression, which is done anew for each push.
_PLANNING_STEPS: Final = 2**9


@dataclass(frozen=True)
class Work:
    """What is to be done for a push: ``table`` goes to the log, ``online`` to the store, ``rejected`` to nobody.

    ``online`` are tables with at most one row per entity each.
    """

    table: pa.Table
    rejected: Sequence[RejectedRow]
    online: Sequence[pa.Table]


def checked(definition: Definition, request: PushRequest, clock: PushClock) -> Work:
    """Checks; takes as long as it takes, so not for the event loop.

    Raises:
        RejectError: the batch as a whole means nothing, or the view's row filter fails on a row.
    """
    columns = _named(definition, request.columns)
    if request.feast:
        types = push_batch.column_types(definition)
        # Feast's own server ignores columns that the view does not have.
        known = {name: values for name, values in columns.items() if name in types}
        columns = feast_form.columns(types.items(), known)
    read = push_batch.from_arrow if isinstance(columns, pa.Table) else push_batch.from_json
    found = read(definition, columns, clock)
    if request.feast and found.rejected:
        row, column, reason = found.rejected[0]
        raise RejectError(
            f"row {row}: {reason}",
            hint=f"{len(found.rejected)} of {found.table.num_rows + len(found.rejected)} rows do not fit, and none was "
            "written; /push takes those that fit",
            field=f"df.{column}",
        )
    wanted = _filtered(definition, found.table) if request.online else found.table.slice(0, 0)
    online = push_batch.newest(definition, wanted, clock.now) if wanted.num_rows else []
    return Work(found.table, found.rejected, online)


def commands(
    definition: Definition, tables: Sequence[pa.Table], context: WriteContext, by_slot: bool
) -> tuple[list[Command], dict[str, int]]:
    """Calls of the write rule for rows that were checked; takes as long as it takes, too.

    Returns:
        The calls, and for how many rows the expression of a feature failed, by feature; its value is null for them.
    """
    made: list[Command] = []
    errors: Counter[str] = Counter()
    for table in tables:
        rows = push_batch.rows(definition, table)
        made += row_commands(definition, rows, context, by_slot=by_slot)
        errors.update(rows.errors)
    return made, errors


def filters(definition: Definition) -> bool:
    """Whether ``checked`` evaluates the view's row filter."""
    return definition.source.where is not None


def steps(definition: Definition, rows: int, size: int) -> float:
    """Steps at most of the expressions that ``commands`` evaluates for so many rows of so many bytes, to plan them
    included (``time_limit.LIGHT_STEPS``)."""
    found = [feature.expression for feature in definition.features if feature.expression and not feature.on_demand]
    each_row, each_byte = work((each.growth, each.longest) for each in found)
    planning = _PLANNING_STEPS * sum(len(each.expression.text) for each in found)
    return planning + rows * each_row + size * each_byte


class _Pushed:
    """Pushed rows as a source."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    @property
    def columns(self) -> Mapping[str, str]:
        return {field.name: str(field.type) for field in self._table.schema}

    def scan(self, columns: Sequence[str], time_range: TimeRange) -> Iterator[pa.RecordBatch]:  # noqa: ARG002 all rows
        return iter(self._table.select(list(columns)).to_batches())


def _filtered(definition: Definition, table: pa.Table) -> pa.Table:
    """The rows that the view's source would give: those for which ``source.where`` is true."""
    condition = definition.source.where
    if condition is None or not table.num_rows:
        return table
    source = FilteredSource(_Pushed(table), condition, None, READ_SECONDS)
    return pa.Table.from_batches(list(source.scan(table.column_names, _ALL_TIMES)), table.schema)


def _named(definition: Definition, columns: Any) -> Any:
    """Feast's names of the time columns stand for the source's, where those did not come."""
    names = list(columns.column_names if isinstance(columns, pa.Table) else columns)
    renamed = list(names)
    for ours, feasts in ((definition.timestamp_field, FEAST_EVENT), (definition.created_field, FEAST_CREATED)):
        if ours and ours not in names and feasts in names:
            renamed[names.index(feasts)] = ours
    if renamed == names:
        return columns
    if isinstance(columns, pa.Table):
        return columns.rename_columns(renamed)
    return dict(zip(renamed, columns.values(), strict=True))
