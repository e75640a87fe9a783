"""The language of MLflow's searches: conditions joined by AND, and what results are ordered by. Pure.

    name LIKE 'churn%' AND tags.`team.name` != 'growth' AND version_number >= 3 AND run_id IN ('a', 'b')

A key is a word, or one of an entity: ``tags.team``, ``tag."team"``, ``metrics.`val loss` ``. Texts stand in single or
double quotes, in which two of the same mean one. There is no OR, and there are no parentheses but those of a list.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from millrace_core.base.errors import RejectError
from millrace_core.base.shown import shown

Value = str | int | float | tuple[str, ...]

_TOKEN: Final = re.compile(
    r"""\s*(?:
    (?P<string>'(?:[^']|'')*'|"(?:[^"]|"")*")
    |(?P<number>[+-]?(?:\d++(?:\.\d*+)?+|\.\d++)(?:[eE][+-]?\d+)?(?![\w.]))
    |(?P<comparator>!=|<>|<=|>=|=|<|>)
    |(?P<key>(?:[^\W\d]\w*\.)?(?:`[^`]+`)|[^\W\d]\w*\.(?:"[^"]+"|[\w./\-]+)|[^\W\d]\w*)
    |(?P<mark>[(),])
    )""",
    re.VERBOSE,
)
_WORDS: Final = frozenset({"AND", "OR", "LIKE", "ILIKE", "IN", "NOT"})
_MOST_CONDITIONS: Final = 100
_MOST_VALUES: Final = 1000
# SQLite 3.40 ends the process while it plans a join of about forty tables.
_MOST_ORDERS: Final = 16
# Several times what the longest list of ids takes. What is longer costs time and memory before anything is known of it.
_MOST_CHARACTERS: Final = 200_000


class Key(NamedTuple):
    """What a condition or an order is about: ``entity`` is what stands before the dot, or empty."""

    entity: str
    name: str


class Condition(NamedTuple):
    """One condition; ``comparator`` is one of ``= != < <= > >= LIKE ILIKE IN``, ``NOT IN``, or ``IS NULL`` and
    ``IS NOT NULL``, which have an empty value.
    """

    key: Key
    comparator: str
    value: Value


class _Token(NamedTuple):
    kind: str
    text: str


def parse(text: str) -> list[Condition]:
    """The conditions of a filter, all of which must hold; none where it is empty.

    Raises:
        RejectError: it is none of this language.
    """
    _require_short(text, "filter")
    tokens = _tokens(text)
    found: list[Condition] = []
    while tokens:
        if found and not _word(tokens.popleft(), "AND"):
            raise _wrong(text, "conditions are joined by AND")
        found.append(_condition(tokens, text))
        if len(found) > _MOST_CONDITIONS:
            raise RejectError(f"there are more than {_MOST_CONDITIONS} conditions", field="filter")
    return found


def parse_order(text: str) -> tuple[Key, bool]:
    """A key, and whether its order is descending: ``name``, ``metrics.`a b` DESC``.

    Raises:
        RejectError: it is none of this language.
    """
    _require_short(text, "order_by")
    *before, last = text.rsplit(None, 1) or [""]
    direction = last.lower() if before and last.lower() in ("asc", "desc") else ""
    tokens = _tokens((before[0] if direction else text).strip(), "order_by")
    if len(tokens) != 1 or tokens[0].kind != "key":
        raise RejectError(f"{shown(text, 80)} came, a key with ASC or DESC is expected", field="order_by")
    return _key(tokens[0]), direction == "desc"


def _tokens(text: str, field: str = "filter") -> deque[_Token]:
    found, at = deque[_Token](), 0
    text = text.rstrip()
    while at < len(text):
        matched = _TOKEN.match(text, at)
        if matched is None:
            raise RejectError(f"at character {at + 1} nothing is understood: {shown(text[at:], 60)}", field=field)
        kind = matched.lastgroup or ""
        found.append(_Token(kind, matched[kind]))
        at = matched.end()
    return found


def _require_short(text: str, field: str) -> None:
    if len(text) > _MOST_CHARACTERS:
        raise RejectError(f"{len(text)} characters came, {_MOST_CHARACTERS} are the most", field=field)


def _condition(tokens: deque[_Token], text: str) -> Condition:
    if not tokens or tokens[0].kind != "key" or tokens[0].text.upper() in _WORDS:
        raise _wrong(text, "a key such as name or tags.team begins a condition")
    key = _key(tokens.popleft())
    comparator = _comparator(tokens, text)
    if comparator in ("IN", "NOT IN"):
        return Condition(key, comparator, _listed(tokens, text))
    if comparator in ("IS NULL", "IS NOT NULL"):
        return Condition(key, comparator, "")
    if not tokens or tokens[0].kind not in ("string", "number"):
        raise _wrong(text, f"a text in quotes, or a number, follows {comparator}")
    return Condition(key, comparator, _value(tokens.popleft()))


def _comparator(tokens: deque[_Token], text: str) -> str:
    token = tokens.popleft() if tokens else _Token("", "")
    if token.kind == "comparator":
        return "!=" if token.text == "<>" else token.text
    if _word(token, "NOT") and tokens and _word(tokens[0], "IN"):
        tokens.popleft()
        return "NOT IN"
    if token.kind == "key" and token.text.upper() in ("LIKE", "ILIKE", "IN"):
        return token.text.upper()
    if _word(token, "IS"):
        negated = bool(tokens) and _word(tokens[0], "NOT")
        if negated:
            tokens.popleft()
        if tokens and _word(tokens.popleft(), "NULL"):
            return "IS NOT NULL" if negated else "IS NULL"
    raise _wrong(text, "a comparator is one of =, !=, <, <=, >, >=, LIKE, ILIKE, IN and IS NULL")


def _listed(tokens: deque[_Token], text: str) -> tuple[str, ...]:
    def mark(*wanted: str) -> str:
        if not tokens or tokens[0].text not in wanted or tokens[0].kind != "mark":
            raise _wrong(text, "a list is written ('a', 'b')")
        return tokens.popleft().text

    mark("(")
    values: list[str] = []
    while True:
        if not tokens or tokens[0].kind != "string":
            raise _wrong(text, "a list has texts in quotes")
        values.append(str(_value(tokens.popleft())))
        if len(values) > _MOST_VALUES:
            raise RejectError(f"a list has more than {_MOST_VALUES} values", field="filter")
        if mark(",", ")") == ")":
            return tuple(values)


def _value(token: _Token) -> str | int | float:
    if token.kind == "string":
        quote = token.text[0]
        return token.text[1:-1].replace(quote * 2, quote)
    try:
        return int(token.text)
    except ValueError:
        return float(token.text)


def _key(token: _Token) -> Key:
    if token.text.startswith("`"):
        return Key("", token.text[1:-1])
    entity, dot, name = token.text.partition(".")
    if not dot:
        return Key("", entity)
    return Key(entity, name[1:-1] if name[0] in '`"' else name)


def _word(token: _Token, word: str) -> bool:
    return token.kind == "key" and token.text.upper() == word


def _wrong(text: str, expected: str) -> RejectError:
    return RejectError(f"{shown(text, 200)} is no filter: {expected}", field="filter")


def check_order(keys: Sequence[str]) -> None:
    """An order by the same key twice says nothing, and one by many is a join of many tables.

    Raises:
        RejectError: a key is there twice, or there are too many.
    """
    if len(keys) > _MOST_ORDERS:
        raise RejectError(f"there are more than {_MOST_ORDERS} keys", field="order_by")
    seen = set()
    for key in keys:
        if key in seen:
            raise RejectError(f"`order_by` contains duplicate fields: {shown(key, 80)}", field="order_by")
        seen.add(key)
