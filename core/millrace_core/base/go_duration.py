"""Go's duration strings such as ``1h30m``, which CRD formats, CEL and Istio's fields share.

Source: Go's ``time.ParseDuration``.
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
_WHOLE = re.compile(r"([+-]?)(?:0|((?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h))+))")
_PART = re.compile(r"(?<![0-9.])([0-9]*+\.?[0-9]*+)(ns|us|µs|μs|ms|s|m|h)")
_LARGEST = Fraction(2**63 - 1, 10**9)


def parse_duration(text: str) -> datetime.timedelta | None:
    """A Go duration, to the microsecond; None if ``text`` is not one."""
    match = _WHOLE.fullmatch(text)
    if match is None:
        return None
    parts = _PART.findall(match[2] or "")
    seconds = sum((Fraction(f"0{value.rstrip('.')}") * _UNITS[unit] for value, unit in parts), Fraction(0))
    if seconds > _LARGEST:
        return None
    length = datetime.timedelta(microseconds=int(seconds * 10**6))
    return -length if match[1] == "-" else length
