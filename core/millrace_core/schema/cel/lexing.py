"""Tokens of an expression. Source: https://github.com/google/cel-spec/blob/master/doc/langdef.md#syntax"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from millrace_core.schema.cel.syntax import CelIssue
from millrace_core.schema.cel.values import Uint

_TOKEN = re.compile(
    r"""
    (?P<space>[\s]+|//[^\n]*)
  | (?P<string>(?P<prefix>[rR]?[bB]?|[bB][rR])(?:\"{3}(?:\\.|(?!\"{3})[^\\])*+\"{3}|'{3}(?:\\.|(?!'{3})[^\\])*+'{3}
        |\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'))
  | (?P<rawstring>(?:[rR][bB]?|[bB][rR])(?:\"{3}(?:(?!\"{3}).)*\"{3}|'{3}(?:(?!'{3}).)*'{3}|\"[^\"\n]*\"|'[^'\n]*'))
  | (?P<double>[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+|\.[0-9]+(?:[eE][+-]?[0-9]+)?)
  | (?P<int>0x[0-9a-fA-F]+[uU]?|[0-9]+[uU]?)
  | (?P<name>[_a-zA-Z][_a-zA-Z0-9]*)
  | (?P<symbol>&&|\|\||==|!=|<=|>=|[-+*/%<>!?:.,()\[\]{}])
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(
    r"\\(?:([abfnrtv\\?\"'`])|x([0-9a-fA-F]{2})|X([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2})|(.))",
    re.DOTALL,
)
_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_INT_MAX, _UINT_MAX = 2**63, 2**64 - 1


class Token(NamedTuple):
    """``kind`` is name, literal, symbol or end; ``value`` is a literal's value, else the text."""

    kind: str
    value: Any
    at: int


def tokens(source: str) -> list[Token]:
    """All tokens, then one of kind ``end``. The literal 2**63 is allowed for ``-9223372036854775808``."""
    out: list[Token] = []
    at = 0
    while at < len(source):
        match = _TOKEN.match(source, at)
        if match is None:
            raise CelIssue(f"Syntax error: token recognition error at: '{source[at]}'", at)
        kind = match.lastgroup if match.lastgroup != "prefix" else "string"
        if kind in {"name", "symbol"}:
            out.append(Token(kind, match[0], at))
        elif kind != "space":
            out.append(Token("literal", _literal(str(kind), match[0], at), at))
        at = match.end()
    out.append(Token("end", "<EOF>", at))
    return out


def _literal(kind: str, text: str, at: int) -> Any:
    if kind == "double":
        return float(text)
    if kind == "int":
        unsigned = text[-1] in "uU"
        number = int(text.rstrip("uU"), 16 if text.startswith("0x") else 10)
        if number > (_UINT_MAX if unsigned else _INT_MAX):
            raise CelIssue(f"Syntax error: invalid {'uint' if unsigned else 'int'} literal", at)
        return Uint(number) if unsigned else number
    return _string(text, at)


def _string(text: str, at: int) -> Any:
    prefix = text[: len(text) - len(text.lstrip("rRbB"))].lower()
    body = text[len(prefix) :]
    quotes = 3 if len(body) >= 6 and body[:3] in {'"""', "'''"} else 1  # noqa: PLR2004
    body = body[quotes:-quotes]
    if "r" not in prefix:
        body = _ESCAPE.sub(lambda match: _unescaped(match, at, is_bytes="b" in prefix), body)
    if "b" not in prefix:
        return body
    return b"".join(bytes([ord(char) - _RAW_BYTE]) if ord(char) >= _RAW_BYTE else char.encode() for char in body)


_RAW_BYTE = 0x10F000  # private code points that stand for escaped bytes until the literal is encoded


def _unescaped(match: re.Match[str], at: int, *, is_bytes: bool) -> str:
    simple, *codes, octal, unknown = match.groups()
    if simple is not None:
        return _SIMPLE.get(simple, simple)
    if unknown is not None:
        raise CelIssue(f"Syntax error: token recognition error at: '\\{unknown}'", at)
    digits = next((code for code in codes if code is not None), None)
    number = int(octal, 8) if digits is None else int(digits, 16)
    if is_bytes and (digits is None or match[0][1] in "xX"):
        return chr(_RAW_BYTE + number)
    return chr(number)
