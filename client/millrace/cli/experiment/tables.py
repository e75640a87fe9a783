"""Tables of units: a row has unit, arm and value, and may have a denominator or a covariate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pc_csv
import pyarrow.parquet as pq

from millrace_core.base.errors import RejectError
from millrace_core.experiments.metric import Kind, Sums
from millrace_core.stats.sums import RunningCounts, RunningMoments, RunningPairs

_NEEDED: Final = ("unit", "arm", "value")


@dataclass(frozen=True)
class Units:
    """The sums of a table, by arm in the order of their names; and how many units are left out, seen in two arms."""

    sums: Mapping[str, Sums]
    left_out: int


def read(file: Path, kind: Kind) -> Units:
    """The sums of a table over units.

    The values of a unit's rows are summed; of a proportion any row of 1 makes it 1. A covariate is the same in all rows
    of a unit; the first counts.

    Raises:
        RejectError: the file cannot be read, a column is missing or none of numbers, or a value is missing.
    """
    rows = _rows(file)
    second = "denominator" if kind == "ratio" else "covariate" if "covariate" in rows.column_names else ""
    if second == "covariate" and kind != "mean":
        second = ""
    columns = [*_NEEDED, second] if second else [*_NEEDED]
    for column in columns:
        if rows.column_names.count(column) > 1:
            raise RejectError(f"{file} has more than one such column", field=column)
        if column not in rows.column_names:
            there = ", ".join(rows.column_names)
            raise RejectError(
                f"{file} has no such column; a {kind} needs {', '.join(columns)}, there are {there}", field=column
            )
        if rows[column].null_count:
            raise RejectError(
                f"{file} has {rows[column].null_count} rows without it; write 0 where nothing came", field=column
            )
    for column in _NEEDED[:2]:
        if pa.types.is_nested(rows[column].type):
            raise RejectError(
                f"a text or a number per row is expected, the column is {rows[column].type}", field=column
            )
    numbers = {name: _numbers(rows[name], name) for name in columns[2:]}
    if kind == "proportion" and not pc.all(pc.is_in(numbers["value"], pa.array([0.0, 1.0]))).as_py():
        raise RejectError("0 or 1 per row is expected for a proportion", hint="Or give --kind mean", field="value")
    flat = pa.table({"unit": rows["unit"], "arm": rows["arm"].cast(pa.string()), **numbers})
    return _sums(flat, kind, second)


def _sums(rows: pa.Table, kind: Kind, second: str) -> Units:
    value = "max" if kind == "proportion" else "sum"
    wanted = [("value", value), *([(second, "first" if second == "covariate" else "sum")] if second else [])]
    units = rows.group_by(["unit", "arm"], use_threads=False).aggregate(wanted)
    seen = units.group_by("unit", use_threads=False).aggregate([("arm", "count")])
    twice = seen.filter(pc.greater(seen["arm_count"], 1))["unit"]
    kept = units.filter(pc.invert(pc.is_in(units["unit"], twice.combine_chunks())))
    return Units(
        {
            arm: _of_arm(kept.filter(pc.equal(kept["arm"], arm)), kind, [f"{name}_{how}" for name, how in wanted])
            for arm in sorted(pc.unique(rows["arm"]).to_pylist())
        },
        len(twice),
    )


def _of_arm(units: pa.Table, kind: Kind, columns: list[str]) -> Sums:
    values = [units[column].to_numpy() for column in columns]
    if kind == "proportion":
        counts = RunningCounts()
        counts.update(values[0])
        return counts.get()
    if len(values) == 1:
        moments = RunningMoments()
        moments.update(values[0])
        return moments.get()
    pairs = RunningPairs()
    pairs.update(values[0], values[1])
    return pairs.get()


def _rows(file: Path) -> pa.Table:
    try:
        return pc_csv.read_csv(file) if file.suffix.lower() == ".csv" else pq.read_table(file)
    except OSError as error:
        raise RejectError(f"{file} cannot be read: {error.strerror or error}") from error
    except pa.ArrowInvalid as error:
        raise RejectError(f"{file} is no table: {str(error).splitlines()[0]}") from error


def _numbers(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_boolean(column.type)):
        raise RejectError(f"numbers are expected, the column is {column.type}", field=name)
    numbers = column.cast(pa.int8()) if pa.types.is_boolean(column.type) else column
    numbers = numbers.cast(pa.float64(), safe=False)
    if not pc.all(pc.is_finite(numbers)).as_py():
        raise RejectError("finite numbers are expected, NaN or infinity came", field=name)
    return numbers
