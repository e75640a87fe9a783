"""Values from outside in messages: short, whatever came, and at once, however large or deep it is."""

from __future__ import annotations

import re
from collections.abc import Collection
from itertools import islice
from reprlib import Repr
from typing import Any, Final

_DEEPEST = 6
_LONGEST_NAME: Final = 100
# What a terminal does rather than shows (ECMA-48).
_ESCAPES: Final = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|[@-_])?")


def shown(value: Any, most: int = 100) -> str:
    """A value as Python writes it, of at most so many characters."""
    form = Repr()
    form.maxlevel = _DEEPEST
    form.maxstring = form.maxother = form.maxlong = most
    form.maxlist = form.maxdict = form.maxtuple = most // 4
    try:
        return form.repr(value)[:most]
    except ValueError:  # more digits than Python writes
        return "a value of many digits"


def came(value: Any, most: int = 100) -> str:
    """What came, or that nothing did: the end of a sentence that says what is expected."""
    return "it is missing" if value is None else f"{shown(value, most)} came"


def listed(found: Collection[str], most: int = 20) -> str:
    """The first names of what came, each of at most 100 characters, and how many more there are."""
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return (", ".join(cut(name, _LONGEST_NAME) for name in islice(found, most)) + more) or "nothing"


def line(text: str, most: int = 300) -> str:
    """The first line of what another program said, with nothing in it that a terminal would act on."""
    first = next((each for each in text[: 4 * most].splitlines() if each.strip()), "")
    plain = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in _ESCAPES.sub("", first))
    return cut(plain, most)


def cut(text: str, most: int) -> str:
    """The text, or where it is longer as many whole words of it as fit, and ``…``; a word of half as much is cut."""
    if len(text) <= most:
        return text
    kept = text[: most - 1]
    end = kept.rfind(" ", most // 2)
    return f"{kept if end < 0 or text[most - 1].isspace() else kept[:end]}…"
