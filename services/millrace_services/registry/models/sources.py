"""Where a version's files come from: which sources are taken, and what those of the form ``models:/…`` mean. Pure."""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import unquote_plus, urlsplit

from millrace_core.base.shown import shown
from millrace_services.registry.mlflow.errors import MlflowError, invalid
from millrace_services.registry.mlflow.keys import undone

_LOGGED: Final = re.compile(r"m-[0-9a-f]{32}")
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+")
# What clients give for prompts, which have no files.
PROMPTS: Final = frozenset({"dummy-source", "prompt-template"})


class Reference(NamedTuple):
    """What a ``models:/`` URI names: a version of a model by one of ``version``, ``alias`` and ``stage`` (``latest``
    among these), or a logged model by its id.
    """

    name: str = ""
    version: str = ""
    alias: str = ""
    stage: str = ""
    logged: str = ""


def reference(source: str) -> Reference | None:
    """What a source of the form ``models:/…`` names; None for others.

    Raises:
        MlflowError: it names nothing.
    """
    if _scheme(source) != "models":
        return None
    parts = [part for part in source.partition(":")[2].removeprefix("//").removeprefix("/").split("/") if part]
    if len(parts) == 1 and _LOGGED.fullmatch(parts[0]):
        return Reference(logged=parts[0])
    if len(parts) == 1 and "@" in parts[0]:
        name, _, alias = parts[0].rpartition("@")
        if name and alias:
            return Reference(name, alias=alias)
    name, which, *more = [*parts, "", ""]
    if which and not any(more):
        return Reference(name, version=which) if which.isdigit() else Reference(name, stage=which)
    raise invalid(
        f"Not a proper models:/ URI: {shown(source, 100)}. Models URIs must be of the form "
        "'models:/name/suffix', 'models:/name@alias' or 'models:/model-id', where suffix is a version, a stage or "
        "'latest'."
    )


def check(source: str, run_id: str) -> None:
    """Refuses what is on the server's own disk, what leads out of where it seems to lie, and a run's of another run.

    Args:
        source: at most as long as a URI may be.

    Raises:
        MlflowError: it is one of these.
    """
    if not (scheme := _scheme(source)) or scheme == "file":
        raise invalid(
            f"Invalid model version source: {shown(source, 200)}. To use a local path as a model version source, the "
            "run_id request parameter has to be specified and the local path has to be contained within the artifact "
            "directory of the run specified by the run_id."
        )
    plain = undone(source, unquote_plus)
    if "\x00" in plain or {".", ".."} & {*re.split(r"[/\\]", plain)}:
        raise _relative(source)
    if scheme == "runs" and plain.partition(":")[2].strip("/").partition("/")[0] != run_id:
        raise invalid(f"Invalid model version source: {shown(source, 200)}. It is not of the run given as run_id.")


def _scheme(source: str) -> str:
    try:
        scheme = urlsplit(source).scheme
    except ValueError as error:
        raise invalid(f"Invalid model version source: {shown(source, 200)}. {error}") from error
    # A single letter is a drive.
    return scheme if _SCHEME.fullmatch(scheme) else ""


def _relative(source: str) -> MlflowError:
    return invalid(
        f"Invalid model version source: {shown(source, 200)}. If supplying a source as an http, https, local file "
        "path, ftp, objectstore, or mlflow-artifacts uri, an absolute path must be provided without relative path "
        "references present. Please provide an absolute path."
    )
