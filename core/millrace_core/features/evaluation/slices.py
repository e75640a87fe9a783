"""How many rows DuckDB is given at once, and how long their values may be.

It can be stopped between vectors alone, and counts only few of the bytes that a function makes. So rows that may need
much are given to it a few at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from millrace_core.base.errors import RejectError
from millrace_core.features.expressions.expressions import Expression
from millrace_core.features.expressions.growth import Growth

# Steps that the rows of one vector may need together; they take some 0.1 s. The bytes of values are among them.
_VECTOR_STEPS: Final = 2**25
_VECTOR: Final = 2048


def rows_at_once(grown: Iterable[tuple[Growth, int | None]], length: float = 0) -> int:
    """How many rows may be in one vector.

    Args:
        grown: what each expression needs, and how long what it reads may be; None: any length.
        length: how many bytes what is read without a limit has in a row.
    """
    work = sum(growth.steps.at(length if longest is None else longest) for growth, longest in grown)
    return max(1, min(_VECTOR, int(_VECTOR_STEPS // max(1, work))))


def rows_of(batch: pa.RecordBatch, grown: Iterable[tuple[Growth, int | None]]) -> int:
    """The same for the rows of a batch, as long as these are in the mean."""
    return rows_at_once(grown, batch.nbytes / max(1, batch.num_rows))


def sliced(batch: pa.RecordBatch, rows: int) -> list[pa.RecordBatch]:
    """The batch in slices of so many rows; each is a vector of its own, or several."""
    if rows >= _VECTOR:
        return [batch]
    return [batch.slice(first, rows) for first in range(0, len(batch), rows)]


def require_short(expression: Expression, batch: pa.RecordBatch, columns: Sequence[str], where: str) -> None:
    """Refuses a batch with a value that is longer than an expression takes it (``Expression.longest``).

    Raises:
        RejectError: names the column, and how long the value is.
    """
    if expression.longest is None:
        return
    for name in columns:
        longest = _longest(batch.column(name))
        if longest > expression.longest:
            raise RejectError(
                f"a value of column {name!r} has {longest:,} bytes, and the expression takes {expression.longest:,}, "
                "because what it makes grows faster than what it reads",
                hint="Shorten it in the source, or make the expression simpler",
                field=where,
                reason="ExpressionTooLarge",
            )


def _longest(column: pa.Array) -> int:
    """The bytes of the longest value: of a text its own, of others 8 for each element and all that these have."""
    kind = column.type
    if pa.types.is_struct(kind):
        return max((_longest(each) for each in column.flatten()), default=0)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        elements = pc.max(pc.list_value_length(column)).as_py() or 0
        return int(elements * max(8, _longest(column.flatten())))
    if pa.types.is_string(kind) or pa.types.is_binary(kind) or pa.types.is_large_string(kind):
        return int(pc.max(pc.binary_length(column)).as_py() or 0)
    return 8 if column.type.num_fields == 0 else column.nbytes
