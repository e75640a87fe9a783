"""Frames, rows and references as people have them, of pandas, Polars and Arrow alike, in the form that the SDK uses.

What a library cannot turn into columns is refused by the column's name, with the words of that library for mending it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from millrace_core.base.errors import NotFoundError, RejectError
from millrace_core.base.shown import shown

_REFERENCES: Final = 'Pass features=["view:feature", ...]'
_ROWS: Final = 'Pass a list such as [{"user_id": 1}]'
_FRAMES: Final = "a pandas or Polars DataFrame, an Arrow table, a dict of lists or the path of a Parquet file"
_POLARS: Final[Mapping[str, str]] = {"int32": "Int32", "int64": "Int64", "float32": "Float32", "float64": "Float64"}


def references(features: Any) -> tuple[str, ...]:
    """The references of any iterable: a list, a generator, a ``map``, an index, a series, an array.

    Raises:
        RejectError: it is none, it is empty, or holds something else than texts.
    """
    if hasattr(features, "to_pylist"):
        features = features.to_pylist()
    frame = hasattr(type(features), "columns")
    if frame or isinstance(features, str | bytes | Mapping) or not isinstance(features, Iterable):
        raise RejectError(
            f"{_shown(features)} came, a list of references is expected", hint=_REFERENCES, field="features"
        )
    try:
        found = tuple(features)
    except TypeError as error:  # an array of no dimensions
        raise RejectError(
            f"{_shown(features)} came, a list of references is expected", hint=_REFERENCES, field="features"
        ) from error
    for position, ref in enumerate(found):
        if not isinstance(ref, str):
            raise RejectError(
                f"{_shown(ref)} came, a text such as view:feature is expected", field=f"features[{position}]"
            )
    if not found:
        raise RejectError("no feature is asked for", hint=_REFERENCES, field="features")
    return tuple(map(str, found))


def arrow_table(data: Any, field: str) -> pa.Table:
    """Data as an Arrow table: pandas, Polars, Arrow, a dict of lists, or a path to a Parquet file.

    Args:
        data: any of these.
        field: what the caller calls it, for messages.

    Raises:
        RejectError: it is none of these, two columns have one name, or a column cannot be read; names the column.
        NotFoundError: there is no such file.
    """
    if isinstance(data, str | os.PathLike):
        table = _file(Path(data), field)
    elif isinstance(data, Mapping):
        table = _from_columns({str(name): values for name, values in data.items()}, "python", field)
    elif _library(data) == "pandas" and hasattr(data, "columns"):
        table = _from_pandas(data, field)
    elif _library(data) == "polars" and (hasattr(data, "collect") or hasattr(data, "get_columns")):
        table = _from_polars(data, field)
    elif hasattr(data, "__arrow_c_stream__") and not isinstance(data, pa.ChunkedArray) and not _is_column(data):
        table = data if isinstance(data, pa.Table) else _imported(data, field)
    else:
        raise RejectError(f"{type(data).__name__} came; {_FRAMES} is expected", field=field)
    _refuse_doubles(table.column_names, field)
    return table


def require(data: Any, table: pa.Table, declared: Mapping[str, str], field: str) -> None:
    """Checks that columns are there and of a kind that can be their declared type.

    Args:
        data: what the caller passed, for the words of its library.
        table: the same as an Arrow table.
        declared: types by column name.
        field: what the caller calls it.

    Raises:
        RejectError: one is not; says how to mend it.
    """
    library = _library(data)
    for name, kind in declared.items():
        if name not in table.column_names:
            inside = name in index_names(data)
            there = ", ".join(map(str, table.column_names)) or "none"
            raise RejectError(
                f"there is no column {name!r}" + (", it is the frame's index" if inside else ""),
                hint="Pass df.reset_index()" if inside else f"The frame has: {there}",
                field=field,
            )
        column = table.column(name)
        if column.null_count < len(column) and (hint := _conversion(library, name, column.type, kind)):
            raise RejectError(
                f"column {name!r} has the type {column.type}, {kind} is expected",
                hint=hint,
                field=f"{field}.{name}",
                reason="WrongColumnType",
            )


def index_names(data: Any) -> list[str]:
    """The names of a pandas frame's index, whose values are in no column."""
    return [str(name) for name in data.index.names] if _library(data) == "pandas" else []


