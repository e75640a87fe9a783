"""Whether requests may share a run of a model: what its signature says, and then what it does with two rows.

A model may take any number of rows and still mix them: a softmax over the wrong axis, a scale taken from all values,
a layer that knows the row before. So two different rows are run apart and together, in both orders, and compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from millrace_core.base.errors import MillraceError
from millrace_services.inference.tensors import NUMPY, Array, OutputTensor, TensorSpec

# How far outputs of a row may lie apart, by the size of their element: libraries sum in another order where there are
# more rows. Relative to the greatest value of the row's output.
_APART: Final = {2: 1e-2, 4: 1e-4, 8: 1e-8}
# The second row's values are this much greater, so that a scale shared by all rows shows.
_GREATER: Final = 16.0
_MIXED: Final = "a row of it gives something else beside another row than it gives alone"

Axis = int | str | None
Run = Callable[[dict[str, Array]], Sequence[OutputTensor]]


def fixed_axis(axes: Iterable[tuple[str, Sequence[Axis] | None]]) -> str:
    """Why the first dimensions of inputs and outputs cannot be one batch axis; empty where they can.

    Args:
        axes: name and shape of each, a shape as ONNX Runtime has it (a name or None where a size is open); None where
            it is a list with one entry per row.
    """
    names: dict[str, str] = {}
    for name, shape in axes:
        if shape is None:
            continue
        if not shape:
            return f"{name!r} has no dimensions, so none for rows"
        first = shape[0]
        if isinstance(first, int):
            return f"the first dimension of {name!r} is fixed at {first}"
        if first:
            names.setdefault(first, name)
    if len(names) > 1:
        (one, where), (other, there), *_ = names.items()
        return f"the first dimension of {where!r} is {one!r}, that of {there!r} is {other!r}"
    return ""


def mixed_rows(run: Run, specs: Mapping[str, TensorSpec]) -> str:
    """Why rows of different requests must not share a run; empty where two rows gave together what they gave apart.

    Args:
        run: all outputs of the model for its inputs by name.
        specs: the inputs, at least one.
    """
    try:
        return "" if all(_keep_apart(run, specs, sign) for sign in (1, -1)) else _MIXED
    except MillraceError as error:
        return f"it does not run on the two rows that would prove it: {error}"


def _keep_apart(run: Run, specs: Mapping[str, TensorSpec], sign: int) -> bool:
    draw = np.random.default_rng(0)
    rows = [{name: _row(spec, scale, draw) for name, spec in specs.items()} for scale in (1.0, sign * _GREATER)]
    apart = [run(row) for row in rows]
    for order in ((0, 1), (1, 0)):
        both = run({name: np.concatenate([rows[number][name] for number in order]) for name in specs})
        for place, number in enumerate(order):
            if not all(_same_row(pair, place, alone) for pair, alone in zip(both, apart[number], strict=True)):
                return False
    return True


def _row(spec: TensorSpec, scale: float, draw: np.random.Generator) -> Array:
    """One of two rows that differ everywhere: floats around 0, else 0 or 1, false or true, an empty string or ``a``."""
    second = scale != 1.0
    shape = (1, *(max(size, 1) for size in spec.shape[1:]))
    if spec.datatype == "BYTES":
        return np.full(shape, "a" if second else "", dtype=object)
    dtype = NUMPY.get(spec.datatype, np.dtype(np.float16))
    if dtype.kind != "f":
        return np.full(shape, second, dtype)
    return (draw.normal(size=shape) * scale).astype(dtype)


def _same_row(both: OutputTensor, place: int, alone: OutputTensor) -> bool:
    pair, one = both.values, alone.values
    if pair.shape[:1] != (2,) or one.shape[:1] != (1,) or pair.shape[1:] != one.shape[1:]:
        return False
    found, expected = pair[place], one[0]
    if expected.dtype.kind != "f":
        return bool((found == expected).all())
    return _close(found, expected)


def _close(found: Any, expected: Any) -> bool:
    near = _APART.get(expected.dtype.itemsize, 0.0)
    finite = expected[np.isfinite(expected)]
    greatest = float(np.abs(finite.astype(np.float64)).max()) if finite.size else 0.0
    return bool(np.allclose(found, expected, rtol=0, atol=near * greatest, equal_nan=True))
