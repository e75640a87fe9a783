"""Tensors between the wire, numpy and ONNX Runtime: datatypes, shapes and what is refused of them.

Datatypes are those of the Open Inference Protocol v2 (https://github.com/kserve/open-inference-protocol). numpy has no
BF16: such a tensor is the array of its bits, of ``uint16``.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BYTES": np.dtype(object),
}
# What the array of a tensor is of.
STORED: Final = {**NUMPY, "BF16": np.dtype(np.uint16)}
# The protocol has no JSON form for them.
BINARY_ONLY: Final = frozenset({"FP16", "BF16"})
EXPECTED: Final = {"b": "true and false", "u": "integers of 0 and more", "i": "integers", "f": "numbers or null"}
# numpy's own limit.
_DEEPEST: Final = 32
# Of a tensor without values, which could claim anything, the sizes beside the zeros, multiplied.
_MOST_OF_EMPTY: Final = 1 << 24


class TensorSpec(NamedTuple):
    """An input or output of a model; -1 in ``shape`` is a dimension of any size.

    Attributes:
        ranked: False where the model takes any number of dimensions; ``shape`` then says nothing.
    """

    name: str
    datatype: str
    shape: Shape
    ranked: bool = True

    def described(self) -> dict[str, object]:
        """As the metadata of the protocol has it, which knows no tensors of any rank; [-1] stands for them."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape) if self.ranked else [-1]}

    def expected(self) -> str:
        """Its shape in messages."""
        return str(list(self.shape)) if self.ranked else "any"


class OutputTensor(NamedTuple):
    """An output of a run; ``classes`` is what its columns stand for where the model gave a list of maps, else empty."""

    values: Array
    classes: Sequence[Any] = ()


def spec_of(name: str, kind: str, shape: Sequence[int | str | None], *, ranked: bool = True) -> TensorSpec:
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
            f"{name!r} of the model has type {kind}, which the protocol has no tensor for",
            hint=_instead(kind),
            field="spec.model.uri",
            reason="UnsupportedModel",
        )
    return TensorSpec(name, datatype, tuple(size if isinstance(size, int) else -1 for size in shape), ranked)


def _instead(kind: str) -> str:
    if kind.startswith("seq(tensor("):
        return "Give the tensors of the sequence one by one, or join them by ConcatFromSequence in the graph"
    if kind.startswith("optional("):
        return "Give the value itself, without Optional around it, in the graph"
    return f"Give a tensor of {', '.join(_DATATYPES)} instead, by Cast in the graph or when you export it"


def check_shape(shape: object, spec: TensorSpec) -> Shape:
    """The shape a client gave for an input, checked against the model's.

    Raises:
        RejectError: no list of sizes, or sizes the model does not take.
    """
    if isinstance(shape, list) and len(shape) == len(spec.shape) and spec.ranked:
        for size, wanted in zip(shape, spec.shape, strict=True):
            if type(size) is not int or size < 0 or wanted not in (size, -1):
                break
        else:
            return tuple(shape) if 0 not in shape else _empty(tuple(shape), spec)
    elif not spec.ranked and isinstance(shape, list) and len(shape) <= _DEEPEST:
        if all(type(size) is int and size >= 0 for size in shape):
            return _empty(tuple(shape), spec)
        raise wrong(spec, f"shape {shown(shape)} came, a list of sizes is expected")
    given = '"shape" is missing' if shape is None else f"shape {shown(shape)} came"
    raise wrong(spec, f"{given}, {spec.expected()} is expected", " (-1: any size of 0 and more)")


def _empty(shape: Shape, spec: TensorSpec) -> Shape:
    if 0 in shape and prod(size for size in shape if size) > _MOST_OF_EMPTY:
        raise wrong(spec, f"shape {shown(list(shape))} came, which claims much and has no values")
    return shape


def cast(values: Array, spec: TensorSpec) -> Array:
    """Casts without ever changing a value's kind; numpy alone would take "1.5" and true for numbers.

    Raises:
        RejectError: the values are of another kind, or out of range; names the input.
    """
    dtype = NUMPY[spec.datatype]
    kind, wanted = values.dtype.kind, dtype.kind
    if wanted == "O":
        return _strings(values, spec)
    if values.size == 0:
        return values.astype(dtype)
    if wanted == "f":
        if kind == "O" and all(value is None or type(value) in (int, float) for value in values.flat):
            values, kind = values.astype(np.float64), "f"
        if kind in "fiu":
            return narrowed(values, dtype, spec)
    elif wanted == kind == "b":
        return values
    elif wanted in "iu" and (kind in "iu" or (kind == "O" and all(type(value) is int for value in values.flat))):
        limits = np.iinfo(dtype)
        low, high = int(values.min()), int(values.max())
        if low < limits.min or high > limits.max:
            raise outside(low if low < limits.min else high, spec)
        return values.astype(dtype)
    raise wrong(spec, f"{_told(values)} came, {EXPECTED[wanted]} are expected for {spec.datatype}")


def narrowed(values: Array, dtype: np.dtype[Any], spec: TensorSpec) -> Array:
    """Numbers as floats of a type, which none of them overflows.

    Raises:
        RejectError: one does.
    """
    try:
        with np.errstate(over="raise"):
            return values.astype(dtype)
    except FloatingPointError:
        raise beyond(float(np.abs(values[np.isfinite(values)]).max()), dtype, spec) from None


def outside(value: int, spec: TensorSpec) -> RejectError:
    """The refusal of an integer that its datatype does not hold."""
    limits = np.iinfo(NUMPY[spec.datatype])
    return wrong(spec, f"{shown(value, 40)} came, {spec.datatype} takes {limits.min} to {limits.max}")


def beyond(most: float, dtype: np.dtype[Any], spec: TensorSpec) -> RejectError:
    """The refusal of a number that its datatype does not hold."""
    return wrong(spec, f"{most:g} came, {spec.datatype} has no number beyond {np.finfo(dtype).max:g}")


def _strings(values: Array, spec: TensorSpec) -> Array:
    for value in values.flat:
        if type(value) is not str:
            raise wrong(spec, f"{shown(value, 40)} came, strings are expected for BYTES")
    return values


def _told(values: Array) -> str:
    names = {"b": "true or false", "f": "fractional numbers", "i": "integers", "u": "integers", "U": "strings"}
    return names.get(values.dtype.kind, "mixed values")


def wrong(spec: TensorSpec, sentence: str, after: str = "") -> RejectError:
    """The refusal of what came for an input."""
    return RejectError(f"input {shown(spec.name, 80)}: {sentence}{after}", reason="BadTensor")


def from_output(value: Any) -> OutputTensor:
    """An output of ONNX Runtime as a tensor."""
    if isinstance(value, list):
        classes = list(value[0]) if value else []
        return OutputTensor(np.array([[row[name] for name in classes] for row in value], dtype=np.float32), classes)
    return OutputTensor(value)
