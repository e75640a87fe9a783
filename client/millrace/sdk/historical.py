"""Training sets: the entity frame with one column per feature, each as it was known at the row's own moment."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from millrace.base.errors import NotFoundError, RejectError
from millrace.features import pit
from millrace.features.conform import microseconds
from millrace.features.definition import Definition
from millrace.features.history import Source
from millrace.gateway.plan import Plan


@dataclass(frozen=True)
class TrainingSet:
    """A training set: exactly the entity frame's rows, in its order, and the features beside them."""

    table: pa.Table

    def to_arrow(self) -> pa.Table:
        """As an Arrow table."""
        return self.table

    def to_pandas(self) -> Any:
        """As a pandas DataFrame."""
        return self.table.to_pandas()

    def to_polars(self) -> Any:
        """As a Polars DataFrame.

        Raises:
            RejectError: Polars is not installed.
        """
        try:
            import polars  # noqa: PLC0415 — an extra
        except ImportError as error:
            raise RejectError("Polars is not installed", hint="pip install 'millrace[notebook]'") from error
        return polars.from_arrow(self.table)

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """To a Parquet file, which is whole or not there at all.

        Raises:
            RejectError: the file cannot be written.
        """
        target = Path(path)
        try:
            with tempfile.NamedTemporaryFile(dir=target.parent, suffix=".parquet", delete=False) as partial:
                pq.write_table(self.table, partial.name)
            Path(partial.name).replace(target)
        except OSError as error:
            raise RejectError(f"cannot write {target}: {error.strerror or error}", field="path") from error


def entity_table(entity_df: Any) -> pa.Table:
    """An entity frame as an Arrow table: pandas, Polars, Arrow, or a path to a Parquet file.

    Raises:
        RejectError: it is none of these. NotFoundError: there is no such file.
    """
    if isinstance(entity_df, pa.Table):
        return entity_df
    if isinstance(entity_df, str | os.PathLike):
        if not Path(entity_df).exists():
            raise NotFoundError(f"there is no file {os.fspath(entity_df)}", field="entity_df")
        try:
            return pq.read_table(entity_df)
        except pa.ArrowInvalid as error:
            raise RejectError(f"{os.fspath(entity_df)} is no Parquet file: {error}", field="entity_df") from error
    package = type(entity_df).__module__.partition(".")[0]
    if package == "pandas" and hasattr(entity_df, "columns"):
        return pa.Table.from_pandas(entity_df, preserve_index=False)
    if package == "polars" and hasattr(entity_df, "to_arrow"):
        return entity_df.to_arrow()
    raise RejectError(
        f"{type(entity_df).__name__} came; a pandas or Polars DataFrame, an Arrow table or the path of a Parquet file "
        "is expected",
        field="entity_df",
    )


def join(
    plan: Plan,
    entities: pa.Table,
    timestamp_column: str,
    open_source: Callable[[Definition], Source],
    *,
    created_cutoff: bool,
) -> TrainingSet:
    """Joins the plan's features to the entity frame, one view after another.

    Raises:
        RejectError: a column is missing, has the wrong type, or a name is taken; names it.
        Other errors as ``millrace.features.pit.join``.
    """
    _check_columns(plan, entities, timestamp_column)
    moments = microseconds(
        _column(entities, timestamp_column), column=timestamp_column, field=f"entity_df.{timestamp_column}"
    )
    columns: dict[int, pa.Array] = {}
    frame = pit.Frame({key: _column(entities, key) for key in plan.join_keys}, moments, created_cutoff)
    for view in plan.reads:
        definition = view.definition
        wanted = [definition.feature[name] for name in view.features]
        found = pit.join(definition, wanted, open_source(definition), frame)
        columns.update(zip(view.positions, found, strict=True))
    table = entities
    for position, name in enumerate(plan.names):
        table = table.append_column(name, columns[position])
    return TrainingSet(table)


def _check_columns(plan: Plan, entities: pa.Table, timestamp_column: str) -> None:
    there = ", ".join(entities.column_names)
    for needed in [timestamp_column, *plan.join_keys]:
        if needed not in entities.column_names:
            raise RejectError(f"there is no column {needed!r}", hint=f"The frame has: {there}", field="entity_df")
    taken: Sequence[str] = [name for name in plan.names if name in entities.column_names]
    if taken:
        raise RejectError(
            f"the frame has a column {taken[0]!r} already, and a feature is called so",
            hint="Rename the column, or pass full_feature_names=True",
            field="features",
        )


def _column(table: pa.Table, name: str) -> pa.Array:
    return table[name].combine_chunks()
