"""What names, aliases, tags, stages and versions of models may be. Pure."""

from __future__ import annotations

import re
from typing import Final

from millrace_core.base.shown import shown
from millrace_services.registry.mlflow import keys
from millrace_services.registry.mlflow.errors import invalid, missing
from millrace_services.registry.mlflow.keys import bounded

NONE: Final = "None"
STAGES: Final = (NONE, "Staging", "Production", "Archived")
ACTIVE: Final = frozenset({"Staging", "Production"})
MOST_TEXT: Final = 100_000

_MOST_NAME: Final = 256
_MOST_ALIAS: Final = 255
_MOST_SHORT: Final = 2_000
_MOST_VERSION: Final = 2**31 - 1
_ALIAS: Final = re.compile(r"[\w\-]+")
_NUMBERED: Final = re.compile(r"[vV]\d+")
_CANONICAL: Final = {stage.lower(): stage for stage in STAGES}


def name(given: str, field: str = "name") -> str:
    """The name of a registered model, as it is.

    Raises:
        MlflowError: it is empty, too long, or would be read as something else in a ``models:/`` URI or a path.
    """
    if not given.strip():
        raise missing(field)
    if "/" in given or ":" in given:
        raise invalid(f"Invalid model name {shown(given, 80)}. Names cannot contain '/' or ':'.")
    bounded(field, given, _MOST_NAME)
    keys.must_be_itself(field, given)
    return given


def alias(given: str) -> str:
    """The name of an alias, as it is.

    Raises:
        MlflowError: it has other characters than letters, digits, ``_`` and ``-``, or is too long.
    """
    if not _ALIAS.fullmatch(given):
        raise invalid(
            f"Invalid alias name: {shown(given, 80)}. "
            "Names may only contain alphanumerics, underscores (_), and dashes (-)."
        )
    return bounded("Registered model alias name", given, _MOST_ALIAS)


def settable_alias(given: str) -> str:
    """The name of an alias that can be set.

    Raises:
        MlflowError: it is none, or one that stands for something by itself.
    """
    if alias(given).lower() == "latest":
        raise invalid("'latest' alias name (case insensitive) is reserved.")
    if _NUMBERED.fullmatch(given):
        raise invalid(f"Version alias name '{given}' is reserved.")
    return given


def version(given: str) -> int:
    """The number of a version.

    Raises:
        MlflowError: it is none.
    """
    if not (given.isascii() and given.isdigit()) or len(given) > len(str(_MOST_VERSION)):
        raise invalid(f"Parameter 'version' must be an integer, got {shown(given, 40)}.")
    # No version has so high a number.
    return min(int(given), _MOST_VERSION)


def stage(given: str) -> str:
    """A stage as it is written.

    Raises:
        MlflowError: there is no such stage.
    """
    found = _CANONICAL.get(given.lower())
    if found is None:
        raise invalid(f"Invalid Model Version stage: {shown(given, 40)}. Value must be one of {', '.join(STAGES)}.")
    return found


def tag(key: str, value: str) -> tuple[str, str]:
    """The key and the value of a tag, as they are.

    Raises:
        MlflowError: the key has other characters than paths have, or one of them is too long.
    """
    return keys.key("key", key), bounded("value", value, MOST_TEXT)


def tags(given: dict[str, str]) -> dict[str, str]:
    """Tags that a model or a version is made with."""
    return dict(tag(key, value) for key, value in given.items())


def text(field: str, given: str) -> str:
    """A text of any content.

    Raises:
        MlflowError: it is too long.
    """
    return bounded(field, given, MOST_TEXT)


def short(field: str, given: str) -> str:
    """A URI or an id.

    Raises:
        MlflowError: it is too long.
    """
    return bounded(field, given, _MOST_SHORT)
