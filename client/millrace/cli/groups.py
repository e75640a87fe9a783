"""The groups of commands: those of the SDK, and those that other installed distributions add.

A distribution adds a group by an entry point of the group ``millrace.commands``: its name, and the typer application
that holds its commands, as in ``local = "millrace_local.commands:app"``. Extras behind it in brackets are what the
commands need. The first line of that module's docstring stands in ``millrace --help``. It is read without importing the
module, so that neither the help nor another group waits for it or fails with it.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping
from importlib.machinery import PathFinder
from importlib.metadata import EntryPoint, distribution, distributions
from pathlib import Path
from typing import Any, Final

import typer

from millrace.cli import libraries
from millrace_core.base.errors import ReportError

ENTRY_POINTS: Final = "millrace.commands"
BUILT_IN: Final = (
    EntryPoint("features", "millrace.cli.features:app", ENTRY_POINTS),
    EntryPoint("datasets", "millrace.cli.datasets:app", ENTRY_POINTS),
    EntryPoint("predictions", "millrace.cli.predictions:app", ENTRY_POINTS),
    EntryPoint("outcomes", "millrace.cli.outcomes:app", ENTRY_POINTS),
    EntryPoint("experiment", "millrace.cli.experiment:app", ENTRY_POINTS),
)
# Commands that stand beside the groups: functions.
COMMANDS: Final = (
    EntryPoint("validate", "millrace.cli.validate:validate", ENTRY_POINTS),
    EntryPoint("serve", "millrace_services.alone.command:serve [inference]", ENTRY_POINTS),
)
# Groups that distributions of this house add. None of them is in a package index, where the name may be another's.
_ELSEWHERE: Final[Mapping[str, str]] = {"local": "millrace-local"}


def groups() -> Mapping[str, EntryPoint]:
    """Every group by name, in the order of the help; no other distribution takes the name of one of the SDK's own.

    Where two distributions add a group of one name, ``load`` refuses it.
    """
    found = {each.name: each for each in BUILT_IN}
    for each in sorted(_added(), key=lambda each: (each.name, _distribution(each))):
        found.setdefault(each.name, each)
    return {name: each for name, each in found.items() if name not in {command.name for command in COMMANDS}}


def summary(group: EntryPoint) -> str:
    """What the group is for, in one line; empty where its module is not there or cannot be read."""
    try:
        text = ast.get_docstring(ast.parse(_source(group.module)))
    except Exception:  # whatever another distribution has there, the other groups are shown; load() says what is wrong
        return ""
    return (text or "").partition("\n")[0]


def load(group: EntryPoint) -> typer.Typer:
    """The commands of a group.

    Raises:
        ReportError: a library that the group needs is not installed, the group's module is broken, or two distributions
            add a group of this name.
    """
    rivals = sorted({_distribution(each) for each in _added() if each.name == group.name} - {_distribution(group)})
    if rivals and group not in BUILT_IN:
        raise ReportError(
            f"`millrace {group.name}` is added by {_distribution(group)} and by {', '.join(rivals)}",
            hint="Uninstall all of them but one",
            reason="BrokenCommands",
        )
    app = _loaded(group)
    if not isinstance(app, typer.Typer):
        raise ReportError(
            f"`millrace {group.name}` cannot be loaded: {group.value} is {type(app).__name__}, not a typer application",
            hint=f"Install {_distribution(group)} again, in the version of millrace",
            reason="BrokenCommands",
        )
    return app


def load_command(command: EntryPoint) -> Callable[..., None]:
    """The function of a command.

    Raises:
        ReportError: a library that it needs is not installed, or its module is broken.
    """
    found: Callable[..., None] = _loaded(command)
    return found


def _loaded(point: EntryPoint) -> Any:
    try:
        return point.load()
    except ModuleNotFoundError as error:
        raise _lacks(point, error) from error
    except (Exception, SystemExit) as error:
        raise ReportError(
            f"`millrace {point.name}` cannot be loaded: {point.value}: {type(error).__name__}: {error}",
            hint=f"Install {_distribution(point)} again, in the version of millrace",
            reason="BrokenCommands",
        ) from error


def lacks(arguments: Iterable[str], error: ModuleNotFoundError) -> ReportError:
    """What is told where a library turns out to be missing while a command runs: most are imported when they are used.

    Raises:
        ModuleNotFoundError: the same, where no library is missing, but something of ours, or no command was called.
    """
    name, commands = next(iter(arguments), ""), {each.name: each for each in COMMANDS}
    point = groups().get(name, commands.get(name))
    if point is None or not error.name or error.name.partition(".")[0].startswith("millrace"):
        raise error
    return _lacks(point, error)


def _lacks(point: EntryPoint, error: ModuleNotFoundError) -> ReportError:
    return ReportError(
        f"`millrace {point.name}` needs {error.name}, which is not installed",
        hint=f"Install it with: pip install {_requirement(point, error.name or '')}",
        reason="LibraryMissing",
    )


def missing(arguments: Iterable[str], known: Mapping[str, EntryPoint]) -> None:
    """Does nothing, unless the group that is called comes with a distribution that is not installed.

    Raises:
        ReportError: it does.
    """
    name = next(iter(arguments), "")
    if name in _ELSEWHERE and name not in known:
        raise ReportError(
            f"`millrace {name}` comes with {_ELSEWHERE[name]}, which is not installed",
            hint=f"Install it from the folder {name} of Millrace's source code: pip install ./{name}",
            reason="LibraryMissing",
        )


def _added() -> list[EntryPoint]:
    """The entry points of every installed distribution; one whose list cannot be read harms no other."""
    found: dict[str, list[EntryPoint]] = {}
    for each in distributions():
        try:
            # A name takes ten times as long to read as entry points, and there are hundreds of distributions.
            if each.entry_points.select(group=ENTRY_POINTS) and each.name not in found:
                # The first of this name on the path, which hides the others.
                found[each.name] = list(distribution(each.name).entry_points.select(group=ENTRY_POINTS))
        except (ValueError, TypeError, KeyError, AttributeError, OSError):
            continue
    return [point for points in found.values() for point in points]


def _source(module: str) -> bytes:
    """The text of a module; ``importlib.util.find_spec`` would import the packages that it is in."""
    name, path, origin = "", None, None
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        spec = PathFinder.find_spec(name, path)
        if spec is None:
            return b""
        path, origin = spec.submodule_search_locations, spec.origin
    return Path(origin).read_bytes() if origin else b""


def _distribution(group: EntryPoint) -> str:
    return group.dist.name if group.dist is not None else "millrace"


def _requirement(group: EntryPoint, module: str) -> str:
    """What pip is to be given for a library of the group's."""
    if group.extras:
        return f"'{_distribution(group)}[{','.join(group.extras)}]'"
    return libraries.requirement(module, (_distribution(group), "millrace")) or _distribution(group)
