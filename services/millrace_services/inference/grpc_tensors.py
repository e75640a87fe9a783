"""Tensors as typed ``contents`` of the Open Inference Protocol v2 over gRPC: a repeated field for each kind of values.

FP16 and BF16 have none, and come and go as raw bytes alone.
"""

from __future__ import annotations

from math import prod
from typing import Any, Final

import numpy as np

from millrace_services.inference.tensors import NUMPY, Array, Shape, TensorSpec, outside, wrong

# The field of each datatype; small integers come in that of 32 bits.
FIELDS: Final = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
# What the values of a field are, where its datatype is narrower.
_WIDE: Final = {"int_contents": np.dtype(np.int32), "uint_contents": np.dtype(np.uint32)}


def from_contents(contents: Any, shape: Shape, spec: TensorSpec) -> Array:
    """A tensor from an ``InferTensorContents``.

    Args:
        shape: checked before.

    Raises:
        RejectError: values of another kind, too few or too many of them, or one that is out of range; names the input.
    """
    field = FIELDS.get(spec.datatype)
    if field is None:
        raise wrong(
            spec,
            f"contents came, which the protocol has no field in for {spec.datatype}",
            "; send its bytes in raw_input_contents",
        )
    for found, _ in contents.ListFields():
        if found.name != field:
            raise wrong(spec, f"{found.name} came, {field} is expected for {spec.datatype}")
    values = getattr(contents, field)
    if len(values) != prod(shape):  # checked first, so that nothing is allocated for nothing
        raise wrong(spec, f"{len(values)} values came in {field}, shape {list(shape)} takes {prod(shape)}")
    if spec.datatype == "BYTES":
        return _texts(values, spec).reshape(shape)
    dtype = NUMPY[spec.datatype]
    wide = np.fromiter(values, _WIDE.get(field, dtype), len(values))
    if wide.dtype != dtype and wide.size:
        limits = np.iinfo(dtype)
        low, high = int(wide.min()), int(wide.max())
        if low < limits.min or high > limits.max:
            raise outside(low if low < limits.min else high, spec)
    return wide.astype(dtype, copy=False).reshape(shape)


def fill(contents: Any, values: Array, datatype: str) -> None:
    """Puts an output's values, in row-major order, into an ``InferTensorContents``."""
    flat = values.ravel().tolist()
    getattr(contents, FIELDS[datatype]).extend([text.encode() for text in flat] if datatype == "BYTES" else flat)


def _texts(values: Any, spec: TensorSpec) -> Array:
    texts = np.empty(len(values), object)
    for number, value in enumerate(values):
        try:
            texts[number] = value.decode()
        except UnicodeDecodeError:
            raise wrong(spec, f"text {number} is no UTF-8, which strings of ONNX are") from None
    return texts
