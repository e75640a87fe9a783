"""Checks of YAML files as the cluster checks them: every fault of every object, with its file, line and column."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from millrace.cli import output
from millrace.cli.output import Output
from millrace.sdk import definitions
from millrace_core.api import checking
from millrace_core.api.checking import Fault
from millrace_core.api.featureview import FeatureView
from millrace_core.api.loading import Placed, load_object, objects
from millrace_core.base.errors import MillraceError, RejectError
from millrace_core.base.lazy_import import lazy_import
from millrace_core.base.yaml_text import YamlError

if TYPE_CHECKING:
    from millrace_core.features.definition.definition import Definition
    from millrace_data.sources import cell_log, credentials, opening
else:
    credentials, opening = (
        lazy_import("millrace_data.sources.credentials"),
        lazy_import("millrace_data.sources.opening"),
    )
    cell_log = lazy_import("millrace_data.sources.cell_log")

MISTAKE: Final = 2
STDIN: Final = Path("-")


@dataclass(frozen=True)
class Mistake:
    """One mistake. ``line`` and ``column`` count from 1; ``object`` is such as ``FeatureView user-stats``."""

    file: str
    line: int
    column: int
    object: str
    field: str
    message: str

    def __str__(self) -> str:
        """As compilers write it."""
        said = ": ".join(filter(None, (self.object, self.field, self.message)))
        return f"{self.file}:{self.line}:{self.column}: {said}"


@dataclass
class Checked:
    """What was found: one row per object that is right, the mistakes, and how many objects are of other kinds."""

    objects: list[dict[str, Any]] = field(default_factory=list)
    mistakes: list[Mistake] = field(default_factory=list)
    others: int = 0


def check(paths: Sequence[Path], *, look_at_data: bool) -> Checked:
    """Checks the objects of files.

    Args:
        paths: files, folders of them, or ``-`` for standard input.
        look_at_data: whether the sources of feature views are opened as well, and their columns compared.

    Raises:
        NotFoundError: there is no such file. RejectError: a folder has none.
    """
    checked = Checked()
    seen: dict[tuple[str, str, str], str] = {}
    files = [file for path in paths for file in _files(path)]
    for file in files:
        name = "standard input" if file == STDIN else str(file)
        for each in _objects(file):
            if isinstance(each, YamlError):
                checked.mistakes.append(Mistake(name, each.line, each.column, "", "", f"no YAML: {each.message}"))
            else:
                _check(name, each, checked, seen, look_at_data=look_at_data)
    if not (checked.objects or checked.mistakes or checked.others):
        checked.mistakes.append(Mistake(", ".join(map(str, paths)), 1, 1, "", "", "there is no object in it"))
    return checked


def show(checked: Checked, form: Output) -> None:
    """Prints it; mistakes go to stderr where they are not the result itself."""
    if form is Output.JSON:
        output.document({"objects": checked.objects, "mistakes": [vars(each) for each in checked.mistakes]})
        return
    columns = ["kind", "name", "file", *(name for name in _OF_VIEWS if any(name in each for each in checked.objects))]
    if checked.objects or form is Output.CSV:
        output.rows(checked.objects, form, columns)
    for each in checked.mistakes:
        output.note(str(each))
    if checked.others:
        count = "1 object of another kind is" if checked.others == 1 else f"{checked.others} objects of other kinds are"
        output.note(f"{count} not checked; kubectl apply --dry-run=server does")


_OF_VIEWS: Final = ("features", "schemaHash", "data")


def _check(
    file: str, given: Placed, checked: Checked, seen: dict[tuple[str, str, str], str], *, look_at_data: bool
) -> None:
    document = given.document
    if not checking.is_ours(document) and document.get("apiVersion") and document.get("kind"):
        checked.others += 1
        return
    found = definitions.checked(document)
    made, faults = _described(found, look_at_data=look_at_data)
    kind, name = str(document.get("kind") or "object"), given.name
    namespace = str(found.stored.get("metadata", {}).get("namespace", definitions.DEFAULT_PROJECT)) if made else ""
    here = f"{file}:{given.node.place('metadata.name')[0]}"
    # Of one beginning of a name the API server makes as many names as are asked for.
    named = made is not None and document["metadata"].get("name")
    if named and (first := seen.setdefault((kind, namespace, name), here)) != here:
        faults = [Fault("metadata.name", f"{name!r} is defined a second time, first in {first}")]
    if faults:
        checked.mistakes += [Mistake(file, *given.node.place(where), f"{kind} {name}", where, m) for where, m in faults]
    elif made is not None:
        checked.objects.append({"kind": kind, "name": name, "file": file, **made})


def _described(found: checking.Checked, *, look_at_data: bool) -> tuple[dict[str, Any] | None, list[Fault]]:
    """What is said of an object that is right; or the faults, of its data, too."""
    if found.faults:
        return None, found.faults
    try:
        loaded = load_object(found.stored)
        if not isinstance(loaded, FeatureView):
            return {}, []
        compiled = definitions.compiled(loaded)
        made = {"features": len(compiled.features), "schemaHash": compiled.schema_hash}
        return ({**made, "data": _look_at(compiled)} if look_at_data else made), []
    except MillraceError as error:
        return None, [Fault(error.field, error.advice())]


def _look_at(compiled: Definition) -> str:
    loaded = credentials.Credentials.load(os.environ)
    opening.open_source(compiled, loaded)
    if kept := cell_log.open_cell_log(compiled, loaded):
        kept.check()
    return "fits"


def _files(path: Path) -> list[Path]:
    if path == STDIN:
        return [path]
    found = definitions.expanded([path], ("*.yaml", "*.yml", "*.json"))
    if not found:
        raise RejectError(f"{path} has no file with the ending .yaml, .yml or .json")
    return found


def _objects(file: Path) -> Iterator[Placed | YamlError]:
    try:
        content = sys.stdin.buffer.read() if file == STDIN else file.read_bytes()
        text = content.decode()
    except UnicodeDecodeError as error:
        before = content[: error.start].decode()
        line, start = before.count("\n") + 1, before.rfind("\n")
        yield YamlError(f"this is no UTF-8: {error.reason}", line, len(before) - start)
    except OSError as error:
        raise RejectError(f"cannot read {file}: {error.strerror}") from error
    else:
        yield from objects(text)
