"""Tensors between JSON, numpy and ONNX Runtime: datatypes, shapes and the checks before anything is allocated.

Datatypes are those of the Open Inference Protocol v2 (https://github.com/kserve/open-inference-protocol). FP16 and
BF16 have no JSON form there. JSON has no NaN: ``null`` stands for it in floating-point tensors, in requests as in
answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from math import prod
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from millrace_core.base.errors import RejectError
from millrace_core.base.shown import shown

Array = NDArray[Any]
Shape = tuple[int, ...]

# Of the names that ONNX Runtime gives to element types.
_DATATYPES: Final = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "bfloat16": "BF16",
    "float": "FP32",
    "double": "FP64",
    "string": "BYTES",
}
NUMPY: Final[dict[str, np.dtype[Any]]] = {
    "BOOL": np.dtype(np.bool_),
    **{f"UINT{bits}": np.dtype(f"uint{bits}") for bits in (8, 16, 32, 64)},
    **{f"INT{bits}": np.dtype(f"int{bits}") for bits in (8, 16, 32, 64)},
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BYTES": np.dtype(object),
}
# Lists are read as numpy understands them, except where that loses something: it takes strings for text of fixed width,
# and a mix of integers below and above 2^63 for floats.
_SOURCE: Final = {"BYTES": np.dtype(object), "UINT64": np.dtype(object)}
_DEEPEST: Final = 32
_EXPECTED: Final = {"b": "true and false", "u": "integers of 0 and more", "i": "integers", "f": "numbers or null"}


class TensorSpec(NamedTuple):
    """An input or output of a model; -1 in ``shape`` is a dimension of any size."""

    name: str
    datatype: str
    shape: Shape

    def described(self) -> dict[str, object]:
        """As the metadata of the protocol has it."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}


class OutputTensor(NamedTuple):
    """An output of a run; ``classes`` is what its columns stand for where the model gave a list of maps, else empty."""

    values: Array
    classes: Sequence[Any] = ()


def spec_of(name: str, kind: str, shape: Sequence[int | str | None]) -> TensorSpec:
    """A spec from what ONNX Runtime says of an input or output.

    ``kind`` is such as ``tensor(float)``. A ``seq(map(int64,tensor(float)))``, which scikit-learn's classifiers
    answer by default, counts as the matrix of its values: one row per entry, one column per class.

    Raises:
        RejectError: a type that the protocol has no datatype for (``UnsupportedModel``).
    """
    if kind.startswith("seq(map(") and kind.endswith(",tensor(float)))"):
        return TensorSpec(name, "FP32", (-1, -1))
    element = kind.removeprefix("tensor(").removesuffix(")")
    datatype = _DATATYPES.get(element) if kind.startswith("tensor(") else None
    if datatype is None:
        raise RejectError(
            f"{name!r} of the model has type {kind}, which has no tensor form",
            hint="Export the model with tensors only (skl2onnx: options={'zipmap': False})",
            field="spec.model.uri",
            reason="UnsupportedModel",
        )
    return TensorSpec(name, datatype, tuple(size if isinstance(size, int) else -1 for size in shape))


def check_shape(shape: object, spec: TensorSpec) -> Shape:
    """The shape a client gave for an input, checked against the model's.

    Raises:
        RejectError: no list of sizes, or sizes the model does not take.
    """
    if isinstance(shape, list) and len(shape) == len(spec.shape):
        for size, wanted in zip(shape, spec.shape, strict=True):
            if type(size) is not int or size < 0 or wanted not in (size, -1):
                break
        else:
            return tuple(shape)
    raise _wrong(spec, f"shape {shown(shape)} came, {list(spec.shape)} is expected", " (-1: any size)")


