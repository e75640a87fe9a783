"""Checks of YAML files: all mistakes of all views, each with its place in the file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml
from pydantic import ValidationError

from millrace.cli import output
from millrace.cli.output import Output
from millrace.sdk import definitions
from millrace_core.api.base import API_VERSION
from millrace_core.api.featureview import FeatureView
from millrace_core.api.loading import Loader, mistakes, validated
from millrace_core.base.errors import MillraceError
from millrace_core.base.lazy_import import lazy_import
from millrace_core.features.definition import definition
from millrace_core.features.definition.definition import Definition

if TYPE_CHECKING:
    from millrace_data.sources import cell_log, credentials, opening
else:
    credentials, opening = (
        lazy_import("millrace_data.sources.credentials"),
        lazy_import("millrace_data.sources.opening"),
    )
    cell_log = lazy_import("millrace_data.sources.cell_log")

MISTAKE: Final = 2
_STEP: Final = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


@dataclass(frozen=True)
class Mistake:
    """One mistake. ``line`` counts from 1; ``place`` is ``file:line``."""

    file: str
    line: int
    view: str
    field: str
    message: str

    @property
    def place(self) -> str:
        """Where it is, as compilers write it."""
        return f"{self.file}:{self.line}"


@dataclass
class Checked:
    """What was found: one row per view that is right, and the mistakes."""

    views: list[dict[str, Any]] = field(default_factory=list)
    mistakes: list[Mistake] = field(default_factory=list)


def check(paths: Sequence[str | os.PathLike[str]], *, look_at_data: bool) -> Checked:
    """Checks the feature views of files.

    Args:
        paths: files, or folders of them.
        look_at_data: whether the sources are opened as well, and their columns compared with the definition.

    Raises:
        NotFoundError: there is no such file.
    """
    checked = Checked()
    seen: dict[tuple[str, str], str] = {}
    for path in definitions.expanded(paths):
        for node, document in _documents(path, checked):
            _check(str(path), node, document, checked, seen, look_at_data=look_at_data)
    return checked


def show(checked: Checked, form: Output) -> None:
    """Prints it; mistakes go to stderr where they are not the result itself."""
    if form is Output.JSON:
        mistakes = [
            {"file": each.file, "line": each.line, "view": each.view, "field": each.field, "message": each.message}
            for each in checked.mistakes
        ]
        output.document({"views": checked.views, "mistakes": mistakes})
        return
    columns = ["view", "file", "features", "schemaHash", *(["data"] if any("data" in v for v in checked.views) else [])]
    if checked.views or form is Output.CSV:
        output.rows(checked.views, form, columns)
    for each in checked.mistakes:
        where = f"{each.field}: " if each.field else ""
        output.note(f"{each.place}: {each.view}: {where}{each.message}")
    if not checked.views and not checked.mistakes:
        output.note("there is no feature view in these files")


def _check(
    file: str,
    node: yaml.Node,
    document: Mapping[str, Any],
    checked: Checked,
    seen: dict[tuple[str, str], str],
    *,
    look_at_data: bool,
) -> None:
    metadata = document.get("metadata") if isinstance(document.get("metadata"), Mapping) else {}
    name = str((metadata or {}).get("name", "without a name"))

    def mistaken(where: str, message: str) -> None:
        checked.mistakes.append(Mistake(file, line_of(node, where), name, where, message))

    try:
        view = validated(FeatureView, document)
    except ValidationError as error:
        for where, message in mistakes(FeatureView, error):
            mistaken(where, message)
        return
    project = view.metadata.get("namespace", definitions.DEFAULT_PROJECT)
    if (project, name) in seen:
        mistaken("metadata.name", f"{name!r} is defined a second time, first in {seen[project, name]}")
        return
    seen[project, name] = f"{file}:{line_of(node, 'metadata.name')}"
    try:
        compiled = definition.compile(name, project, view.spec)
        made = {"view": name, "file": file, "features": len(compiled.features), "schemaHash": compiled.schema_hash}
        if look_at_data:
            made["data"] = _look_at(compiled)
    except MillraceError as error:
        mistaken(error.field, error.advice())
        return
    if view.spec.online.enabled and view.spec.materialization is None:
        mistaken("spec", "materialization.schedule is missing; add it, or set online.enabled to false")
        return
    checked.views.append(made)


def _look_at(compiled: Definition) -> str:
    loaded = credentials.Credentials.load(os.environ)
    opening.open_source(compiled, loaded)
    if kept := cell_log.open_cell_log(compiled, loaded):
        kept.check()
    return "fits"


def line_of(node: yaml.Node, path: str) -> int:
    """The line, from 1, of a dotted path such as ``spec.features[2].type``; of its nearest parent where it is absent.

    An index may be a name as well: ``spec.features[amount]``.
    """
    line = node.start_mark.line
    for name, index in _STEP.findall(path):
        found = _step(node, name, index)
        if found is None:
            break
        line, node = found
    return int(line) + 1


def _step(node: yaml.Node, name: str, index: str) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode) and name:
        for key, value in node.value:
            if key.value == name:
                return key.start_mark.line, value
    if isinstance(node, yaml.SequenceNode):
        for at, item in enumerate(node.value):
            if index == str(at) or (name and _named(item) == name):
                return item.start_mark.line, item
    return None


def _named(node: yaml.Node) -> str | None:
    if isinstance(node, yaml.MappingNode):
        return next((value.value for key, value in node.value if key.value == "name"), None)
    return None


def _documents(path: Path, checked: Checked) -> Iterator[tuple[yaml.Node, Mapping[str, Any]]]:
    try:
        text = path.read_text(encoding="utf-8")
        nodes = list(yaml.compose_all(text, Loader))
        documents = list(yaml.load_all(text, Loader))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error)
        checked.mistakes.append(Mistake(str(path), mark.line + 1 if mark else 1, "", "", f"no YAML: {problem}"))
        return
    for node, document in zip(nodes, documents, strict=True):
        wanted = {"apiVersion": API_VERSION, "kind": "FeatureView"}
        if isinstance(document, dict) and wanted.items() <= document.items():
            yield node, document
