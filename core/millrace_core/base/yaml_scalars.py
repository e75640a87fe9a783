"""Scalars of YAML as kubectl reads them, which is YAML 1.1 in the reading of Go's ``yaml.v2``, brought to JSON.

So ``yes``, ``on`` and ``y`` are true, ``017`` and ``0o17`` are 15, ``1e3`` is the integer 1000, and times are texts;
but ``1:30`` is a text, not ninety minutes.
Source: ``resolve.go`` of ``sigs.k8s.io/yaml/goyaml.v2``; ``tests/local/apiserver/test_kubectl_yaml.py`` asks kubectl.
"""

from __future__ import annotations

import binascii
import math
import re
from base64 import b64decode
from collections.abc import Callable
from typing import Any, Final

_TRUE: Final = ("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON")
_FALSE: Final = ("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF")
_NULL: Final = ("", "~", "null", "Null", "NULL")
_NOT_A_NUMBER: Final = (".nan", ".NaN", ".NAN")
_INFINITE: Final = tuple(sign + name for sign in ("", "+", "-") for name in (".inf", ".Inf", ".INF"))
_WORDS: Final[dict[str, Any]] = {
    **dict.fromkeys(_TRUE, True),
    **dict.fromkeys(_FALSE, False),
    **dict.fromkeys(_NULL),
    **dict.fromkeys(_NOT_A_NUMBER, math.nan),
    **dict.fromkeys(_INFINITE, math.inf),
}
# By prefix, as Go's ParseInt with base 0 has it.
_INTEGER: Final = re.compile(r"([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]?([0-7]+)|(0|[1-9][0-9]*))")
_BASES: Final = (16, 2, 8, 10)
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NUMERIC: Final = frozenset("+-.0123456789")
_INT64: Final = range(-(2**63), 2**63)
_MOST_DIGITS: Final = 1_000
_UINT64_END: Final = 2**64
_TAG: Final = "tag:yaml.org,2002:"


def plain(text: str) -> Any:
    """The JSON value of a scalar without quotes or tag.

    Raises:
        ValueError: it is ``.inf`` or ``.nan``, for which JSON has no form.
    """
    if text in _WORDS:
        return _finite(_WORDS[text], text)
    if text[0] not in _NUMERIC:
        return text
    if text[0] == ".":
        return _float(text, text) if _FLOAT.fullmatch(text) else text
    digits = text.replace("_", "")
    whole = _INTEGER.fullmatch(digits)
    if whole and (value := _integer(whole)) < _UINT64_END and (value >= _INT64.start):
        return value if value in _INT64 else float(value)
    return _float(digits, text) if _FLOAT.fullmatch(digits) else text


def tagged(text: str, tag: str) -> Any:
    """The JSON value of a scalar with a tag, such as ``!!str 5``.

    Raises:
        ValueError: the text is not what the tag says.
    """
    name = tag.removeprefix(_TAG)
    if name == "binary":
        return _binary(text)
    fits = _FITS.get(name)
    if fits is None:
        return text
    value = plain(text)
    if not fits(value):
        raise ValueError(f"{text!r} is no !!{name}")
    return value


def key(value: Any) -> str:
    """The key of a mapping as JSON has it: a text.

    Raises:
        ValueError: it is null, a list or a mapping.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    came = "null" if value is None else "a list" if isinstance(value, list) else "a mapping"
    raise ValueError(f"a key is a text; {came} came")


_FITS: Final[dict[str, Callable[[Any], bool]]] = {
    "bool": lambda value: isinstance(value, bool),
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "float": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "null": lambda value: value is None,
}


def _integer(found: re.Match[str]) -> int:
    # Python reads at most 4,300 digits, and says so in words for programmers.
    if len(found[0]) > _MOST_DIGITS:
        raise ValueError(f"a number of {len(found[0]):,} characters came; {_MOST_DIGITS:,} at most are expected")
    sign = -1 if found[1] == "-" else 1
    return next(sign * int(digits, base) for digits, base in zip(found.groups()[1:], _BASES, strict=True) if digits)


def _float(digits: str, text: str) -> int | float | str:
    """A whole number is an integer in the JSON that Go writes, and one that no double holds is a text.

    So kubectl prints such a text without quotes: the beginning of a digest, ``754e5835``, is one.
    """
    value = float(digits)
    if not math.isfinite(value):
        return text
    return int(value) if value.is_integer() and int(value) in _INT64 else value


def _finite(value: Any, text: str) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{text} came; a number in JSON is finite")
    return value


def _binary(text: str) -> str:
    try:
        return b64decode("".join(text.split()), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ValueError(f"a !!binary is Base64 of a text: {error}") from error
