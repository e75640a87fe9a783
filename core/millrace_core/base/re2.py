r"""Regular expressions of CRDs, CEL and Istio: RE2's syntax, matched in time linear in the text.

Python's own syntax differs silently: RE2 has no look-around or backreference, its ``$`` never matches before a final
newline, ``\d``, ``\w`` and ``\b`` are ASCII, and flags may stand anywhere. And Python goes back: ``^(a+)+$`` would hold
a process for ever by thirty letters. Source: https://github.com/google/re2/wiki/Syntax
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Any, Final

import re2

_SHOWN: Final = 100
# What may stand behind a backslash, quoted pieces as one: RE2 for C++ has ``\C``, a single byte, which Go has not.
_ESCAPED: Final = re.compile(r"\\Q.*?(?:\\E|\Z)|\\(.)", re.DOTALL)
_NAMED: Final = re.compile(r"\(\?P?<(\w+)>")
# The words of RE2 for C++ that Go has others for.
_IN_GO: Final = {
    "missing )": "missing closing )",
    "missing ]": "missing closing ]",
    "bad repetition operator": "invalid nested repetition operator",
    "no argument for repetition operator": "missing argument to repetition operator",
    "invalid repetition size": "invalid repeat count",
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "trailing \\": "trailing backslash at end of expression",
    "pattern too large - compile failed": "expression too large",
}


class PatternError(ValueError):
    """A pattern that Go does not compile."""


class Pattern:
    """A compiled pattern. Texts may hold any code points; lone surrogates match as U+FFFD."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled

    def search(self, text: str) -> bool:
        """Whether the pattern is found anywhere in the text."""
        return self._compiled.search(_encodable(text)) is not None

    def fullmatch(self, text: str) -> bool:
        """Whether the pattern is the whole text."""
        return self._compiled.fullmatch(_encodable(text)) is not None

    def found(self, text: str) -> Iterator[str]:
        """The pieces of the text that match, from left to right, none over another."""
        return (match[0] for match in self._compiled.finditer(_encodable(text)))


@functools.lru_cache(maxsize=256)  # patterns of CEL may be made of values
def compile_pattern(pattern: str) -> Pattern:
    """Compiles an RE2 pattern.

    Raises:
        PatternError: Go refuses it, or it needs more than 8 MiB.
    """
    for escape in _ESCAPED.finditer(pattern):
        if escape[1] == "C":
            raise _refused("invalid escape sequence", r"\C")
    names = _NAMED.findall(_ESCAPED.sub("", pattern))
    if len(names) != len({*names}):
        raise _refused("duplicate capture group name", pattern)
    options = re2.Options()
    options.log_errors = False
    try:
        return Pattern(re2.compile(pattern, options))
    except re2.error as error:
        raise _refused_by_library(error) from error
    except UnicodeEncodeError as error:
        raise _refused("invalid UTF-8", pattern.encode(errors="replace").decode()) from error


def literal(text: str) -> str:
    """The pattern that matches this very text."""
    return str(re2.escape(_encodable(text)))


def _refused_by_library(error: Exception) -> PatternError:
    said = error.args[0] if error.args else ""
    text = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
    what, _, where = text.partition(": ")
    return _refused(_IN_GO.get(what, what), where)


def _refused(what: str, where: str) -> PatternError:
    return PatternError(f"error parsing regexp: {what}: `{where[:_SHOWN]}`")


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="surrogatepass").decode(errors="replace")
    return text
