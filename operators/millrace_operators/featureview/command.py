"""Commands: the annotation ``millrace.dev/command: "<id>:materialize[ full| start end]"``, each id handled once."""

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


class Asked(NamedTuple):
    """What to materialize: a stretch, everything, or else what is new."""

    stretch: Interval | None = None
    full: bool = False


def identity(text: str) -> str:
    """The part that tells one command from the next, whatever the rest is."""
    return text.partition(":")[0].strip()


def parse(text: str) -> Asked:
    """What is asked for.

    Raises:
        RejectError: it is no command; says what is.
    """
    _, colon, rest = text.partition(":")
    words = rest.split()
    full = words[1:] == [FULL]
    if not colon or not identity(text) or words[:1] != [MATERIALIZE] or not (full or len(words) in (1, 3)):
        raise RejectError(
            f"{text!r} is no command",
            hint='Write "<id>:materialize", "<id>:materialize full" or "<id>:materialize <start> <end>", with an id '
            "not used before",
            field=_FIELD,
            reason=conditions.BAD_COMMAND,
        )
    if len(words) < 3:  # noqa: PLR2004 the verb, start and end
        return Asked(full=full)
    stretch = Interval(timestamps.parse(words[1], field=_FIELD), timestamps.parse(words[2], field=_FIELD))
    if stretch.start >= stretch.end:
        raise RejectError(
            f"the stretch {stretch} is empty",
            hint="Give the earlier time first",
            field=_FIELD,
            reason=conditions.BAD_COMMAND,
        )
    return Asked(stretch)
