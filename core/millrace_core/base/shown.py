"""Values from outside in messages: short, whatever came, and at once, however large or deep it is."""

from __future__ import annotations

from reprlib import Repr
from typing import Any

_DEEPEST = 6


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
