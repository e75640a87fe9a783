"""Commands: the annotation ``millrace.dev/command: "<id>:materialize[ full| start end]"``. Each id is handled once."""

from __future__ import annotations

from typing import Final, NamedTuple

from millrace_core.api import conditions
from millrace_core.api.base import COMMAND_ANNOTATION
from millrace_core.base import timestamps
from millrace_core.base.errors import RejectError
from millrace_operators.featureview.intervals import Interval

MATERIALIZE: Final = "materialize"
FULL: Final = "full"
_FIELD: Final = f"metadata.annotations[{COMMAND_ANNOTATION}]"


class MaterializeCommand(NamedTuple):
    """What to materialize: an interval, everything (``full``), or else what is new."""

    interval: Interval | None = None
    full: bool = False


class PendingCommand(NamedTuple):
    """A command that is not handled yet: what it wants, or why it is refused."""

    id: str
    wanted: MaterializeCommand | None = None
    refused: RejectError | None = None


def pending(text: str, handled: str) -> PendingCommand | None:
    """The annotation's command; None where there is none, or where it is the one that was handled last."""
    command_id = _id(text) or text
    if not command_id or command_id == handled:
        return None
    try:
        return PendingCommand(command_id, parse(text))
    except RejectError as error:
        return PendingCommand(command_id, refused=error)


def parse(text: str) -> MaterializeCommand:
    """What a command wants.

    Raises:
        RejectError: the text is no command; says what one looks like.
    """
    _, colon, rest = text.partition(":")
    words = rest.split()
    full = words[1:] == [FULL]
    if not colon or not _id(text) or words[:1] != [MATERIALIZE] or not (full or len(words) in (1, 3)):
        raise RejectError(
            f"{text!r} is no command",
            hint='Write "<id>:materialize", "<id>:materialize full" or "<id>:materialize <start> <end>", with an id '
            "not used before",
            field=_FIELD,
            reason=conditions.BAD_COMMAND,
        )
    if len(words) < 3:  # noqa: PLR2004 the verb, start and end
        return MaterializeCommand(full=full)
    interval = Interval(timestamps.parse(words[1], field=_FIELD), timestamps.parse(words[2], field=_FIELD))
    if interval.start >= interval.end:
        raise RejectError(
            f"the interval {interval} is empty",
            hint="Give the earlier time first",
            field=_FIELD,
            reason=conditions.BAD_COMMAND,
        )
    return MaterializeCommand(interval)


def _id(text: str) -> str:
    return text.partition(":")[0].strip()
