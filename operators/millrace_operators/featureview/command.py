"""The command of a FeatureView: ``materialize``, what is new, everything (``full``), or an interval."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from millrace_core.api import command as commands
from millrace_core.api import conditions
from millrace_core.api.command import unhandled
from millrace_core.base import timestamps
from millrace_core.base.errors import RejectError
from millrace_operators.featureview.intervals import Interval
from millrace_operators.featureview.runs import Run, RunState

MATERIALIZE: Final = "materialize"
FULL: Final = "full"
_USAGE: Final = '"<id>:materialize", "<id>:materialize full" or "<id>:materialize <start> <end>"'


class MaterializeCommand(NamedTuple):
    """What to materialize: an interval, everything (``full``), or else what is new."""

    interval: Interval | None = None
    full: bool = False


class PendingCommand(NamedTuple):
    """A command that is not handled yet: its text, and what it wants, or why it is refused."""

    text: str
    wanted: MaterializeCommand | None = None
    refused: RejectError | None = None


def pending(text: str, handled: str) -> PendingCommand | None:
    """The annotation's command; None where there is none, or where it is the one that was handled last."""
    written = unhandled(text, handled)
    if not written:
        return None
    try:
        return PendingCommand(written, parse(text))
    except RejectError as error:
        return PendingCommand(written, refused=error)


def parse(text: str) -> MaterializeCommand:
    """What a command wants.

    Raises:
        RejectError: the text is no command; says what one looks like.
    """
    command = commands.parse(text, _USAGE)
    full = command.arguments == (FULL,)
    if command.verb != MATERIALIZE or not (full or len(command.arguments) in (0, 2)):
        raise commands.no_command(text, _USAGE)
    if len(command.arguments) < 2:  # noqa: PLR2004 start and end
        return MaterializeCommand(full=full)
    start, end = (timestamps.parse(each, field=commands.FIELD) for each in command.arguments)
    interval = Interval(start, end)
    if interval.start >= interval.end:
        raise RejectError(
            f"the interval {interval} is empty",
            hint="Give the earlier time first",
            field=commands.FIELD,
            reason=conditions.BAD_COMMAND,
        )
    return MaterializeCommand(interval)


def ended(result: str | None, observed: Iterable[Run]) -> str | None:
    """What is said of it from then on, once one of these runs is its own and has ended."""
    job = commands.job_of(result)
    own = next((run for run in observed if run.name == job and run.state is not RunState.ACTIVE), None)
    return result if own is None else commands.ended(own.name, _outcome(own))


def _outcome(run: Run) -> str:
    if run.failure is not None:
        return f"failed: {run.failure.reason}: {run.failure.message}"
    if run.result is None:
        return "succeeded, and what it did is not known: its pod is gone"
    figures = [("read", run.result.rows), ("written", run.result.written), ("removed", run.result.removed)]
    return f"succeeded: {', '.join(f'{count:,} rows {what}' for what, count in figures if count is not None)}"
