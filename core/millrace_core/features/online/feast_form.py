"""What Feast's clients send and read differently, and its routes alone understand (below ``/feast``).

==============  ==========================================================================================
timestamp       seconds since 1970 as an integer; an answer has whole seconds, a write may have texts, too
int32, int64    also a whole double, which pandas makes of integers that have a null beside them
any scalar      NaN is null; within an array of floats it is a value
a null          has the status PRESENT
__dummy_id      the key that Feast's clients send for a view without entities; its value says nothing
==============  ==========================================================================================
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import orjson

from millrace_core.api.feature import FeatureType, element_type
from millrace_core.base.errors import RejectError
from millrace_core.base.shown import shown
from millrace_core.features.types import times

DUMMY_KEYS: Final = ("__dummy_id",)
_SECOND: Final = 1_000_000
# Of the years 1 and 9999, in seconds: what is beyond them came in a smaller unit.
_LEAST: Final = -62_135_596_800
_MOST: Final = 253_402_300_799
_INTEGERS: Final = frozenset({"int32", "int64"})


def loads(body: bytes) -> Any:
    """A JSON body, which may have ``NaN`` as Python's ``json.dumps`` writes it.

    Raises:
        RejectError: it is no JSON.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        first = error
    try:
        document = json.loads(body, parse_int=_integer)
        orjson.dumps(document)  # which finds texts that are no Unicode
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise RejectError(f"the body is not JSON: {first}") from error
    return document


def _integer(digits: str) -> int | float:
    """As orjson has it: of more than 64 bits it is a double."""
    value = int(digits)
    return value if -(2**63) <= value < 2**64 else float(value)


def columns(types: Iterable[tuple[str, FeatureType | None]], came: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """Columns of a write or of a read's entities with values in Millrace's forms; what fits neither form stays.

    Args:
        types: those of the columns that count; None is any type.
        came: values by column.
    """
    made = dict(came)
    for name, kind in types:
        if name in came:
            made[name] = [_value(kind, value) for value in came[name]]
    return made


def check_dummies(names: Iterable[str], came: Mapping[str, Sequence[Any]]) -> None:
    """Checks the values of keys that say nothing: they go back as they came, so they have to be such as keys have.

    Raises:
        RejectError: one is a list or an object.
    """
    for name in names:
        for row, value in enumerate(came.get(name, ())):
            if isinstance(value, list | dict):
                raise RejectError(
                    f"{shown(value, 100)} came, a text or a number is expected", field=f"entities.{name}[{row}]"
                )


def seconds(kind: FeatureType, values: Sequence[Any]) -> Sequence[Any]:
    """Times, which are microseconds, as whole seconds since 1970; of a type that has them."""
    if element_type(kind) is not None:
        return [None if value is None else seconds("timestamp", value) for value in values]
    return [None if value is None else value // _SECOND for value in values]


def _value(kind: FeatureType | None, value: Any) -> Any:
    if value is None or value != value:  # noqa: PLR0124 only NaN differs from itself
        return None
    if kind == "timestamp" and type(value) in (int, float):
        return _moment(value)
    if kind == "array<timestamp>" and isinstance(value, list):
        return [_value("timestamp", each) for each in value]
    if kind in _INTEGERS and type(value) is float and value.is_integer():
        return int(value)
    return value


def _moment(value: float) -> datetime | float:
    if not _LEAST <= value <= _MOST or value != int(value):
        return value
    return times.moment(int(value) * _SECOND)
