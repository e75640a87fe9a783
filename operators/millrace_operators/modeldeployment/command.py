"""The command of a ModelDeployment: the annotation ``millrace.dev/command: "<id>:restart"``, each id handled once."""

from __future__ import annotations

from typing import Final

from millrace_core.api import conditions
from millrace_core.api.base import COMMAND_ANNOTATION
from millrace_core.base.errors import RejectError

RESTART: Final = "restart"


def identity(text: str) -> str:
    """The part that tells one command from the next, whatever the rest is."""
    return text.partition(":")[0].strip()


def check(text: str) -> None:
    """Checks the annotation's value.

    Raises:
        RejectError: it is no command; says what is.
    """
    _, colon, rest = text.partition(":")
    if not colon or not identity(text) or rest.split() != [RESTART]:
        raise RejectError(
            f"{text!r} is no command",
            hint='Write "<id>:restart", with an id not used before',
            field=f"metadata.annotations[{COMMAND_ANNOTATION}]",
            reason=conditions.BAD_COMMAND,
        )
