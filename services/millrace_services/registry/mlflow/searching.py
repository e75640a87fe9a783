"""What searches share: comparisons and orders as SQL, in which every value is a bound parameter, and pages."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Column, ColumnElement, Row, Select, func

from millrace_services.registry.mlflow import filters
from millrace_services.registry.mlflow.errors import invalid
from millrace_services.registry.mlflow.filters import Condition, Key, Value
from millrace_services.registry.mlflow.paging import offset_of, token_of

TEXT: Final = frozenset({"=", "!=", "LIKE", "ILIKE"})
LISTED: Final = TEXT | {"IN", "NOT IN"}
NUMBER: Final = frozenset({"=", "!=", "<", "<=", ">", ">="})
ATTRIBUTES: Final = frozenset({"", "attribute", "attributes", "attr"})
TAGS: Final = frozenset({"tag", "tags"})
_WHOLE: Final = re.compile(r"-?[0-9]{1,18}")


class Attribute(NamedTuple):
    """A column that is searched by, and how it may be compared; ``most`` is the highest number that it can have."""

    column: Column[Any]
    comparators: frozenset[str]
    most: int = 2**31 - 1


class Page(NamedTuple):
    """Which results of a search are wanted."""

    size: int
    offset: int

    @classmethod
    def of(cls, size: int, token: str) -> Page:
        """The page of a token. Raises ``MlflowError`` where it is none."""
        return cls(size, offset_of(token))

    def applied(self, query: Select[Any]) -> Select[Any]:
        """The query for this page, and for one result more."""
        return query.limit(self.size + 1).offset(self.offset)

    def cut(self, rows: Sequence[Row[Any]]) -> tuple[Sequence[Row[Any]], str]:
        """The page of what came, and the token of the next one; empty where there is none."""
        return rows[: self.size], token_of(self.offset + self.size) if len(rows) > self.size else ""


def attribute(condition: Condition, known: Mapping[str, Attribute]) -> ColumnElement[bool]:
    """A condition on a column.

    Raises:
        MlflowError: there is no such attribute, or it is not compared like this.
    """
    key, comparator, value = condition
    found = known.get(key.name)
    if found is None:
        raise invalid(f"Invalid attribute key '{key.name}' specified. Valid keys are {sorted(known)}")
    require(f"attribute {key.name}", comparator, found.comparators)
    if found.comparators is NUMBER:
        number = whole(key, value)
        return compared(found.column, comparator, max(-found.most, min(number, found.most)))
    return compared(found.column, comparator, value if isinstance(value, tuple) else text(key, value))


def require(what: str, comparator: str, allowed: frozenset[str]) -> None:
    """Refuses a comparator that is none of those. Raises ``MlflowError``."""
    if comparator not in allowed:
        raise invalid(f"Invalid comparator for {what}: {comparator}. Allowed are {', '.join(sorted(allowed))}")


def compared(column: Any, comparator: str, value: Any) -> ColumnElement[bool]:
    """A comparison as SQL; ``_`` and ``%`` of LIKE and ILIKE stand for one character and for any number of them."""
    made: ColumnElement[bool]
    match comparator:
        case "LIKE":
            made = column.like(_pattern(value), escape="\\")
        case "ILIKE":
            made = func.lower(column).like(_pattern(value.lower()), escape="\\")
        case "IN" | "NOT IN":
            made = column.in_(value) if comparator == "IN" else column.not_in(value)
        case "!=" | "=":
            made = column != value if comparator == "!=" else column == value
        case "<" | "<=":
            made = column < value if comparator == "<" else column <= value
        case _:
            made = column > value if comparator == ">" else column >= value
    return made


def text(key: Key, value: Value) -> str:
    """A value that has to be a text. Raises ``MlflowError``."""
    if isinstance(value, str):
        return value
    raise _expected(key, "a text in quotes")


def whole(key: Key, value: Value) -> int:
    """A value that has to be a whole number, which may stand in quotes. Raises ``MlflowError``."""
    if isinstance(value, str | int) and _WHOLE.fullmatch(str(value)):
        return int(value)
    raise _expected(key, "a number")


def number(key: Key, value: Value) -> float:
    """A value that has to be a number. Raises ``MlflowError``."""
    if isinstance(value, int | float):
        try:
            return float(value)
        except OverflowError:
            pass
    raise _expected(key, "a number")


def order(given: Sequence[str], known: Mapping[str, Column[Any]], last: Sequence[str]) -> list[Any]:
    """What results are ordered by; ``last`` decides where the given keys do not.

    Raises:
        RejectError: results are not ordered by such a key, or twice by one.
    """
    parsed = [filters.parse_order(each) for each in given]
    for key, _ in parsed:
        if key.entity not in ATTRIBUTES or key.name not in known:
            raise invalid(f"Invalid order by key '{key.name}' specified. Valid keys are {sorted(known)}")
    filters.check_order([key.name for key, _ in parsed])
    named = {key.name for key, _ in parsed}
    parsed += [order for order in map(filters.parse_order, last) if order[0].name not in named]
    return [known[key.name].desc() if descending else known[key.name].asc() for key, descending in parsed]


def _pattern(text: str) -> str:
    return text.replace("\\", "\\\\")


def _expected(key: Key, kind: str) -> Exception:
    return invalid(f"Invalid value for '{key.name}': {kind} is expected")
