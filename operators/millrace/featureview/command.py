"""Commands: the annotation ``millrace.dev/command: "<id>:materialize[ start end]"``, each id handled once."""

from __future__ import annotations

from typing import Final

from millrace.api import conditions
from millrace.api.base import COMMAND_ANNOTATION
from millrace.base import timestamps
from millrace.base.errors import RejectError
from millrace.featureview.intervals import Interval

MATERIALIZE: Final = "materialize"
_FIELD: Final = f"metadata.annotations[{COMMAND_ANNOTATION}]"


def identity(text: str) -> str:
    """The part that tells one command from the next, whatever the rest is."""
    return text.partition(":")[0].strip()


def parse(text: str) -> Interval | None:
    """The stretch to materialize, or None for what is new.

    Raises:
        RejectError: it is no command; says what is.
    """
    _, colon, rest = text.partition(":")
    words = rest.split()
    if not colon or not identity(text) or words[:1] != [MATERIALIZE] or len(words) not in (1, 3):
        raise RejectError(
            f"{text!r} is no command",
            hint='Write "<id>:materialize" or "<id>:materialize <start> <end>", with an id not used before',
            field=_FIELD,
            reason=conditions.BAD_COMMAND,
        )
    if len(words) == 1:
        return None
    stretch = Interval(timestamps.parse(words[1], field=_FIELD), timestamps.parse(words[2], field=_FIELD))
    if stretch.start >= stretch.end:
        raise RejectError(
            f"the stretch {stretch} is empty",
            hint="Give the earlier time first",
            field=_FIELD,
            reason=conditions.BAD_COMMAND,
        )
    return stretch
