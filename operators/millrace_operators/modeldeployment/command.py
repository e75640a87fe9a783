"""The commands of a ModelDeployment: ``restart``, ``run-gates`` and ``skip-gates``, ``promote`` and ``rollback``.

``restart`` makes a new revision, with what this release renders. ``run-gates`` judges the revision that the spec asks
for once more, ``skip-gates`` lets it through unjudged. ``promote`` and ``rollback`` move the traffic of a BlueGreen
rollout.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from millrace_core.api import command as commands
from millrace_core.api import conditions
from millrace_core.api.group import COMMAND_ANNOTATION
from millrace_core.base.errors import RejectError
from millrace_kube.resources import Object, annotations_of

RESTART: Final = "restart"
RUN_GATES: Final = "run-gates"
SKIP_GATES: Final = "skip-gates"
PROMOTE: Final = "promote"
ROLLBACK: Final = "rollback"
BLUE_GREEN: Final = "BlueGreen"
_OF_GATES: Final = (RUN_GATES, SKIP_GATES)
_OF_ROLLOUT: Final = (PROMOTE, ROLLBACK)
_VERBS: Final = (RESTART, *_OF_GATES, *_OF_ROLLOUT)
_USAGE: Final = " or ".join(f'"<id>:{verb}"' for verb in _VERBS)


class CommandRequest(NamedTuple):
    """A command that is not handled yet; without any all is empty. ``refusal`` says why it is none."""

    text: str = ""
    verb: str = ""
    refusal: RejectError | None = None

    def of(self, verb: str) -> str:
        """Its text, if it is this one."""
        return self.text if self.verb == verb else ""


def unhandled(document: Object) -> CommandRequest:
    """The command of the annotation, unless it was handled."""
    text = annotations_of(document).get(COMMAND_ANNOTATION, "")
    written = commands.unhandled(text, (document.get("status") or {}).get("handledCommand"))
    if not written:
        return CommandRequest()
    try:
        command = commands.parse(text, _USAGE)
    except RejectError as error:
        return CommandRequest(refusal=error)
    if command.verb not in _VERBS or command.arguments:
        return CommandRequest(refusal=commands.no_command(text, _USAGE))
    if command.verb in _OF_ROLLOUT and (document["spec"].get("rollout") or {}).get("strategy") != BLUE_GREEN:
        return CommandRequest(
            refusal=RejectError(
                f"{command.verb} is about rollouts of the strategy {BLUE_GREEN}, and this ModelDeployment has another",
                hint=f"Set spec.rollout.strategy to {BLUE_GREEN}, or take the annotation away",
                field=commands.FIELD,
                reason=conditions.BAD_COMMAND,
            )
        )
    if command.verb in _OF_GATES and not document["spec"].get("gates"):
        return CommandRequest(
            refusal=RejectError(
                f"{command.verb} is about gates, and this ModelDeployment has none",
                hint="Set spec.gates, or take the annotation away",
                field=commands.FIELD,
                reason=conditions.BAD_COMMAND,
            )
        )
    return CommandRequest(written, command.verb)
