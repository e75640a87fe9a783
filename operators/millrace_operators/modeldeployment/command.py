"""The command of a ModelDeployment: the annotation ``millrace.dev/command: "<id>:restart"``, each id handled once."""

from __future__ import annotations

from typing import Final

from millrace_core.api import conditions
from millrace_core.api.base import COMMAND_ANNOTATION
from millrace_core.base.errors import RejectError
from millrace_kube.resources import Object, annotations_of

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


def unhandled(document: Object) -> tuple[str, RejectError | None]:
    """Id of a command that is not handled yet, and why it is none; empty: there is none to handle."""
    text = annotations_of(document).get(COMMAND_ANNOTATION, "")
    if not text or identity(text) == (document.get("status") or {}).get("handledCommand"):
        return "", None
    try:
        check(text)
    except RejectError as error:
        return "", error
    return identity(text), None
