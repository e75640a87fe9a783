"""Which answer of a registry is newer, and which one may take the place of another.

A registry that lost its database, that was restored from a backup, or that is another one than was meant, answers
without an error, and with less. What it lacks would be gone for every reader.
"""

from __future__ import annotations

from typing import Final, NamedTuple

# Headers of the registry's answer to ``GET /v1/definitions``, whether it has a body or is 304.
CATALOGUE: Final = "x-millrace-catalogue"
REVISION: Final = "x-millrace-revision"


class Edition(NamedTuple):
    """Of which catalogue an answer is, and of which state of it.

    Attributes:
        catalogue: the id that a catalogue has for as long as its database lives.
        revision: rises with every change of it, also over a restored backup (``registry/state.py``).
    """

    catalogue: str = ""
    revision: int = 0


def refusal(held: Edition, came: Edition, *, empty: bool) -> str:
    """Why an answer must not take the place of the one that is held; the empty text where it may.

    Within a catalogue the higher revision counts, whatever it holds: its registry empties nothing that was not said to
    be empty. Another catalogue counts as soon as there is something in it.

    Args:
        held: the edition that is held.
        came: that of the answer.
        empty: whether the answer has nothing that could be read.
    """
    if not came.catalogue:
        return "the answer names no catalogue, so it is none of a registry's"
    if came.catalogue == held.catalogue and came.revision < held.revision:
        return f"its catalogue was set back to before revision {held.revision}"
    if held.catalogue and came.catalogue != held.catalogue and empty:
        return f"it has another catalogue, {came.catalogue}, with nothing in it"
    return ""