def from_json(data: object, shape: Shape, spec: TensorSpec) -> Array:
    """A tensor from JSON: flat or nested lists in row-major order.

    Raises:
        RejectError: the number of values, their nesting or their type does not fit; names the input.
    """
    if not isinstance(data, list):
        raise _wrong(spec, f"data of type {type(data).__name__} came, a list is expected")
    if spec.datatype != "BYTES" and str in _kinds(data):
        # numpy would give every value the width of the longest.
        raise _wrong(spec, f"strings came, {_EXPECTED[NUMPY[spec.datatype].kind]} are expected for {spec.datatype}")
    size = prod(shape)
    nested = bool(data) and isinstance(data[0], list)
    if nested and (depth := _depth(data)) > _DEEPEST:  # numpy's own limit, beyond which it fails in several ways
        raise _wrong(spec, f"lists nested {depth} deep came, shape {list(shape)} is expected")
    if not nested and len(data) != size:  # checked first, so that nothing is allocated for nothing
        raise _wrong(spec, f"{len(data)} values came, shape {list(shape)} takes {size}")
    dtype = NUMPY.get(spec.datatype)
    if dtype is None:
        raise _wrong(spec, f"{spec.datatype} has no JSON form in the protocol, and this server takes JSON tensors only")
    try:
        values = cast(np.array(data, dtype=_SOURCE.get(spec.datatype)), spec)
    except ValueError as error:
        raise _wrong(spec, "lists of unequal lengths came, one length per dimension is expected") from error
    if values.shape == shape:
        return values
    if nested or values.ndim != 1:
        raise _wrong(spec, f"lists nested as {list(values.shape)} came, shape {list(shape)} is expected")
    return values.reshape(shape)


def _depth(data: object) -> int:
    depth = 0
    while isinstance(data, list):
        depth += 1
        data = data[0] if data else None
    return depth


def _kinds(data: list[Any]) -> set[type]:
    """The types of the values of lists in lists."""
    with suppress(TypeError):
        while data and type(data[0]) is list:
            data = list(chain.from_iterable(data))
    return set(map(type, data))


def cast(values: Array, spec: TensorSpec) -> Array:
    """Casts without ever changing a value's kind; numpy alone would take "1.5" and true for numbers.

    Raises:
        RejectError: the values are of another kind, or an integer is out of range; names the input.
    """
    dtype = NUMPY[spec.datatype]
    kind, wanted = values.dtype.kind, dtype.kind
    if wanted == "O":
        return _strings(values, spec)
    if values.size == 0:
        return values.astype(dtype)
    if wanted == "f":
        if kind in "fiu":
            return values.astype(dtype)
        if kind == "O" and all(value is None or type(value) in (int, float) for value in values.flat):
            return values.astype(np.float64).astype(dtype)
    elif wanted == kind == "b":
        return values
    elif wanted in "iu" and (kind in "iu" or (kind == "O" and all(type(value) is int for value in values.flat))):
        limits = np.iinfo(dtype)
        low, high = int(values.min()), int(values.max())
        if low < limits.min or high > limits.max:
            outside = low if low < limits.min else high
            raise _wrong(spec, f"{outside} came, {spec.datatype} takes {limits.min} to {limits.max}")
        return values.astype(dtype)
    raise _wrong(spec, f"{_told(values)} came, {_EXPECTED[wanted]} are expected for {spec.datatype}")


def _strings(values: Array, spec: TensorSpec) -> Array:
    for value in values.flat:
        if type(value) is not str:
            raise _wrong(spec, f"{shown(value, 40)} came, strings are expected for BYTES")
    return values


def _told(values: Array) -> str:
    names = {"b": "true or false", "f": "fractional numbers", "i": "integers", "u": "integers", "U": "strings"}
    return names.get(values.dtype.kind, "mixed values")


def _wrong(spec: TensorSpec, sentence: str, after: str = "") -> RejectError:
    return RejectError(f"input {spec.name!r}: {sentence}{after}", reason="BadTensor")


def from_output(value: Any) -> OutputTensor:
    """An output of ONNX Runtime as a tensor."""
    if isinstance(value, list):
        classes = list(value[0]) if value else []
        return OutputTensor(np.array([[row[name] for name in classes] for row in value], dtype=np.float32), classes)
    return OutputTensor(value)
