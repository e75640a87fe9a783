"""The forms of PromQL that the pods' own metrics can answer, where there is no Prometheus. Pure.

sum(metric{label="value"})    sum(rate(metric{label=~"a|b"}[1m]))    2 * sum(…)    sum(…) or sum(…)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

from millrace_core.base import duration
from millrace_core.base.errors import RejectError
from millrace_core.base.re2 import PatternError, compile_pattern

_SELECTOR: Final = r"[a-zA-Z_:][a-zA-Z0-9_:]*(?:\{[^{}]*\})?"
_OPERAND: Final = re.compile(
    rf"(?:(?P<factor>[0-9]+(?:\.[0-9]+)?)\s*\*\s*)?sum\(\s*"
    rf"(?:rate\(\s*(?P<rated>{_SELECTOR})\[(?P<window>[0-9]+(?:ms|s|m|h))\]\s*\)|(?P<plain>{_SELECTOR}))\s*\)"
)
_OR: Final = re.compile(r"(?<!\s)\s++or\s+")
_MATCHER: Final = re.compile(r'\s*([a-zA-Z_]\w*)\s*(=~|!~|!=|=)\s*"([^"\\]*)"\s*(?:,|$)')


@dataclass(frozen=True)
class Series:
    """One series as a pod shows it."""

    name: str
    labels: frozenset[tuple[str, str]]


# Points of each series, oldest first.
History = Mapping[Series, list[tuple[datetime, float]]]


@dataclass(frozen=True)
class Term:
    """A sum of series, or of their rates per second where there is a window.

    Attributes:
        matchers: (label, operator, value) as in PromQL; a label that is not there is empty.
        window: in seconds.
    """

    name: str
    matchers: tuple[tuple[str, str, str], ...]
    window: float | None = None
    factor: float = 1.0

    def selects(self, series: Series) -> bool:
        """Whether the sum includes the series."""
        labels = dict(series.labels)
        return series.name == self.name and all(
            _matches(labels.get(label, ""), operator, value) for label, operator, value in self.matchers
        )


def parse(query: str) -> tuple[Term, ...]:
    """The terms of a query, of which the first that has a series counts.

    Raises:
        RejectError: the query has another form.
    """
    return tuple(_term(operand, query) for operand in _OR.split(query.strip()))


def value(terms: Iterable[Term], history: History, now: datetime) -> float | None:
    """What the query gives; None where no series answers it."""
    for term in terms:
        found = [_value(term, points, now) for series, points in history.items() if term.selects(series)]
        known = [number for number in found if number is not None]
        if known:
            return term.factor * sum(known)
    return None


def _term(operand: str, query: str) -> Term:
    found = _OPERAND.fullmatch(operand)
    if found is None:
        raise _refused(query)
    name, _, matchers = (found["rated"] or found["plain"]).partition("{")
    return Term(
        name,
        _matchers(matchers.removesuffix("}"), query),
        duration.seconds(found["window"]) if found["window"] else None,
        float(found["factor"] or 1),
    )


def _matchers(text: str, query: str) -> tuple[tuple[str, str, str], ...]:
    found, position = [], 0
    while position < len(text):
        matcher = _MATCHER.match(text, position)
        if matcher is None:
            raise _refused(query)
        label, operator, wanted = matcher.groups()
        if operator.endswith("~"):
            try:
                compile_pattern(wanted)
            except PatternError as error:
                raise _refused(query) from error
        found.append((label, operator, wanted))
        position = matcher.end()
    return tuple(found)


def _refused(query: str) -> RejectError:
    return RejectError(
        f"only a Prometheus can answer {query!r}",
        hint='Without one there are sum(metric{label="value"}), sum(rate(metric[1m])), a factor before it, and or',
    )


def _matches(label: str, operator: str, value: str) -> bool:
    same = compile_pattern(value).fullmatch(label) if operator.endswith("~") else label == value
    return same != operator.startswith("!")


def _value(term: Term, points: list[tuple[datetime, float]], now: datetime) -> float | None:
    if term.window is None:
        return points[-1][1] if points else None
    start = now - timedelta(seconds=term.window)
    inside = [point for point in points if point[0] >= start]
    if len(inside) < 2:  # noqa: PLR2004 a rate is between two points
        return None
    # A counter that fell began anew at 0.
    grown = sum(after - before if after >= before else after for (_, before), (_, after) in pairwise(inside))
    seconds = (inside[-1][0] - inside[0][0]).total_seconds()
    return grown / seconds if seconds > 0 else None
