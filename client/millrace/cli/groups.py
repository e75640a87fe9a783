"""The groups of commands, one module each. A module is imported only when a command of its group is called.

The command line stands below the embedded mode in the import layers, so groups are named here as text.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass

import typer

from millrace_core.base.errors import ReportError


@dataclass(frozen=True)
class Group:
    """A group of commands.

    Attributes:
        module: the module whose ``app`` holds the commands.
        summary: what they are for, in one line.
        extra: the optional dependencies of the distribution that they need; empty for none.
    """

    module: str
    summary: str
    extra: str = ""


GROUPS: Mapping[str, Group] = {
    "features": Group("millrace.cli.features", "Feature views: training sets, online reads, materialization, checks."),
    "datasets": Group("millrace.cli.datasets", "Saved training sets, and what they were made of."),
    "local": Group("millrace_local.commands", "The whole platform on this machine, with no cluster.", extra="local"),
}


def load(name: str) -> typer.Typer:
    """The commands of a group.

    Raises:
        ReportError: a library that the group needs is not installed.
    """
    group = GROUPS[name]
    try:
        app = importlib.import_module(group.module).app
    except ModuleNotFoundError as error:
        raise ReportError(
            f"`millrace {name}` needs {error.name}, which is not installed",
            hint=f"Install it with: pip install 'millrace[{group.extra}]'" if group.extra else "Install millrace again",
        ) from error
    if not isinstance(app, typer.Typer):
        raise ReportError(f"{group.module}.app is no typer application", hint="See client/millrace/cli/groups.py")
    return app
