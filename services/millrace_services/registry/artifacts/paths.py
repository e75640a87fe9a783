"""Paths of files below the place that all of them lie in. Pure."""

from __future__ import annotations

import unicodedata
from typing import Final

from millrace_core.base.shown import shown
from millrace_services.registry.mlflow.errors import MlflowError, invalid
from millrace_services.registry.mlflow.keys import undone

# Where uploads are until they are whole, which is nobody's path.
UPLOADS: Final = ".millrace-uploads"
SCHEME: Final = "mlflow-artifacts"
_LONGEST: Final = 1024
_DEEPEST: Final = 64
_CONTROLS: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})


def checked(given: str) -> str:
    """A path of a file or a folder, as it is; empty for all of the place.

    Raises:
        MlflowError: it leads elsewhere, or would where somebody decodes it once more, or is nobody's.
    """
    if len(given) > _LONGEST:
        raise invalid(f"Invalid path: {shown(given, 200)}: it has more than {_LONGEST} characters")
    for each in (given, undone(given)):
        parts = each.split("/")
        wrong = _controls(each) or "\\" in each or len(parts) > _DEEPEST
        if wrong or (each and ({"", ".", ".."} & {*parts})) or parts[0] == UPLOADS:
            raise invalid(f"Invalid path: {shown(given, 200)}")
    return given


def _controls(text: str) -> bool:
    """Whether it has what a terminal or a header acts on. Spaces of every script, and what joins emoji, are names."""
    return not text.isprintable() and any(unicodedata.category(each) in _CONTROLS for each in text)


def below(given: str) -> str:
    """A path as ``checked`` has it, and not empty. Raises ``MlflowError``."""
    if not given:
        raise invalid("Invalid path: it is empty")
    return checked(given)


def of_uri(uri: str) -> str:
    """The path that a URI of a run's or a model's files means.

    Raises:
        MlflowError: they do not lie in this server's place.
    """
    scheme, colon, rest = uri.partition(":")
    if scheme != SCHEME or not colon:
        raise MlflowError(
            "NOT_IMPLEMENTED", 501, f"This server does not read {shown(uri, 200)}, where clients write by themselves"
        )
    # A host may stand there, which is this server.
    path = rest.removeprefix("//").partition("/")[2] if rest.startswith("//") else rest
    return checked(path.strip("/"))
