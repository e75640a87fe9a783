"""Check YAML files of all kinds as the cluster would, without one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from millrace.cli.output import Format, Output
from millrace_core.base.lazy_import import lazy_import

if TYPE_CHECKING:
    from millrace.cli import validating
else:
    validating = lazy_import("millrace.cli.validating")


def validate(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE]...", help="YAML or JSON files, folders of them, or - for standard input."),
    ] = None,
    data: Annotated[
        bool, typer.Option("--data", help="Open the sources of views, too: columns and types, not values.")
    ] = False,
    form: Format = Output.TABLE,
) -> None:
    """Checks YAML files of all kinds as the cluster would, without one: schema, rules (CEL), schedules, definitions.

    Every mistake is named with its file, line, column and field. Exit code 2 where there is one. Without FILE: those
    in this folder.
    """
    checked = validating.check(files or [Path()], look_at_data=data)
    validating.show(checked, form)
    if checked.mistakes:
        raise typer.Exit(validating.MISTAKE)
