"""Tensors in JSON: flat or nested lists in row-major order.

JSON has no number for NaN and the infinities. ``null`` stands for NaN, ``"Infinity"`` and ``"-Infinity"`` for the
others, in answers and in requests, as protobuf's JSON has them; any parser reads these, and numpy makes floats of them.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from math import isfinite, prod
from struct import pack
from typing import Any, Final

import numpy as np
import orjson

from millrace_core.base.errors import RejectError
from millrace_core.base.shown import shown
from millrace_services.inference import bfloat16, large_json
from millrace_services.inference.tensors import (
    EXPECTED,
    NUMPY,
    STORED,
    Array,
    Shape,
    TensorSpec,
    beyond,
    outside,
    wrong,
)

_FLOATS: Final = frozenset({int, float})
_TAKEN: Final[dict[str, frozenset[type]]] = {
    "BOOL": frozenset({bool}),
    "BYTES": frozenset({str}),
    **dict.fromkeys(("FP16", "BF16", "FP32", "FP64"), _FLOATS),
    **dict.fromkeys((name for name, dtype in NUMPY.items() if dtype.kind in "iu"), frozenset({int})),
}
_NUMBERS: Final = frozenset(name for name, taken in _TAKEN.items() if int in taken)
# How struct calls them. It reads lists faster than numpy, and takes nothing that it must change.
_CODES: Final = {name: f"<%d{code}" for name, code in zip(STORED, "?BHIQbhiqefdOf", strict=True)}
_PACKED: Final = {name: np.dtype(f"<{dtype.str[1:]}") for name, dtype in STORED.items()} | {"BF16": np.dtype("<f4")}
_EXPECTED: Final = {
    name: EXPECTED.get(dtype.kind, "strings")
    if dtype.kind != "f"
    else f'{EXPECTED["f"]} (also "Infinity", "-Infinity")'
    for name, dtype in _PACKED.items()
}
_NAMED: Final = {
    None: float("nan"),
    "NaN": float("nan"),
    "Infinity": float("inf"),
    "-Infinity": float("-inf"),
    "Inf": float("inf"),
    "-Inf": float("-inf"),
}
_CAME: Final = {
    bool: "true or false",
    float: "fractional numbers",
    int: "integers",
    str: "strings",
    type(None): "null",
    dict: "objects",
}
# Strings, also such as do not end, and outside of them what Triton and Python's json write though JSON has no number
# for it.
_BARE: Final = re.compile(rb'"(?:[^"\\]|\\.?)*+"?|(-?Inf(?:inity)?|NaN)(?![A-Za-z0-9_])', re.DOTALL)


def from_json(data: object, shape: Shape, spec: TensorSpec, *, booleans: bool = True) -> Array:
    """A tensor from JSON.

    Args:
        booleans: whether ``true`` and ``false`` may be among the values. To be told apart from 1 and 0 they take a look
            at the type of each value, half of the time that the whole takes.

    Raises:
        RejectError: the number of values, their nesting or their type does not fit; names the input.
    """
    if type(data) is not list:
        raise wrong(spec, f"data of type {type(data).__name__} came, a list is expected")
    if not booleans and spec.datatype in _NUMBERS and len(data) == prod(shape):
        try:
            return _packed(data, spec).reshape(shape)
        except (struct.error, OverflowError):
            pass  # null, a name, a string, a list, or too large: found below
    kinds = set(map(type, data))
    if list in kinds:
        data, kinds = _flattened(data, kinds, shape, spec)
    elif len(data) != prod(shape):  # checked first, so that nothing is allocated for nothing
        raise wrong(spec, f"{len(data)} values came, shape {list(shape)} takes {prod(shape)}")
    if not kinds <= _TAKEN[spec.datatype]:
        data = _by_name(data, kinds, spec)
    return _array(data, spec).reshape(shape)


def from_text(text: bytes, shape: Shape, spec: TensorSpec) -> Array:
    """A large tensor of numbers.

    Raises:
        NotPlainError: it is to be read whole, which says what is wrong.
    """
    if spec.datatype not in _NUMBERS:
        raise large_json.NotPlainError
    try:
        return large_json.read(text, shape, STORED[spec.datatype], lambda numbers: _packed(numbers, spec))
    except (struct.error, OverflowError) as error:
        raise large_json.NotPlainError from error


def to_json(values: Array, datatype: str) -> Any:
    """An output's values for ``dumps``, nested as they are."""
    if datatype == "BYTES":
        return values.tolist()
    numbers = np.ascontiguousarray(bfloat16.to_float32(values) if datatype == "BF16" else values)
    return numbers if numbers.size < large_json.LARGE_VALUES else large_json.written(numbers, _text)


