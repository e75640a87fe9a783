"""Outcomes of Experiments: what came of the units, and the sums that are made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from millrace.cli import output
from millrace.cli.options import TokenFile
from millrace.cli.output import Format, Output
from millrace.sdk import evidence, outcomes

app = typer.Typer(no_args_is_help=True)

Experiment = Annotated[str, typer.Argument(help="The Experiment.")]
LakeUri = Annotated[
    str | None,
    typer.Option("--lake", help="s3://bucket/path, or a folder.", envvar=evidence.VARIABLE, show_default=False),
]
Namespace = Annotated[str, typer.Option("--namespace", "-n", help="Of the Experiment.")]
Start = Annotated[
    str | None, typer.Option(help="Received from then on; default a day before the end.", show_default=False)
]
End = Annotated[str | None, typer.Option(help="Received before then; default now.", show_default=False)]


@app.command("list")
def list_outcomes(
    experiment: Experiment,
    lake: LakeUri = None,
    namespace: Namespace = "default",
    start: Start = None,
    end: End = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many rows, the newest.")] = 20,
    form: Format = Output.TABLE,
) -> None:
    """Lists outcomes in the order of their times, each id once."""
    found = outcomes.read(experiment, namespace=namespace, start=start, end=end, lake=lake, limit=limit).table
    shown = ["time", "id", "unit", "outcome", "value"] if form is Output.TABLE else found.column_names
    output.rows(found.to_pylist(), form, shown)
    if not found.num_rows:
        output.note(f"nothing of {namespace}/{experiment} was received in that time; {output.MAYBE_NOT_YET}")


@app.command()
def export(
    experiment: Experiment,
    path: Annotated[Path, typer.Argument(help="The Parquet file to write.")],
    lake: LakeUri = None,
    namespace: Namespace = "default",
    start: Start = None,
    end: End = None,
) -> None:
    """Writes outcomes to one Parquet file, hour after hour, however many there are."""
    rows = outcomes.export(experiment, path, namespace=namespace, start=start, end=end, lake=lake)
    output.note(f"{rows:,} rows are in {path}")


@app.command()
def rebuild(
    experiment: Experiment,
    namespace: Namespace = "default",
    gateway: Annotated[
        str | None, typer.Option(help="URL of the gateway.", envvar=outcomes.GATEWAY, show_default=False)
    ] = None,
    token_file: TokenFile = None,
    without: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LOG",
            help="Give up a log whose gateway does not come back: what of it is not in the lake. May be repeated.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Makes the sums of an Experiment anew, of what was logged."""
    outcomes.rebuild(experiment, namespace=namespace, gateway=gateway, without=without or (), token=token_file)
    output.note(f"the sums of {namespace}/{experiment} are whole")
