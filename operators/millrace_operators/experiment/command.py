"""Commands: the annotation ``millrace.dev/command: "<id>:<verb>[ arm]"``, each handled once.

What a command does depends on the phase. One that cannot be carried out is answered, and counts as handled.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, NamedTuple

from millrace_core.api import command as commands
from millrace_core.api import conditions
from millrace_core.api.command import unhandled
from millrace_core.api.experiment_history import FinalDecision
from millrace_core.base.errors import RejectError
from millrace_core.base.shown import shown
from millrace_operators.experiment import verdict as verdicts
from millrace_operators.experiment.looks import without_failures
from millrace_operators.experiment.observation import HOLDING, PAUSED, PENDING, READY, RUNNING, Observation
from millrace_operators.experiment.schedule import hold_began_at
from millrace_operators.experiment.types import type_of
from millrace_operators.experiment.verdict import ROLLBACK, Verdict

PAUSE: Final = "pause"
RESUME: Final = "resume"
PROMOTE: Final = "promote"
ABORT: Final = "abort"
_VERBS: Final = (PAUSE, RESUME, PROMOTE, ABORT)
_USAGE: Final = '"<id>:pause", "<id>:resume", "<id>:promote [arm]" or "<id>:abort"'


class ExperimentCommand(NamedTuple):
    """A command; ``arm`` is empty where none was named."""

    verb: str
    arm: str = ""


def parse(text: str) -> ExperimentCommand:
    """Reads the annotation's value.

    Raises:
        RejectError: it is no command; says what is.
    """
    command = commands.parse(text, _USAGE)
    most = 1 if command.verb == PROMOTE else 0
    if command.verb not in _VERBS or len(command.arguments) > most:
        raise commands.no_command(text, _USAGE)
    return ExperimentCommand(command.verb, *command.arguments)


def commanded(observation: Observation) -> Verdict | None:
    """What the command leads to; None where there is none that is not handled yet."""
    handled = unhandled(observation.command, observation.status.handled_command)
    if not handled:
        return None
    try:
        verdict = _carried_out(parse(observation.command), observation)
    except RejectError as error:
        verdict = Verdict(error.reason, str(error), warning=True)
    answer = {"handled_command": handled, "command_result": verdict.message}
    return Verdict(verdict.reason, verdict.message, {**verdict.changes, **answer}, warning=verdict.warning)


def _carried_out(command: ExperimentCommand, observation: Observation) -> Verdict:
    if command.verb == PAUSE:
        return _pause(observation)
    if command.verb == RESUME:
        return _resume(observation)
    if command.verb == PROMOTE:
        return _promote(observation, command.arm)
    return _abort(observation)


def _pause(observation: Observation) -> Verdict:
    _must_be(observation, PAUSE, RUNNING, HOLDING)
    return verdicts.pause(observation, "PausedByCommand", "paused by command; the weights stay as they are")


def _resume(observation: Observation) -> Verdict:
    _must_be(observation, RESUME, PAUSED)
    if observation.fight:
        raise _refusal(
            "cannot resume while somebody else edits the route: three times in the last minute",
            "Find out who, and resume a minute later",
        )
    changes = {
        "phase": RUNNING,
        "paused_at": None,
        "step_started_at": _resumed_hold(observation),
        "analysis": without_failures(observation.status),
    }
    return Verdict("ResumedByCommand", "resumed by command; the step's hold goes on where it stood", changes)


def _resumed_hold(observation: Observation) -> datetime | None:
    """When the step would have begun for its hold to be as old now as it was when the pause began."""
    began = hold_began_at(observation)
    if began is None or observation.status.paused_at is None:
        return observation.status.step_started_at
    elapsed = max(observation.status.paused_at - began, timedelta())
    return observation.now - elapsed


def _promote(observation: Observation, name: str) -> Verdict:
    _must_be(observation, PROMOTE, RUNNING, HOLDING, PAUSED)
    arms = {arm.name: arm for arm in observation.spec.arms}
    if not name and len(observation.challengers) > 1:
        raise _refusal("promote needs the name of an arm", f'Write "<id>:promote ARM"; arms: {", ".join(arms)}')
    name = name or observation.challengers[0].name
    if name not in arms:
        raise _refusal(f"there is no arm {shown(name, 80)}", f"Arms: {', '.join(arms)}")
    if name not in observation.ready:
        raise _refusal(f"the arm {name!r} is not ready", "Promote an arm whose deployment is Ready")
    onward = type_of(observation.spec.type).promoted_by_command(observation, name)
    return onward or verdicts.promote(name, "PromotedByCommand", f"{name} promoted by command")


def _abort(observation: Observation) -> Verdict:
    _must_be(observation, ABORT, PENDING, READY, RUNNING, HOLDING, PAUSED)
    if observation.phase != PENDING:
        return verdicts.roll_back(ROLLBACK, "AbortedByCommand", "aborted by command")
    decision = FinalDecision(verdict=ROLLBACK, reason="aborted by command before it started")
    changes = {"phase": "Failed", "decision": decision, "finished_at": observation.now}
    return Verdict("AbortedByCommand", decision.reason, changes, warning=True)


def _must_be(observation: Observation, verb: str, *phases: str) -> None:
    if observation.phase not in phases:
        raise _refusal(
            f"cannot {verb} while the phase is {observation.phase}", f"It can while it is {' or '.join(phases)}"
        )


def _refusal(message: str, hint: str) -> RejectError:
    return RejectError(message, hint=hint, field=commands.FIELD, reason=conditions.BAD_COMMAND)
