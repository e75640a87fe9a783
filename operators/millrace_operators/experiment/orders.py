"""What a command does in each phase. A command that cannot be obeyed is answered, and its id counts as handled."""

from __future__ import annotations

from datetime import timedelta

from millrace_core.api import conditions
from millrace_core.api.experiment import Decision
from millrace_core.base import timestamps
from millrace_core.base.errors import RejectError
from millrace_operators.experiment import command as commands
from millrace_operators.experiment.command import Command
from millrace_operators.experiment.observed import PAUSED, PENDING, READY, RUNNING, Observed
from millrace_operators.experiment.verdict import ROLLBACK, Move, promote, roll_back


def obey(seen: Observed) -> Move | None:
    """The move that the command asks for; None where there is none that is not handled yet."""
    handled = commands.identity(seen.command)
    if not seen.command or handled == seen.status.handled_command:
        return None
    try:
        move = _order(commands.parse(seen.command), seen)
    except RejectError as error:
        move = Move(error.reason, str(error), warning=True)
    answer = {"handled_command": handled, "command_result": move.message}
    return Move(move.reason, move.message, {**move.changes, **answer}, warning=move.warning)


def _order(command: Command, seen: Observed) -> Move:
    if command.verb == commands.PAUSE:
        return _pause(seen)
    if command.verb == commands.RESUME:
        return _resume(seen)
    if command.verb == commands.PROMOTE:
        return _promote(seen, command.arm)
    return _abort(seen)


def _pause(seen: Observed) -> Move:
    _must_be(seen, "pause", RUNNING)
    return paused(seen, "PausedByCommand", "paused by command; the weights stay as they are")


def paused(seen: Observed, reason: str, message: str) -> Move:
    """No step is taken until a resume command; the hold's clock stands still."""
    return Move(reason, message, {"phase": PAUSED, "paused_at": timestamps.render(seen.now)})


def _resume(seen: Observed) -> Move:
    _must_be(seen, "resume", PAUSED)
    changes = {"phase": RUNNING, "paused_at": None, "step_started_at": _resumed_hold(seen)}
    return Move("ResumedByCommand", "resumed by command; the step's hold goes on where it stood", changes)


def _resumed_hold(seen: Observed) -> str | None:
    """When the step would have begun for its hold to be as old now as it was when the pause began."""
    began = seen.hold_began_at()
    if began is None or seen.status.paused_at is None:
        return seen.status.step_started_at
    elapsed = max(timestamps.parse(seen.status.paused_at) - began, timedelta())
    return timestamps.render(seen.now - elapsed)


def _promote(seen: Observed, name: str) -> Move:
    _must_be(seen, "promote", RUNNING, PAUSED)
    arms = {arm.name: arm for arm in seen.spec.arms}
    if not name and len(seen.challengers) > 1:
        raise _refusal("promote needs the name of an arm", f'Write "<id>:promote ARM"; arms: {", ".join(arms)}')
    name = name or seen.challengers[0].name
    if name not in arms:
        raise _refusal(f"there is no arm {name!r}", f"Arms: {', '.join(arms)}")
    if not seen.ready(arms[name]):
        raise _refusal(f"the arm {name!r} is not ready", "Promote an arm whose deployment is Ready")
    return promote(name, "PromotedByCommand", f"{name} promoted by command")


def _abort(seen: Observed) -> Move:
    _must_be(seen, "abort", PENDING, READY, RUNNING, PAUSED)
    if seen.phase != PENDING:
        return roll_back(ROLLBACK, "AbortedByCommand", "aborted by command")
    decision = Decision(verdict=ROLLBACK, reason="aborted by command before it started")
    changes = {"phase": "Failed", "decision": decision, "finished_at": timestamps.render(seen.now)}
    return Move("AbortedByCommand", decision.reason, changes, warning=True)


def _must_be(seen: Observed, verb: str, *phases: str) -> None:
    if seen.phase not in phases:
        raise _refusal(f"cannot {verb} while the phase is {seen.phase}", f"It can while it is {' or '.join(phases)}")


def _refusal(message: str, hint: str) -> RejectError:
    return RejectError(message, hint=hint, field="millrace.dev/command", reason=conditions.BAD_COMMAND)
