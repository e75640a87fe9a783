"""The string format ``duration``: Go's durations, and a looser form in words.

Source: ``k8s.io/kube-openapi/pkg/validation/strfmt/duration.go``.
"""

from __future__ import annotations

import re

from millrace_core.base.go_duration import parse_duration

# Scala-like: words by prefix, with the unit names that may also stand alone.
_WORDS = re.compile(
    r"(?<![0-9])[0-9]++\s*(?i:ns|nano[a-zµ]*|us|µs|micro[a-zµ]*|ms|milli[a-zµ]*|s|sec[a-zµ]*|m|min[a-zµ]*|h|hr|hour[a-zµ]*"
    r"|d|day[a-zµ]*|w|wk|week[a-zµ]*)(?![A-Za-zµ])"
)


def is_duration(text: str) -> bool:
    """A Go duration, or a number with a unit in words such as ``3 days`` anywhere in the text."""
    return parse_duration(text) is not None or _WORDS.search(text) is not None