def typed(table: pa.Table) -> pa.Table:
    """The table, in which a column of nothing has the type of nothing: pandas has float64 for it, or object."""
    columns = [column if column.null_count < len(column) else pa.nulls(len(column)) for column in table.columns]
    return pa.table(columns, names=table.column_names) if columns else table


def rows(given: Any, declared: Mapping[str, str], field: str) -> list[Mapping[str, Any]]:
    """Rows as mappings: of a list or another iterable of them, of a frame, or of a dict of lists.

    Args:
        given: any of these.
        declared: types by the columns that a frame has to have.
        field: what the caller calls it.

    Raises:
        RejectError: it is none of these, or one row is no mapping; names it.
    """
    if isinstance(given, Mapping) and not all(_is_column(values) for values in given.values()):
        raise RejectError(
            f"{_shown(given)} came, a list of rows is expected", hint=f"Pass [{_shown(given)}]", field=field
        )
    if isinstance(given, Mapping):
        return _rows_of_columns(given, field)
    if hasattr(type(given), "columns") or hasattr(given, "__arrow_c_stream__"):
        table = arrow_table(given, field)
        require(given, table, declared, field)
        return _table_rows(table)
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise RejectError(f"{_shown(given)} came, a list of rows or a frame is expected", hint=_ROWS, field=field)
    found = list(given)
    for index, row in enumerate(found):
        if not isinstance(row, Mapping):
            raise RejectError(
                f"{_shown(row)} came, an object is expected",
                hint=_ROWS,
                field=f"{field}[{index}]",
            )
    return found


def plain(value: Any) -> Any:
    """A value as Python and JSON have it; what pandas, numpy and Arrow have for nothing is None."""
    kind = type(value)
    if kind.__module__ in ("builtins", "datetime"):
        return value
    if kind.__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(value, pa.Scalar):
        return value.as_py()
    if kind.__module__ == "numpy":
        # Of nanoseconds numpy makes integers.
        time = kind.__name__ == "datetime64"
        return (value.astype("datetime64[us]") if time else value).tolist()
    return value


def key(value: Any) -> Any:
    """A value of a join key; a NaN is none, as pandas has it where a column of integers lacks some."""
    found = plain(value)
    return None if isinstance(found, float) and math.isnan(found) else found


def _rows_of_columns(columns: Mapping[str, Any], field: str) -> list[Mapping[str, Any]]:
    listed = {
        name: values.to_pylist() if hasattr(values, "to_pylist") else list(values) for name, values in columns.items()
    }
    _refuse_lengths({name: len(values) for name, values in listed.items()}, field)
    return [dict(zip(listed, row, strict=True)) for row in zip(*listed.values(), strict=True)]


def _table_rows(table: pa.Table) -> list[Mapping[str, Any]]:
    # Finer times than microseconds would be pandas' own, which need not be there.
    columns = [
        column.cast(pa.timestamp("us", column.type.tz), safe=False)
        if pa.types.is_timestamp(column.type) and column.type.unit == "ns"
        else column
        for column in table.columns
    ]
    return list(pa.table(columns, names=table.column_names).to_pylist()) if columns else [{}] * table.num_rows


def _from_pandas(data: Any, field: str) -> pa.Table:
    names = [str(name) for name in data.columns]
    _refuse_doubles(names, field)
    sparse = [position for position, kind in enumerate(data.dtypes) if type(kind).__name__ == "SparseDtype"]
    if sparse:
        data = data.copy(deep=False)
        for position in sparse:
            data.isetitem(position, data.iloc[:, position].sparse.to_dense())
    try:
        return pa.Table.from_pandas(data, preserve_index=False)
    except _UNREADABLE:
        return _from_columns({name: data.iloc[:, at] for at, name in enumerate(names)}, "pandas", field)


