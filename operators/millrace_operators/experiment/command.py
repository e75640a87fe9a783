"""Commands: the annotation ``millrace.dev/command: "<id>:<verb>[ arm]"``, each id handled once."""

from __future__ import annotations

from typing import Final, NamedTuple

from millrace_core.api import conditions
from millrace_core.api.base import COMMAND_ANNOTATION
from millrace_core.base.errors import RejectError

PAUSE: Final = "pause"
RESUME: Final = "resume"
PROMOTE: Final = "promote"
ABORT: Final = "abort"
_VERBS: Final = (PAUSE, RESUME, PROMOTE, ABORT)


class Command(NamedTuple):
    """A command; ``arm`` is empty where none was named."""

    verb: str
    arm: str = ""


def identity(text: str) -> str:
    """The part that tells one command from the next, whatever the rest is."""
    return text.partition(":")[0].strip()


def parse(text: str) -> Command:
    """Reads the annotation's value.

    Raises:
        RejectError: it is no command; says what is.
    """
    _, colon, rest = text.partition(":")
    words = rest.split()
    verb = words[0] if words else ""
    arguments = 1 if verb == PROMOTE else 0
    if not colon or not identity(text) or verb not in _VERBS or len(words) > 1 + arguments:
        raise RejectError(
            f"{text!r} is no command",
            hint='Write "<id>:pause", "<id>:resume", "<id>:promote [arm]" or "<id>:abort", with an id not used before',
            field=f"metadata.annotations[{COMMAND_ANNOTATION}]",
            reason=conditions.BAD_COMMAND,
        )
    return Command(verb, words[1] if len(words) > 1 else "")
