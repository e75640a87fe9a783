r"""Go's regular expressions (RE2 syntax) as Python's.

They differ silently: RE2 has no look-around or backreference, its ``$`` never matches before a final newline, ``\d``,
``\w`` and ``\b`` are ASCII, and flags may stand anywhere. Source: https://github.com/google/re2/wiki/Syntax
"""

from __future__ import annotations

import functools
import itertools
import re
import sys
import unicodedata

_MAX_REPEAT = 1000
_MOST_WRITTEN = 2**20
_SHOWN = 100

_POSIX = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": r"\x00-\x7F",
    "blank": r"\t ",
    "cntrl": r"\x00-\x1F\x7F",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t\n\v\f\r ",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}
_SCRIPTS = {"Greek": "GREEK", "Latin": "LATIN", "Cyrillic": "CYRILLIC", "Han": "CJK", "Hiragana": "HIRAGANA"}
_PLAIN_ESCAPES = frozenset("dDsSwWbBAtnrfva")
_FLAGS = re.compile(r"\(\?([imsU]*(?:-[imsU]+)?)([:)])")
_REPEAT = re.compile(r"\{([0-9]+)(,([0-9]*))?\}")


class PatternError(ValueError):
    """A pattern that Go does not compile."""


@functools.cache
def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Compiles an RE2 pattern; raises :class:`PatternError` with Go's message if RE2 refuses it."""
    translated = _Translation(pattern).run()
    try:
        return re.compile(translated, re.ASCII)
    except (re.error, OverflowError) as error:
        raise PatternError(f"error parsing regexp: {error}: `{pattern}`") from error


class _Translation:
    """One pass over a pattern; ``open_flags`` counts, per open group, the flag groups to close with it."""

    def __init__(self, pattern: str) -> None:
        self.source = pattern
        self.at = 0
        self.out: list[str] = []
        self.open_flags = [0]
        self.multiline = [False]
        self.after_repeat = False

    def run(self) -> str:
        while self.at < len(self.source):
            self._step(self.source[self.at])
        if len(self.open_flags) > 1:
            raise self._error("missing closing )", self.source)
        written = "".join(self.out) + ")" * self.open_flags[0]
        if len(written) > _MOST_WRITTEN:  # a class of letters has hundreds of ranges, which take milliseconds to read
            raise self._error("expression too large", self.source[:_SHOWN])
        return written

    def _error(self, what: str, where: str) -> PatternError:
        return PatternError(f"error parsing regexp: {what}: `{where}`")

    def _emit(self, text: str, consumed: int) -> None:
        self.out.append(text)
        self.at += consumed

    def _step(self, char: str) -> None:
        repeated, self.after_repeat = self.after_repeat, False
        if char == "\\":
            self._escape()
        elif char == "[":
            self._emit(*_character_class(self.source, self.at))
        elif char == "(":
            self._open()
        elif char == ")":
            self._close()
        elif char == "$":
            self._emit("$" if self.multiline[-1] else r"\Z", 1)
        elif char in "*+?" or _REPEAT.match(self.source, self.at):
            self._repeat(repeated)
        else:
            self._emit(rf"\{char}" if char in "{}" else char, 1)

    def _repeat(self, repeated: bool) -> None:
        counted = _REPEAT.match(self.source, self.at)
        text = counted[0] if counted else self.source[self.at]
        if repeated:
            raise self._error("invalid nested repetition operator", text)
        if counted and max(int(counted[1]), int(counted[3] or 0)) > _MAX_REPEAT:
            raise self._error("invalid repeat count", text)
        if self.source[self.at + len(text) : self.at + len(text) + 1] == "?":
            text += "?"
        self._emit(text, len(text))
        self.after_repeat = True

    def _escape(self) -> None:
        following = self.source[self.at + 1 : self.at + 2]
        if following == "Q":
            end = self.source.find(r"\E", self.at)
            literal = self.source[self.at + 2 : end if end >= 0 else None]
            self._emit(re.escape(literal), len(literal) + (4 if end >= 0 else 2))
        elif following == "z":
            self._emit(r"\Z", 2)
        else:
            self._emit(*_escaped(self.source, self.at, in_class=False))

    def _open(self) -> None:
        rest = self.source[self.at :]
        flags = _FLAGS.match(rest)
        if flags and "U" not in flags[1] and flags[1].strip("-"):
            self._flags(flags)
            return
        if rest.startswith("(?P<") or (rest.startswith("(?<") and rest[3:4] not in {"=", "!"}):
            opening = rest[: 4 if rest[2] == "P" else 3]
            self._emit("(?P<", len(opening))
        elif rest.startswith("(?") and not rest.startswith("(?:"):
            raise self._error("invalid or unsupported Perl syntax", rest[:3])
        else:
            opening = "(?:" if rest.startswith("(?:") else "("
            self._emit(opening, len(opening))
        self.open_flags.append(0)
        self.multiline.append(self.multiline[-1])

    def _flags(self, match: re.Match[str]) -> None:
        on, _, off = match[1].partition("-")
        multiline = (self.multiline[-1] or "m" in on) and "m" not in off
        self._emit(f"(?{match[1]}:", len(match[0]))
        if match[2] == ":":
            self.open_flags.append(0)
            self.multiline.append(multiline)
        else:  # until the end of the group around it
            self.open_flags[-1] += 1
            self.multiline[-1] = multiline

    def _close(self) -> None:
        if len(self.open_flags) == 1:
            raise self._error("unexpected )", self.source)
        self.multiline.pop()
        self._emit(")" * (1 + self.open_flags.pop()), 1)