def _from_polars(data: Any, field: str) -> pa.Table:
    if hasattr(data, "collect"):
        try:
            data = data.collect()
        except Exception as error:  # whatever the query of a LazyFrame runs into is the caller's
            raise RejectError(f"the LazyFrame cannot be collected: {error}", field=field) from error
    found = {}
    for column in data.get_columns():
        if str(column.dtype).startswith("Object"):
            raise _unreadable(column.name, "values of Python's own", "polars", field)
        found[column.name] = column.to_arrow()
    return pa.table(found)


def _from_columns(columns: Mapping[str, Any], library: str, field: str) -> pa.Table:
    """Column by column, so that one which cannot be read is named."""
    found = {}
    for name, values in columns.items():
        if not _is_column(values):
            raise RejectError(f"{_shown(values)} came, a list is expected", field=f"{field}.{name}")
        try:
            if library == "pandas":
                found[name] = pa.array(values, from_pandas=True)
            else:
                found[name] = values if isinstance(values, pa.ChunkedArray) else pa.array(_listed(values))
        except _UNREADABLE as error:
            raise _unreadable(name, str(error), library, field) from error
    _refuse_lengths({name: len(values) for name, values in found.items()}, field)
    return pa.table(found)


def _refuse_lengths(lengths: Mapping[str, int], field: str) -> None:
    if len(set(lengths.values())) > 1:
        counted = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise RejectError(f"the columns differ in length: {counted}", field=field)


def _listed(values: Any) -> Any:
    return values if hasattr(values, "dtype") or hasattr(values, "__arrow_c_array__") else [plain(v) for v in values]


def _imported(data: Any, field: str) -> pa.Table:
    try:
        return pa.table(data)
    except _UNREADABLE as error:
        raise RejectError(f"{type(data).__name__} came; {_FRAMES} is expected: {error}", field=field) from error


def _file(path: Path, field: str) -> pa.Table:
    if not path.exists():
        raise NotFoundError(f"there is no file {path}", field=field)
    try:
        return pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise RejectError(f"{path} is no Parquet file: {error}", field=field) from error


def _refuse_doubles(names: Sequence[str], field: str) -> None:
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            raise RejectError(
                f"{names.count(name)} columns are called {name!r}", hint="Rename them, or drop all but one", field=field
            )


def _unreadable(name: str, why: str, library: str, field: str) -> RejectError:
    mended = {
        "pandas": f'Give it one type, such as df[{name!r}].astype("string"), or drop it',
        "polars": f"Give it one type, such as df.with_columns(pl.col({name!r}).cast(pl.String)), or drop it",
    }
    return RejectError(
        f"column {name!r} cannot be read: {why}",
        hint=mended.get(library, "Give its values one type, or leave it out"),
        field=f"{field}.{name}",
        reason="WrongColumnType",
    )


def _conversion(library: str, name: str, came: pa.DataType, kind: str) -> str:
    """How to make the column what is declared; empty where it is, or where no plain word does."""
    text = pa.types.is_string(came) or pa.types.is_large_string(came) or pa.types.is_string_view(came)
    if kind in ("int32", "int64") and (pa.types.is_floating(came) or text):
        return {
            "pandas": f'Pass df.astype({{{name!r}: "Int64"}})',
            "polars": f"Pass df.with_columns(pl.col({name!r}).cast(pl.{_POLARS[kind]}))",
        }.get(library, f"Cast column {name!r} to {kind}")
    if kind == "string" and pa.types.is_integer(came):
        return {
            "pandas": f'Pass df.astype({{{name!r}: "string"}})',
            "polars": f"Pass df.with_columns(pl.col({name!r}).cast(pl.String))",
        }.get(library, f"Cast column {name!r} to string")
    return ""


def _library(data: Any) -> str:
    return type(data).__module__.partition(".")[0]


def _is_column(values: Any) -> bool:
    """Whether a value is a column of values, rather than one value."""
    if isinstance(values, str | bytes | Mapping) or hasattr(type(values), "columns"):
        return False
    return isinstance(values, Sequence) or (hasattr(values, "__len__") and hasattr(values, "__iter__"))


def _shown(value: Any) -> str:
    return f"{shown(value, 80)}" if _library(value) in ("builtins", "datetime") else type(value).__name__


# What Arrow raises for values that it cannot make a column of.
_UNREADABLE: Final = (pa.ArrowException, TypeError, ValueError, OverflowError)
