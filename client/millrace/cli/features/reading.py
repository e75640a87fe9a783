"""What users type and the files that they name, as the SDK takes them."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv
import pyarrow.json

from millrace import FeatureStore, OnlineFeatures
from millrace.cli.output import Output, plain
from millrace.sdk.frames import arrow_table
from millrace.sdk.tabular import write_parquet
from millrace_core.api import feature_reference
from millrace_core.base import timestamps
from millrace_core.base.errors import NotFoundError, RejectError

# What is between commas, but for those within brackets, as between join keys.
_PART: Final = re.compile(r"(?:[^,(]|\([^()]*+\)|\()++")
_BOOLEANS: Final = {"true": True, "false": False}
_READ: Final[Mapping[str, Callable[[str], Any]]] = {
    "bool": lambda text: _BOOLEANS[text.lower()],
    "int32": int,
    "int64": int,
    "float32": float,
    "float64": float,
    "string": str,
    "bytes": lambda text: text.encode(),
    "timestamp": timestamps.parse,
}


def references(given: Sequence[str]) -> list[str]:
    """``view:feature`` from options that hold one or more of them, with commas between."""
    return [part.strip() for text in given for part in _PART.findall(text) if part.strip()]


def data_file(path: Path) -> pa.Table:
    """A table from a Parquet, CSV or JSON lines file.

    Raises:
        NotFoundError: there is no such file. RejectError: it is not what its name says.
    """
    if not path.exists():
        raise NotFoundError(f"there is no file {path}")
    try:
        match path.suffix:
            case ".csv":
                return pyarrow.csv.read_csv(path)
            case ".json" | ".jsonl" | ".ndjson":
                return pyarrow.json.read_json(path)
            case _:
                return arrow_table(path, str(path))
    except pa.ArrowInvalid as error:
        raise RejectError(f"{path} cannot be read: {error}", hint="Give a .parquet, .csv or .jsonl file") from error


def write(table: pa.Table, path: Path) -> None:
    """Writes a table as its file's name says.

    Raises:
        RejectError: the file cannot be written.
    """
    if path.suffix != ".csv":
        write_parquet(table, path)
        return
    try:
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(table.column_names)
            for batch in table.to_batches(10_000):
                writer.writerows([[plain(value) for value in row.values()] for row in batch.to_pylist()])
    except OSError as error:
        raise RejectError(f"cannot write {path}: {error.strerror}") from error


def entity_rows(
    store: FeatureStore, refs: Sequence[str], given: Sequence[str], file: Path | None
) -> list[dict[str, Any]]:
    """Entities of ``key=value,key=value`` options and of a file.

    Raises:
        RejectError: there are none, or a value is none of its key's type.
    """
    meant = [feature_reference.parse(ref) for ref in refs]
    views = [store.definition(each.view).under(dict(each.keys)) for each in meant]
    keys = {key.request_column: key.type for view in views for key in view.entities}
    if not given and file is None:
        if keys:
            raise RejectError("no entity is named", hint="Give --entity KEY=VALUE, or --entities FILE")
        return [{}]
    rows = [_pairs("--entity", text.split(","), keys) for text in given]
    if file is not None:
        table = data_file(file)
        wanted = {*keys, *(field.name for view in views for field in view.request_fields)}
        rows += table.select([name for name in table.column_names if name in wanted]).to_pylist()
    return rows


def request_fields(
    store: FeatureStore, refs: Sequence[str], given: Sequence[str], rows: int
) -> dict[str, list[Any]] | None:
    """Request fields of ``field=value`` options, the same for all rows; None where there are none.

    Raises:
        RejectError: a view asks for no such field, or a value is none of its type.
    """
    if not given:
        return None
    fields = {field.name: field.type for view in _views(refs) for field in store.definition(view).request_fields}
    return {name: [value] * rows for name, value in _pairs("--request", given, fields).items()}


def online_row(found: OnlineFeatures, row: int, form: Output) -> dict[str, Any]:
    """One row of an answer; for people a value that is missing is replaced by why."""
    values = found.to_dict()
    shown = {name: column[row] for name, column in values.items()}
    if form is Output.TABLE:
        # Aggregates have a value where there is no row, too.
        absent = {name: f"({statuses[row]})" for name, statuses in found.statuses.items() if shown[name] is None}
        shown |= absent
    return shown


def _views(refs: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(feature_reference.parse(ref).view for ref in refs))


def _pairs(option: str, texts: Iterable[str], types: Mapping[str, str]) -> dict[str, Any]:
    found = {}
    for text in texts:
        name, separator, value = text.partition("=")
        name = name.strip()
        if not types:
            raise RejectError(f"{text!r} came, but these features need none", hint="Leave it out", field=option)
        if not separator or name not in types:
            raise RejectError(
                f"{text!r} came, NAME=VALUE is expected, where NAME is {' or '.join(types)}", field=option
            )
        try:
            found[name] = _value(types[name], value)
        except (ValueError, KeyError) as error:
            raise RejectError(f"{name}: {value!r} came, {types[name]} is expected", field=option) from error
    return found


def _value(kind: str, text: str) -> Any:
    return json.loads(text) if kind.startswith("array") else _READ[kind](text)
