"""What keys of tags, parameters and metrics may be, and how long texts may be. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from typing import Final
from urllib.parse import unquote

from millrace_core.base.shown import shown
from millrace_services.registry.mlflow.errors import invalid, missing

MOST_KEY: Final = 250
_KEY: Final = re.compile(r"[/\w.\- :]+")


def key(field: str, given: str) -> str:
    """A key, as it is.

    Raises:
        MlflowError: it is empty, too long, has other characters than paths have, or would be another one as a path.
    """
    if not given:
        raise missing(field)
    if not _KEY.fullmatch(given):
        raise invalid(
            f"Invalid value {shown(given, 80)} for parameter '{field}' supplied: Names may only contain alphanumerics, "
            "underscores (_), dashes (-), periods (.), spaces ( ), colon(:) and slashes (/)."
        )
    must_be_itself(field, given)
    return bounded(field, given, MOST_KEY)


def bounded(field: str, given: str, most: int) -> str:
    """A text, as it is.

    Raises:
        MlflowError: it is too long.
    """
    if len(given) > most:
        raise invalid(f"'{field}' exceeds the maximum length of {most} characters, it has {len(given)}")
    return given


def undone(given: str, undo: Callable[[str], str] = unquote) -> str:
    """A text without percent codes, also without those that undoing others makes.

    It takes time by the square of the text's length, which has to be bounded before.
    """
    while (plain := undo(given)) != given:
        given = plain
    return given


def must_be_itself(field: str, given: str) -> None:
    """Clients make paths of names, which must lead to no other name.

    Raises:
        MlflowError: it does.
    """
    plain = posixpath.normpath(given)
    if plain != given or plain in (".", "..") or plain.startswith(("../", "/")):
        raise invalid(
            f"Invalid value {shown(given, 80)} for parameter '{field}' supplied: Names may be treated as files in "
            f"certain cases, and must not resolve to other names when treated as such. "
            f"This name would resolve to {shown(plain, 80)}"
        )
