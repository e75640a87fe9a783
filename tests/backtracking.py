"""How many steps Python's regular expressions take: the same search as that of ``re``, counted.

Seconds of a busy machine say nothing, and what an engine in C does cannot be counted, so its algorithm stands here
again: the first way in order, and back to the last choice where it ends. Source: ``Modules/_sre/sre_lib.h``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from functools import cache
from re import _constants as sre  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any, Final

Way = Iterator[int]
MOST: Final = 20_000
_SETS: Final = {
    sre.CATEGORY_DIGIT: str.isdigit,
    sre.CATEGORY_SPACE: str.isspace,
    sre.CATEGORY_WORD: lambda char: char.isalnum() or char == "_",
}
_NOT: Final = {
    sre.CATEGORY_NOT_DIGIT: sre.CATEGORY_DIGIT,
    sre.CATEGORY_NOT_SPACE: sre.CATEGORY_SPACE,
    sre.CATEGORY_NOT_WORD: sre.CATEGORY_WORD,
}


class TooManyStepsError(Exception):
    """The search has taken ``MOST`` steps."""


class Search:
    """One search of a pattern in a text; ``steps`` counts the nodes that were tried at a place."""

    def __init__(self, pattern: re.Pattern[Any], text: str) -> None:
        source = pattern.pattern.decode("latin-1") if isinstance(pattern.pattern, bytes) else pattern.pattern
        self.nodes = _nodes(source, pattern.flags)
        self.flags = pattern.flags
        self.text = text
        self.steps = 0
        self.groups: dict[int, tuple[int, int]] = {}

    def whole(self) -> bool:
        """As ``fullmatch``."""
        return any(end == len(self.text) for end in self._all(self.nodes, 0, 0))

    def pieces(self) -> int:
        """As ``finditer``; returns how many were found."""
        at, found = 0, 0
        while at <= len(self.text):
            end = next(self._all(self.nodes, 0, at), None)
            found += end is not None
            at = max(at + 1, end if end is not None else 0)
        return found

    def _all(self, nodes: list[Any], first: int, at: int) -> Way:
        """The places at which the nodes from ``first`` on may end that begin at ``at``, in the order of trying."""
        if first == len(nodes):
            yield at
            return
        for end in self._node(*nodes[first], at):
            yield from self._all(nodes, first + 1, end)

    def _node(self, kind: Any, what: Any, at: int) -> Way:
        self.steps += 1
        if self.steps > MOST:
            raise TooManyStepsError
        take: Callable[..., Way] = getattr(self, f"_{str(kind).lower()}", self._one)
        return take(what, at) if take != self._one else self._one(kind, what, at)

    def _one(self, kind: Any, what: Any, at: int) -> Way:
        if at < len(self.text) and self._fits(kind, what, self.text[at]):
            yield at + 1

    def _fits(self, kind: Any, what: Any, char: str) -> bool:
        if self.flags & re.IGNORECASE:
            char = char.lower()
        if kind is sre.LITERAL:
            return ord(char) == what or (bool(self.flags & re.IGNORECASE) and char == chr(what).lower())
        if kind is sre.NOT_LITERAL:
            return ord(char) != what
        if kind is sre.ANY:
            return char != "\n" or bool(self.flags & re.DOTALL)
        if kind is sre.RANGE:
            return what[0] <= ord(char) <= what[1]
        if kind is sre.CATEGORY:
            return not _SETS[_NOT[what]](char) if what in _NOT else _SETS[what](char)
        assert kind is sre.IN, kind
        negated = what[0][0] is sre.NEGATE
        return any(self._fits(*each, char) for each in what[negated:]) is not negated

    def _branch(self, what: Any, at: int) -> Way:
        for each in what[1]:
            yield from self._all(list(each), 0, at)

    def _subpattern(self, what: Any, at: int) -> Way:
        for end in self._all(list(what[3]), 0, at):
            if what[0] is not None:
                self.groups[what[0]] = (at, end)
            yield end

    def _groupref(self, what: Any, at: int) -> Way:
        start, end = self.groups.get(what, (0, 0))
        if self.text.startswith(self.text[start:end], at):
            yield at + end - start

    def _max_repeat(self, what: Any, at: int) -> Way:
        yield from self._repeated(*what, at, lazy=False)

    def _min_repeat(self, what: Any, at: int) -> Way:
        yield from self._repeated(*what, at, lazy=True)

    def _repeated(self, low: int, high: Any, inside: Any, at: int, *, lazy: bool) -> Way:
        if lazy and low <= 0:
            yield at
        if high == sre.MAXREPEAT or high > 0:
            more = high if high == sre.MAXREPEAT else high - 1
            for end in self._all(list(inside), 0, at):
                if end > at or low > 0:
                    yield from self._repeated(low - 1, more, inside, end, lazy=lazy)
        if not lazy and low <= 0:
            yield at

    def _possessive_repeat(self, what: Any, at: int) -> Way:
        low, high, inside = what
        times = 0
        while high == sre.MAXREPEAT or times < high:
            end = next(self._all(list(inside), 0, at), None)
            if end is None or end == at:
                break
            at, times = end, times + 1
        if times >= low:
            yield at

    def _atomic_group(self, what: Any, at: int) -> Way:
        end = next(self._all(list(what), 0, at), None)
        if end is not None:
            yield end

    def _assert(self, what: Any, at: int) -> Way:
        if self._seen(what, at):
            yield at

    def _assert_not(self, what: Any, at: int) -> Way:
        if not self._seen(what, at):
            yield at

    def _seen(self, what: Any, at: int) -> bool:
        direction, inside = what
        start = at if direction > 0 else at - inside.getwidth()[0]
        return start >= 0 and next(self._all(list(inside), 0, start), None) is not None

    def _at(self, what: Any, at: int) -> Way:
        word = [0 <= each < len(self.text) and _SETS[sre.CATEGORY_WORD](self.text[each]) for each in (at - 1, at)]
        multiline = bool(self.flags & re.MULTILINE)
        held = {
            sre.AT_BEGINNING: at == 0 or (multiline and self.text[at - 1] == "\n"),
            sre.AT_BEGINNING_STRING: at == 0,
            sre.AT_END: at >= len(self.text) - (self.text[at:] == "\n") or (multiline and self.text[at] == "\n"),
            sre.AT_END_STRING: at == len(self.text),
            sre.AT_BOUNDARY: word[0] != word[1],
            sre.AT_NON_BOUNDARY: word[0] == word[1],
        }
        if held[what]:
            yield at


@cache
def _nodes(source: str, flags: int) -> list[Any]:
    return list(parser.parse(source, flags))


def steps(pattern: re.Pattern[Any], text: str, *, whole: bool) -> int:
    """How many steps the pattern takes on the text, up to ``MOST``: wholly matched, or looked for all over."""
    search = Search(pattern, text)
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)
    try:
        search.whole() if whole else search.pieces()
    except TooManyStepsError:
        return MOST
    finally:
        sys.setrecursionlimit(before)
    return search.steps
