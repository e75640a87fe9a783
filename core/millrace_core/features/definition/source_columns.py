"""What a definition says of its source's columns: which are computed, what times count, which rows are left out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from millrace_core.api.source import SOURCE_KINDS, SourceSpec
from millrace_core.base.errors import RejectError
from millrace_core.features.expressions import expressions
from millrace_core.features.expressions.expressions import Expression

WHERE: Final = "spec.source.where"


class ComputedColumn(NamedTuple):
    """A column that is computed from the source's own; ``where`` is its field of the definition."""

    expression: Expression
    where: str

    @property
    def reads(self) -> tuple[str, ...]:
        """The source's own columns that it reads."""
        return tuple(name[0] for name in self.expression.names)


def computed(source: SourceSpec) -> dict[str, ComputedColumn]:
    """The computed columns by name.

    Raises:
        RejectError: an expression is not pure; names the field and the token.
    """
    found = {}
    for index, column in enumerate(source.columns or ()):
        where = f"spec.source.columns[{index}].expression"
        found[column.name] = ComputedColumn(expressions.parse(column.expression, where=where, fields=True), where)
    return found


def constant(value: int) -> ComputedColumn:
    """A column that has the value in every row."""
    return ComputedColumn(expressions.parse(str(value), where="spec.entities"), "spec.entities")


def decisive(source: SourceSpec, keys: Iterable[str]) -> dict[str, str]:
    """The expressions of those computed columns that decide which rows there are, of which entities and times."""
    made = computed(source)
    names = [*keys, source.timestamp_field, source.created_timestamp_field or "", *filtered_by(source)]
    return {name: made[name].expression.text for name in names if name in made}


def condition(source: SourceSpec) -> str | None:
    """The row filter as it is written whatever its spacing, so that a line break re-materializes nothing."""
    return None if source.where is None else expressions.parse(source.where, where=WHERE).text


def filtered_by(source: SourceSpec) -> tuple[str, ...]:
    """The columns that the row filter reads.

    Raises:
        RejectError: the filter is no pure scalar expression over columns.
    """
    if source.where is None:
        return ()
    return tuple(".".join(name) for name in expressions.parse(source.where, where=WHERE).names)


def check(source: SourceSpec) -> None:
    """Refuses a source of no kind or several, and one that says twice, or of nothing, how columns are read.

    Raises:
        RejectError: names the field.
    """
    kinds = source.kinds
    if len(kinds) != 1:
        raise RejectError(
            f"{' and '.join(kinds) or 'none'} came, exactly one of {', '.join(SOURCE_KINDS)} is expected",
            field="spec.source",
        )
    _check_shape(source)
    read = source.postgres or source.sql
    if read is not None and (read.table is None) == (read.query is None):
        raise RejectError("exactly one of table and query is expected", field=f"spec.source.{kinds[0]}")
    if source.where is not None:
        for name in expressions.parse(source.where, where=WHERE).names:
            if name[0] == expressions.REQUEST and len(name) > 1:
                raise RejectError(
                    f"{'.'.join(name)!r} came; a row filter sees columns of the source alone", field=WHERE
                )


def _check_shape(source: SourceSpec) -> None:
    """Refuses what says twice, or of nothing, how columns are read."""
    computed: dict[str, int] = {}
    for index, column in enumerate(source.columns or ()):
        first = computed.setdefault(column.name, index)
        if first != index:
            raise RejectError(
                f"{column.name!r} is there twice, also at spec.source.columns[{first}]",
                hint="Rename one of the two",
                field=f"spec.source.columns[{index}].name",
            )
    for field, unit, name in (
        ("timestampUnit", source.timestamp_unit, source.timestamp_field),
        ("createdTimestampUnit", source.created_timestamp_unit, source.created_timestamp_field),
    ):
        if unit is not None and name is None:
            raise RejectError(
                f"createdTimestampUnit is {unit!r}, and there is no createdTimestampField that counts it",
                hint="Name that column, or leave the unit out",
                field="spec.source",
            )
        if unit is not None and name in computed:
            raise RejectError(
                f"{unit!r} came for {name!r}, which spec.source.columns computes",
                hint="Leave it out, and let the expression give a timestamp: make_timestamp(microseconds since 1970)",
                field=f"spec.source.{field}",
            )
    if source.timestamp_field == source.created_timestamp_field and (
        source.timestamp_unit != source.created_timestamp_unit
    ):
        raise RejectError("one column has two units", hint="Write both alike", field="spec.source.createdTimestampUnit")
    if source.push is not None and (source.columns or source.timestamp_unit or source.created_timestamp_unit):
        raise RejectError(
            "columns, timestampUnit and createdTimestampUnit mean nothing for pushed rows",
            hint="Leave them out: pushed rows come with the types that the view declares",
            field="spec.source",
        )
