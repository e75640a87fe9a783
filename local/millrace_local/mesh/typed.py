"""Whether records hold values of the types that they declare.

Schemas of other projects' kinds are small here and keep what they do not know, so a field may hold anything. What is
read from it goes into records; a record that holds what it must not would fail later, where all routes are written.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Mapping
from functools import lru_cache
from operator import call
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from millrace_core.base.shown import shown


def require_types(value: Any, declared: Any) -> None:
    """Looks at a value, and at all that records and tuples in it hold.

    Raises:
        TypeError: something is of another type than is declared; says what came.
    """
    if not _holds(declared)(value):
        _refuse(value, declared)


def _refuse(value: Any, declared: Any) -> None:
    """Finds what is wrong."""
    if not _fits(value, declared):
        raise TypeError(f"{shown(value)} came, {getattr(declared, '__name__', declared)} is expected")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for name, kind in _fields(type(value)).items():
            _refuse(getattr(value, name), kind)
    elif isinstance(value, tuple):
        kinds = get_args(_tuple_of(declared))
        for index, each in enumerate(value):
            _refuse(each, kinds[0] if kinds[-1] is ... else kinds[index])


@lru_cache(None)
def _holds(declared: Any) -> Callable[[Any], bool]:
    """Whether a value, and all that it holds, is of a type; asked of thousands with each change of a route."""
    origin, kinds = get_origin(declared), get_args(declared)
    if origin in (Union, types.UnionType):
        options = [_holds(each) for each in kinds]
        return lambda value: any(holds(value) for holds in options)
    if origin is tuple and kinds[-1] is ...:
        each_holds = _holds(kinds[0])
        return lambda value: isinstance(value, tuple) and all(map(each_holds, value))
    if origin is tuple:
        parts = [_holds(each) for each in kinds]
        return lambda value: _fits(value, declared) and all(map(call, parts, value))
    if dataclasses.is_dataclass(declared) and isinstance(declared, type):
        return lambda value: isinstance(value, declared) and _record_holds(type(value))(value)
    if origin is None and declared is not bool:
        plain = (int, float) if declared is float else declared
        return lambda value: isinstance(value, plain) and not isinstance(value, bool)
    return lambda value: _fits(value, declared)


@lru_cache(None)
def _record_holds(record: type) -> Callable[[Any], bool]:
    fields = [(name, _holds(kind)) for name, kind in _fields(record).items()]
    return lambda value: all(holds(getattr(value, name)) for name, holds in fields)


@lru_cache
def _fields(record: type) -> Mapping[str, Any]:
    return get_type_hints(record)


def _fits(value: Any, declared: Any) -> bool:
    origin = get_origin(declared)
    if origin in (Union, types.UnionType):
        return any(_fits(value, each) for each in get_args(declared))
    if origin is Literal:
        return isinstance(value, str) and value in get_args(declared)
    if origin is tuple:
        kinds = get_args(declared)
        return isinstance(value, tuple) and (kinds[-1] is ... or len(value) == len(kinds))
    if isinstance(value, bool):  # which Python takes for a number
        return declared is bool
    return isinstance(value, (int, float) if declared is float else declared)


def _tuple_of(declared: Any) -> Any:
    """The tuple among the types of a union."""
    if get_origin(declared) is tuple:
        return declared
    return next(each for each in get_args(declared) if get_origin(each) is tuple)
