"""The command of a ModelDeployment: ``restart`` makes a new revision, with what this release renders."""

from __future__ import annotations

from typing import Final

from millrace_core.api.base import COMMAND_ANNOTATION
from millrace_core.api.command import no_command, parse, recorded
from millrace_core.base.errors import RejectError
from millrace_kube.resources import Object, annotations_of

RESTART: Final = "restart"
_USAGE: Final = f'"<id>:{RESTART}"'


def unhandled(document: Object) -> tuple[str, RejectError | None]:
    """The text of a command that is not handled yet, and why it is none; empty: there is none to handle."""
    text = annotations_of(document).get(COMMAND_ANNOTATION, "")
    if not text or recorded(text) == (document.get("status") or {}).get("handledCommand"):
        return "", None
    try:
        command = parse(text, _USAGE)
    except RejectError as error:
        return "", error
    if (command.verb, command.arguments) != (RESTART, ()):
        return "", no_command(text, _USAGE)
    return recorded(text), None
