"""Predictions that were logged: what a model said, to whom, when, and of which features."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from millrace.cli import comparing, output
from millrace.cli.output import Format, Output
from millrace.sdk import evidence, predictions, shadows
from millrace_core.base.errors import NotFoundError

# What fits a terminal; outputs stand behind.
_SHOWN = ("time", "id", "row", "deployment", "version", "arm", "status", "total_us")

app = typer.Typer(no_args_is_help=True)

Service = Annotated[str, typer.Argument(metavar="SERVICE", help="The service, as clients call it.")]
LakeUri = Annotated[
    str | None,
    typer.Option("--lake", help="s3://bucket/path, or a folder.", envvar=evidence.VARIABLE, show_default=False),
]
Namespace = Annotated[str, typer.Option("--namespace", "-n", help="Of the service.")]
Start = Annotated[str | None, typer.Option(help="From then on; default a day before the end.", show_default=False)]
End = Annotated[str | None, typer.Option(help="Before then; default now.", show_default=False)]
Columns = Annotated[
    str | None,
    typer.Option(
        help="Names with commas between them, such as id,output.score; output.* is all outputs.", show_default=False
    ),
]


@app.command("list")
def list_predictions(
    service: Service,
    lake: LakeUri = None,
    namespace: Namespace = "default",
    start: Start = None,
    end: End = None,
    columns: Columns = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many rows, the newest.")] = 20,
    form: Format = Output.TABLE,
) -> None:
    """Lists predictions in the order of their times; of a request of many rows each."""
    found = predictions.read(
        service, namespace=namespace, start=start, end=end, columns=_names(columns), lake=lake, limit=limit
    )
    names = found.table.column_names
    shown = names
    if columns is None and form is Output.TABLE:
        shown = [name for name in names if name in _SHOWN or name.startswith("output.")]
    output.rows(found.table.to_pylist(), form, shown)
    if not found.table.num_rows:
        output.note(f"nothing of {namespace}/{service} was predicted in that time; {output.MAYBE_NOT_YET}")


@app.command()
def show(
    service: Service,
    identity: Annotated[str, typer.Argument(metavar="ID", help="Of the prediction: x-millrace-prediction-id.")],
    lake: LakeUri = None,
    namespace: Namespace = "default",
    start: Start = None,
    end: End = None,
    form: Format = Output.TABLE,
) -> None:
    """Shows all that is known of one prediction."""
    found = predictions.read(service, namespace=namespace, start=start, end=end, lake=lake, id=identity).table
    if not found.num_rows:
        raise NotFoundError(
            f"there is no prediction {identity!r} in that time",
            hint="Give --start and --end; a prediction takes up to a minute into the lake, and a sample has not all",
            field="ID",
        )
    rows = found.to_pylist()
    if form is Output.TABLE:
        facts = [
            {"column": name, **{f"row {row['row']}": row[name] for row in rows}}
            for name in found.column_names
            if name not in ("id", "row")
        ]
        output.rows(facts, form, list(facts[0]))
    else:
        output.rows(rows, form, found.column_names)


@app.command()
def compare(
    service: Service,
    control: Annotated[str, typer.Argument(metavar="CONTROL", help="ModelDeployment whose answers clients got.")],
    shadow: Annotated[str, typer.Argument(metavar="SHADOW", help="ModelDeployment that got copies of the requests.")],
    lake: LakeUri = None,
    namespace: Namespace = "default",
    start: Start = None,
    end: End = None,
    tolerance: Annotated[
        float, typer.Option(min=0, help="How far apart numbers agree: absolute below 1, relative above.")
    ] = 1e-6,
    form: Format = Output.TABLE,
) -> None:
    """Compares what two deployments predicted for the same requests, as for a Shadow."""
    comparing.show(
        shadows.compare(
            service, control, shadow, namespace=namespace, start=start, end=end, lake=lake, tolerance=tolerance
        ),
        form,
    )


@app.command()
def export(
    service: Service,
    path: Annotated[Path, typer.Argument(help="The Parquet file to write.")],
    lake: LakeUri = None,
    namespace: Namespace = "default",
    start: Start = None,
    end: End = None,
    columns: Columns = None,
) -> None:
    """Writes predictions to one Parquet file, hour after hour, however many there are."""
    rows = predictions.export(
        service, path, namespace=namespace, start=start, end=end, columns=_names(columns), lake=lake
    )
    output.note(f"{rows:,} rows are in {path}")


def _names(columns: str | None) -> list[str] | None:
    return None if columns is None else [name.strip() for name in columns.split(",") if name.strip()]