def _text(values: Array) -> bytes:
    content = orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)
    if b"null" not in content:
        return content
    return orjson.dumps(_with_infinities(values), option=orjson.OPT_SERIALIZE_NUMPY)


def dumps(document: Mapping[str, Any], holders: Callable[[], Iterable[tuple[dict[str, Any], str]]]) -> bytes:
    """A document with tensors of ``to_json`` as JSON.

    Args:
        holders: gives the objects of the document that hold a tensor, and under which key.
    """
    content = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    if b"null" not in content:  # orjson writes it for the infinities, too; to look for them first would cost more
        return content
    for holder, key in holders():
        holder[key] = _with_infinities(holder[key])
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def _with_infinities(values: Any) -> Any:
    if not isinstance(values, np.ndarray) or values.dtype.kind != "f" or not np.isinf(values).any():
        return values
    # orjson writes a float32 of numpy's with its own digits, one that became Python's float with those of a double.
    flat = np.empty(values.size, object)
    flat[:] = [each if np.isfinite(each) else _name(each) for each in values.ravel()]
    return flat.reshape(values.shape).tolist()


def quoted(body: bytes) -> bytes:
    """JSON in which bare NaN, Infinity and -Infinity, outside of strings, have become strings."""
    return _BARE.sub(lambda found: found[0] if found[1] is None else b'"' + found[1] + b'"', body)


def _name(value: float) -> str | None:
    if np.isnan(value):
        return None
    return "Infinity" if value > 0 else "-Infinity"


def _flattened(data: list[Any], kinds: set[type], shape: Shape, spec: TensorSpec) -> tuple[list[Any], set[type]]:
    """The values of nested lists, and their types."""
    nested = [len(data)]
    while list in kinds:
        if len(nested) >= max(len(shape), 1):
            raise wrong(spec, f"lists nested more than {len(nested)} deep came, shape {list(shape)} is expected")
        lengths = set(map(len, data)) if len(kinds) == 1 else set()
        if len(lengths) != 1:
            raise wrong(spec, "lists of unequal lengths came, one length per dimension is expected")
        nested.append(lengths.pop())
        data = list(chain.from_iterable(data))
        kinds = set(map(type, data))
    if tuple(nested) != shape:
        raise wrong(spec, f"lists nested as {nested} came, shape {list(shape)} is expected")
    return data, kinds


def _by_name(data: list[Any], kinds: set[type], spec: TensorSpec) -> list[Any]:
    """The values, where null and names of what is no finite number have become floats."""
    expected = _EXPECTED[spec.datatype]
    taken = _TAKEN[spec.datatype]
    if taken is _FLOATS and kinds <= _FLOATS | {str, type(None)}:
        unknown = next((each for each in data if type(each) is str and each not in _NAMED), None)
        if unknown is None:
            return [each if type(each) in _FLOATS else _NAMED[each] for each in data]
        raise wrong(spec, f"the string {shown(unknown, 40)} came, {expected} are expected for {spec.datatype}")
    came = ", ".join(sorted(_CAME.get(kind, kind.__name__) for kind in kinds - taken))
    raise wrong(spec, f"{came} came, {expected} are expected for {spec.datatype}")


def _array(data: list[Any], spec: TensorSpec) -> Array:
    if spec.datatype == "BYTES":
        return np.array(data, object)
    try:
        return _packed(data, spec)
    except (struct.error, OverflowError):
        raise _outside(data, spec) from None


def _packed(data: list[Any], spec: TensorSpec) -> Array:
    """Raises ``struct.error`` or ``OverflowError`` for what the datatype does not hold; takes booleans for numbers."""
    values = np.frombuffer(pack(_CODES[spec.datatype] % len(data), *data), _PACKED[spec.datatype])
    return values if spec.datatype != "BF16" else bfloat16.from_float32(values)


def _outside(data: list[Any], spec: TensorSpec) -> RejectError:
    dtype = _PACKED[spec.datatype]
    if dtype.kind != "f":
        limits = np.iinfo(dtype)
        return outside(next(each for each in data if not limits.min <= each <= limits.max), spec)
    return beyond(max(abs(each) for each in data if isfinite(each)), dtype, spec)
