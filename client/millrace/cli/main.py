"""The ``millrace`` command."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated

import typer

from millrace.cli import groups
from millrace.cli.flags import in_terminal, option
from millrace_core.base.blocked_import import UNUSED, block_imports
from millrace_core.base.errors import MillraceError, RejectError

FAULT = 1
MISTAKE = 2
INTERRUPTED = 130


def application(arguments: Sequence[str]) -> typer.Typer:
    """The command line that understands ``arguments``: the commands of the group called, the summaries of the others.

    Raises:
        ReportError: the group called is not installed, lacks a library or is broken.
    """
    app = typer.Typer(name="millrace", add_completion=False)
    app.callback(no_args_is_help=True, help="Millrace: features, models and experiments.")(_options)
    known = groups.groups()
    groups.missing(arguments, known)
    for name, group in known.items():
        commands = groups.load(group) if name in arguments[:1] else _stand_in()
        app.add_typer(commands, name=name, help=_plain(groups.summary(group)))
    for command in groups.COMMANDS:
        called = groups.load_command(command) if command.name in arguments[:1] else lambda: None
        app.command(command.name, help=None if command.name in arguments[:1] else groups.summary(command))(called)
    return app


def main() -> None:
    """Runs the command line of this process."""
    block_imports(*UNUSED)
    run(sys.argv[1:])


def run(arguments: Sequence[str]) -> None:
    """Runs the command line. Exit code 0: done; 1: a fault; 2: a mistake of the caller; 130: interrupted."""
    try:
        application(arguments)(args=list(arguments))
    except MillraceError as error:
        error.field = option(error.field, arguments, os.environ)
        typer.echo(f"millrace: {in_terminal(str(error))}", err=True)
        sys.exit(MISTAKE if isinstance(error, RejectError) else FAULT)
    except ModuleNotFoundError as error:
        typer.echo(f"millrace: {in_terminal(str(groups.lacks(arguments, error)))}", err=True)
        sys.exit(FAULT)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # Whoever read the output has seen enough, as `| head` does.
        sys.stderr.close()
        sys.exit(0)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("millrace"))
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
]


def _options(_version: Version = False) -> None:
    """Takes the options of ``millrace`` itself; each acts by its callback."""


def _plain(text: str) -> str:
    """A text that help shows as it is: brackets would be markup, and a tag that closes nothing ends the help."""
    if "[" not in text:
        return text
    from rich.markup import escape  # noqa: PLC0415 a quarter of a second, which few need

    return escape(text)


def _stand_in() -> typer.Typer:
    """A group that is only named in the help of ``millrace`` itself."""
    group = typer.Typer()
    group.callback()(lambda: None)
    return group


if __name__ == "__main__":
    main()
