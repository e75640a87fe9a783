"""Tensors as bytes: little-endian values in row-major order, BYTES as a uint32 length before each text.

The form of the binary tensor data extension over HTTP, and of ``raw_input_contents`` and ``raw_output_contents`` over
gRPC (https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/extension_binary_data.md).
"""

from __future__ import annotations

from itertools import chain
from math import prod
from struct import Struct
from typing import Any, Final

import numpy as np

from millrace_services.inference.tensors import STORED, Array, Shape, TensorSpec, wrong

_LITTLE: Final = {name: dtype.newbyteorder("<") for name, dtype in STORED.items()}
_LENGTH: Final = Struct("<I")


def from_bytes(content: memoryview, shape: Shape, spec: TensorSpec) -> Array:
    """A tensor over the bytes themselves, which are copied only where its values do not lie at their addresses.

    Args:
        shape: checked before.

    Raises:
        RejectError: there are more or fewer bytes than the shape takes, or they are no values; names the input.
    """
    count = prod(shape)
    if spec.datatype == "BYTES":
        return _texts(content, count, shape, spec)
    dtype = _LITTLE[spec.datatype]
    if len(content) != count * dtype.itemsize:
        raise wrong(
            spec, f"{len(content)} bytes came, shape {list(shape)} of {spec.datatype} takes {count * dtype.itemsize}"
        )
    values = np.frombuffer(content, dtype)
    if not values.flags.aligned:  # what native code makes of them is undefined
        values = values.copy()
    if spec.datatype == "BOOL" and count and values.view(np.uint8).max() > 1:
        raise wrong(spec, f"the byte {values.view(np.uint8).max()} came, 0 and 1 are expected for BOOL")
    return values.astype(STORED[spec.datatype], copy=False).reshape(shape)


def to_bytes(values: Array, datatype: str) -> Any:
    """An output's values as an object of bytes; of a tensor that lies in order and is no BYTES, without a copy."""
    if datatype == "BYTES":
        texts = [text.encode() for text in values.ravel().tolist()]
        return b"".join(chain.from_iterable((_LENGTH.pack(len(text)), text) for text in texts))
    ordered = np.ascontiguousarray(values, _LITTLE[datatype])
    return ordered.reshape(-1).view(np.uint8).data


def _texts(content: memoryview, count: int, shape: Shape, spec: TensorSpec) -> Array:
    end, offset = len(content), 0
    if count * _LENGTH.size > end:  # before there is an array of so many
        raise wrong(spec, f"{end} bytes came, {count} texts take at least {count * _LENGTH.size} with their lengths")
    texts = np.empty(count, object)
    for number in range(count):
        if end - offset < _LENGTH.size:
            raise wrong(spec, f"the bytes end before the length of text {number} of {count}")
        (length,) = _LENGTH.unpack_from(content, offset)
        offset += _LENGTH.size
        if length > end - offset:
            raise wrong(spec, f"text {number} claims {length} bytes, {end - offset} are left")
        try:
            texts[number] = str(content[offset : offset + length], "utf-8")
        except UnicodeDecodeError:
            raise wrong(spec, f"text {number} is no UTF-8, which strings of ONNX are") from None
        offset += length
    if offset != end:
        raise wrong(spec, f"{end - offset} bytes are left after {count} texts")
    return texts.reshape(shape)
