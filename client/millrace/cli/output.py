"""What commands print: tables for people, JSON and CSV for programs. Only results go to stdout, the rest to stderr."""

from __future__ import annotations

import csv
import math
import sys
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Annotated, Any, Final

import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from millrace_core.base import timestamps

# As wide as a table gets where no terminal says how wide it is.
_WIDTH: Final = 240


class Output(StrEnum):
    """How a result is written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


Format = Annotated[Output, typer.Option("--output", "-o", help="How to write it.")]


def rows(found: Sequence[Mapping[str, Any]], output: Output, columns: Sequence[str], title: str = "") -> None:
    """Writes rows: as a table or CSV of these columns, or as a JSON list of all that is known of each."""
    if output is Output.JSON:
        document(found)
    elif output is Output.CSV:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([[_cell(row.get(column)) for column in columns] for row in found])
    else:
        console().print(table(found, columns, title))


def table(found: Sequence[Mapping[str, Any]], columns: Sequence[str], title: str = "") -> Table:
    """A table for the terminal; columns of numbers are set to the right."""
    drawn = Table(title=title or None, title_justify="left", header_style="bold")
    for column in columns:
        values = [row.get(column) for row in found]
        numeric = any(map(_is_number, values)) and all(value is None or _is_number(value) for value in values)
        drawn.add_column(Text(column), justify="right" if numeric else "left", overflow="fold")
    for row in found:
        drawn.add_row(*(Text(_shown(row.get(column))) for column in columns))
    return drawn


def document(content: Any) -> None:
    """Writes JSON."""
    text = orjson.dumps(plain(content), option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS)
    sys.stdout.write(text.decode() + "\n")


# Of a lake, where a list of it is empty.
MAYBE_NOT_YET: Final = "give --start and --end, or wait: what came takes up to a minute into the lake"


def note(text: str) -> None:
    """Says something beside the result."""
    Console(stderr=True, soft_wrap=True).print(text, highlight=False, markup=False)


def console() -> Console:
    """Stdout, never wrapped for the width of a terminal that is not there."""
    return Console() if sys.stdout.isatty() else Console(width=_WIDTH)


@contextmanager
def progress(what: str) -> Iterator[Any]:
    """A bar on stderr, where that is a terminal; yields a function of the rows so far and the share done."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rows]:,} rows, {task.fields[rate]:,.0f} rows/s"),
        TimeRemainingColumn(),
    )
    shown = Console(stderr=True)
    with Progress(*columns, console=shown, transient=True, disable=not shown.is_terminal) as bar:
        task = bar.add_task(what, total=1.0, rows=0, rate=0.0)

        def report(count: int, done: float) -> None:
            elapsed = bar.tasks[0].elapsed or 0.0
            bar.update(task, completed=done, rows=count, rate=count / elapsed if elapsed else 0.0)

        yield report


def plain(value: Any) -> Any:  # noqa: PLR0911 one line per kind of value
    """A value in the forms of JSON: times as RFC 3339, bytes as base64, floats that are not finite as texts."""
    match value:
        case Mapping():
            return {key: plain(each) for key, each in value.items()}
        case datetime():
            return timestamps.render(value if value.tzinfo else value.replace(tzinfo=UTC))
        case date():
            return value.isoformat()
        case bytes():
            return b64encode(value).decode()
        case float() if not math.isfinite(value):
            return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        case None | bool() | int() | float() | str():
            return value
        case _ if isinstance(value, Sequence):
            return [plain(each) for each in value]
        case _:
            return str(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cell(value: Any) -> Any:
    value = plain(value)
    return orjson.dumps(value).decode() if isinstance(value, dict | list) else value


def _shown(value: Any) -> str:
    value = plain(value)
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.6g}"
        case list():
            return ", ".join(map(str, value))
        case dict():
            return ", ".join(f"{key}={each}" for key, each in value.items())
        case _:
            return str(value)