def _escaped(source: str, at: int, *, in_class: bool) -> tuple[str, int]:
    """The Python form of the escape at ``at``, and how many characters it took."""
    following = source[at + 1 : at + 2]
    if not following:
        raise PatternError("error parsing regexp: trailing backslash at end of expression: ``")
    if following in "pP":
        return _unicode_class(source, at, in_class=in_class)
    if following == "x":
        match = re.compile(r"\\x(?:\{([0-9A-Fa-f]+)\}|([0-9A-Fa-f]{2}))").match(source, at)
        if match is None:
            raise PatternError(f"error parsing regexp: invalid escape sequence: `{source[at : at + 3]}`")
        return f"\\U{int(match[1] or match[2], 16):08x}", len(match[0])
    octal = re.compile(r"\\(0[0-7]{0,2}|[1-7][0-7]{1,2})").match(source, at)
    if octal:
        return f"\\x{int(octal[1], 8) & 0xFF:02x}", len(octal[0])
    unknown = following.isascii() and following.isalnum() and following not in _PLAIN_ESCAPES
    if unknown or (in_class and following in "bBA"):
        raise PatternError(f"error parsing regexp: invalid escape sequence: `\\{following}`")
    return f"\\{following}" if following in _PLAIN_ESCAPES else re.escape(following), 2


def _character_class(source: str, start: int) -> tuple[str, int]:
    """The Python form of the class that opens at ``start``, and how many characters it took."""
    at = start + 1
    out = ["["]
    if source.startswith("^", at):
        out.append("^")
        at += 1
    first = at
    while at < len(source) and (source[at] != "]" or at == first):
        posix = re.compile(r"\[:(\^?)(\w+):\]").match(source, at)
        if posix:
            out.append(_posix_class(posix))
            at += len(posix[0])
        elif source[at] == "\\":
            text, taken = _escaped(source, at, in_class=True)
            out.append(text)
            at += taken
        else:
            out.append(source[at] if source[at] == "-" else re.escape(source[at]))
            at += 1
    if at >= len(source):
        raise PatternError(f"error parsing regexp: missing closing ]: `{source[start:]}`")
    return "".join(out) + "]", at + 1 - start


def _posix_class(match: re.Match[str]) -> str:
    if match[2] not in _POSIX:
        raise PatternError(f"error parsing regexp: invalid character class range: `{match[0]}`")
    if not match[1]:
        return _POSIX[match[2]]
    inside = re.compile(f"[{_POSIX[match[2]]}]")
    rest = [code for code in range(0x80) if not inside.fullmatch(chr(code))]
    return "".join(f"\\x{code:02x}" for code in rest) + rf"\x80-\U{sys.maxunicode:08x}"


def _unicode_class(source: str, at: int, *, in_class: bool) -> tuple[str, int]:
    match = re.compile(r"\\[pP](?:\{(\^?)(\w+)\}|(\w))").match(source, at)
    if match is None:
        raise PatternError(f"error parsing regexp: invalid character class range: `{source[at : at + 2]}`")
    negated = (source[at + 1] == "P") != (match[1] == "^")
    ranges = _property_ranges(match[2] or match[3], negated)
    return (ranges if in_class else f"[{ranges}]"), len(match[0])


@functools.cache
def _property_ranges(name: str, negated: bool) -> str:
    """The inside of a class of all characters of a Unicode category, or of a script that their names tell."""
    if name in _SCRIPTS:
        word = _SCRIPTS[name]
        letters = (code for _, start, end in _categories() for code in range(start, end))
        runs = [(code, code + 1) for code in letters if unicodedata.name(chr(code), "").startswith(word)]
    elif name == "Any" or re.fullmatch("[CLMNPSZ][a-z]?", name):
        runs = [(start, end) for category, start, end in _categories() if name == "Any" or category.startswith(name)]
    else:
        raise PatternError(f"error parsing regexp: invalid character class range: `\\p{{{name}}}`")
    if negated:
        edges = [0, *(edge for run in runs for edge in run), sys.maxunicode + 1]
        runs = [(start, end) for start, end in zip(edges[::2], edges[1::2], strict=True) if start < end]
    return "".join(f"\\U{start:08x}-\\U{end - 1:08x}" for start, end in runs)


@functools.cache
def _categories() -> list[tuple[str, int, int]]:
    """Unicode as runs of one category: (category, first code point, the one after the last)."""
    runs = []
    start = 0
    for category, run in itertools.groupby(map(unicodedata.category, map(chr, range(sys.maxunicode + 1)))):
        end = start + sum(1 for _ in run)
        runs.append((category, start, end))
        start = end
    return runs
