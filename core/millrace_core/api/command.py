"""Commands of all kinds: the annotation ``millrace.dev/command: "<id>:<verb>[ arguments]"``, each text handled once.

The id tells a command from an earlier one of the same words. The whole text is what is remembered as handled: an id
with another verb is another command. It goes into the status, and what was refused into ``commandResult``, so both are
bounded here and can be printed, whatever the annotation holds. Where it holds nothing, or blanks, there is no command.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from millrace_core.api import conditions, names
from millrace_core.api.group import COMMAND_ANNOTATION
from millrace_core.base.errors import RejectError
from millrace_core.base.shown import shown

FIELD: Final = f"metadata.annotations[{COMMAND_ANNOTATION}]"
LONGEST_ID: Final = 63
LONGEST_RECORD: Final = 253
_DIGEST_LENGTH: Final = 16
_LONGEST_SHOWN: Final = 100


class Command(NamedTuple):
    """A command as it was written; its kind says which verbs there are."""

    id: str
    verb: str
    arguments: tuple[str, ...]


def recorded(text: str) -> str:
    """What is recorded of a handled command: its text, one space between words; of a long one the rest is a digest.

    What cannot be printed is written as Python escapes it.
    """
    before, colon, rest = (" ".join(part.split()) for part in text.partition(":"))
    written = "".join(each if each.isprintable() else repr(each)[1:-1] for each in f"{before}{colon}{rest}")
    if len(written) <= LONGEST_RECORD:
        return written
    kept = LONGEST_RECORD - _DIGEST_LENGTH - 1
    return f"{written[:kept]}…{names.digest(written)[:_DIGEST_LENGTH]}"


def unhandled(text: str, handled: str | None) -> str:
    """What will be recorded of a command that is not handled yet; empty: there is none, or it was handled last."""
    written = recorded(text)
    return "" if written == (handled or "") else written


def parse(text: str, usage: str) -> Command:
    """Reads the annotation's value.

    Args:
        usage: how commands of this kind are written, for the hint.

    Raises:
        RejectError: it has no id, no verb, too long an id, or what cannot be printed.
    """
    before, colon, rest = text.partition(":")
    words = rest.split()
    if not colon or not before.strip() or not words or not all(part.isprintable() for part in (before.strip(), *words)):
        raise no_command(text, usage)
    if len(before.strip()) > LONGEST_ID:
        raise RejectError(
            f"the id of the command has {len(before.strip())} characters, at most {LONGEST_ID} are expected",
            hint=f"Write {usage}, with an id not used before",
            field=FIELD,
            reason=conditions.BAD_COMMAND,
        )
    return Command(before.strip(), words[0], tuple(words[1:]))


_MADE: Final = re.compile(r"Job (\S+) was made")


def made(job: str) -> str:
    """What is said of a command whose Job is at work."""
    return f"Job {job} was made"


def job_of(result: str | None) -> str:
    """The Job at work for a command of which this is said; empty where none is."""
    found = _MADE.fullmatch(result or "")
    return found[1] if found else ""


def ended(job: str, outcome: str) -> str:
    """What is said of it from then on; ``outcome`` begins with ``succeeded`` or ``failed``."""
    return f"Job {job} {outcome}"


def has_succeeded(result: str | None) -> bool:
    """Whether the Job of a command of which this is said did what it was made for."""
    return bool(re.match(r"Job \S+ succeeded", result or ""))


def no_command(text: str, usage: str) -> RejectError:
    """The refusal of a text that is no command of a kind."""
    return RejectError(
        f"{shown(text, _LONGEST_SHOWN)} is no command",
        hint=f"Write {usage}, with an id not used before",
        field=FIELD,
        reason=conditions.BAD_COMMAND,
    )
