"""The command of a ModelDeployment: ``restart`` makes a new revision, with what this release renders."""

from __future__ import annotations

from typing import Final

from millrace_core.api import command as commands
from millrace_core.api.base import COMMAND_ANNOTATION
from millrace_core.base.errors import RejectError
from millrace_kube.resources import Object, annotations_of

RESTART: Final = "restart"
_USAGE: Final = f'"<id>:{RESTART}"'


def unhandled(document: Object) -> tuple[str, RejectError | None]:
    """The text of a command that is not handled yet, and why it is none; empty: there is none to handle."""
    text = annotations_of(document).get(COMMAND_ANNOTATION, "")
    written = commands.unhandled(text, (document.get("status") or {}).get("handledCommand"))
    if not written:
        return "", None
    try:
        command = commands.parse(text, _USAGE)
    except RejectError as error:
        return "", error
    if (command.verb, command.arguments) != (RESTART, ()):
        return "", commands.no_command(text, _USAGE)
    return written, None
