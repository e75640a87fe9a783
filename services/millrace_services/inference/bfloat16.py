"""BF16, which numpy has not: the upper half of a float32's bits, kept as ``uint16``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def to_float32(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """The numbers, exactly."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def from_float32(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The nearest numbers of BF16, of two as near the one whose last bit is 0; a NaN stays one."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16
    return np.where(np.isnan(values), (bits >> 16) | 0x40, rounded).astype(np.uint16)
