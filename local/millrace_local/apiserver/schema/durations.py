"""Go's duration strings, as the ``duration`` format and CEL read them.

Sources: Go's time.ParseDuration; ``k8s.io/kube-openapi/pkg/validation/strfmt/duration.go``.
"""

from __future__ import annotations

import datetime
import re
from fractions import Fraction

_UNITS = {
    "ns": Fraction(1, 10**9),
    "us": Fraction(1, 10**6),
    "µs": Fraction(1, 10**6),
    "μs": Fraction(1, 10**6),
    "ms": Fraction(1, 1000),
    "s": Fraction(1),
    "m": Fraction(60),
    "h": Fraction(3600),
}
_GO = re.compile(r"([+-]?)(?:0|((?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h))+))")
_PART = re.compile(r"([0-9]*\.?[0-9]*)(ns|us|µs|μs|ms|s|m|h)")
# Scala-like: words by prefix, with the unit names that may also stand alone.
_WORDS = re.compile(
    r"[0-9]+\s*(?i:ns|nano[a-zµ]*|us|µs|micro[a-zµ]*|ms|milli[a-zµ]*|s|sec[a-zµ]*|m|min[a-zµ]*|h|hr|hour[a-zµ]*"
    r"|d|day[a-zµ]*|w|wk|week[a-zµ]*)(?![A-Za-zµ])"
)
_LARGEST = Fraction(2**63 - 1, 10**9)


def parse_duration(text: str) -> datetime.timedelta | None:
    """A Go duration such as ``1h30m``, to the microsecond; None if it is not one."""
    match = _GO.fullmatch(text)
    if match is None:
        return None
    parts = _PART.findall(match[2] or "")
    seconds = sum((Fraction(f"0{value.rstrip('.')}") * _UNITS[unit] for value, unit in parts), Fraction(0))
    if seconds > _LARGEST:
        return None
    length = datetime.timedelta(microseconds=int(seconds * 10**6))
    return -length if match[1] == "-" else length


def is_duration(text: str) -> bool:
    """A Go duration, or a number with a unit in words such as ``3 days`` anywhere in the text."""
    return parse_duration(text) is not None or _WORDS.search(text) is not None
