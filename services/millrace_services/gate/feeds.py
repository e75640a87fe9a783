"""Columns of the holdout as a model's inputs, as ``/predict`` lays features out.

A null becomes what a missing feature becomes there: NaN, 0, false or an empty string, by the input's type. Where the
spec says ``onMissing: fail`` no such request is answered, so no such row is judged either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace_core.api import feature_reference
from millrace_core.api.gates import Holdout
from millrace_core.base.errors import RejectError
from millrace_core.base.shown import listed
from millrace_services.gate.holdout import FIELD
from millrace_services.inference.settings import FeatureSettings
from millrace_services.inference.signature import Signature
from millrace_services.inference.tensors import NUMPY, Array, TensorSpec, cast

Feeds = dict[str, Array]
# By input: what the model says of it, and the columns that fill it.
Layout = Mapping[str, tuple[TensorSpec, Sequence[str]]]

_MATRIX: Final = 2
_DEFAULTS: Final[Mapping[str, Any]] = {"f": float("nan"), "i": 0, "u": 0, "b": False, "O": ""}


def layout(
    signature: Signature, holdout: Holdout, features: FeatureSettings | None, columns: Sequence[str], *, champion: bool
) -> Layout:
    """Which columns fill which inputs.

    Args:
        columns: that the file has.
        champion: whether this is the other model, whose own features come before the holdout's.

    Raises:
        RejectError: there is no column for an input.
    """
    inputs = signature.inputs
    of_refs = {ref: _column(ref, columns) for ref in features.refs} if features else {}
    others = [name for name in columns if name != holdout.label]
    rows = list(of_refs.values()) if of_refs and (champion or not holdout.features) else holdout.features or others
    whole = features.input if features and features.input else next(iter(inputs)) if len(inputs) == 1 else None
    if whole is not None and not of_refs and not holdout.features and whole in columns:
        rows = [whole]
    found: dict[str, tuple[TensorSpec, Sequence[str]]] = {}
    for name, spec in inputs.items():
        filled = rows if name == whole else [_of_input(name, of_refs, columns)]
        if spec.datatype not in NUMPY:
            raise RejectError(f"input {name!r} takes {spec.datatype}, which no column holds", field=FIELD)
        found[name] = (spec, filled)
    return found


def columns_of(laid_out: Layout) -> list[str]:
    """The columns that are read."""
    return [name for _, names in laid_out.values() for name in names]


def rows_at_once(laid_out: Layout, most: int) -> int:
    """How many rows one run takes.

    Raises:
        RejectError: the model takes a fixed number of them beyond one.
    """
    fixed = {spec.shape[0] for spec, _ in laid_out.values() if spec.shape and spec.shape[0] != -1}
    if not fixed:
        return most
    if fixed == {1}:
        return 1
    raise RejectError(
        f"the model takes {', '.join(map(str, sorted(fixed)))} rows at once; one or any number is what a holdout feeds",
        hint="Export it with an open first dimension",
        field="spec.model.uri",
    )


def feeds(laid_out: Layout, batch: pa.RecordBatch, *, nulls: bool) -> Feeds:
    """The inputs of the batch's rows.

    Args:
        nulls: whether a null becomes a default.

    Raises:
        RejectError: a column's values are not of the input's type or shape, or null where none may be.
    """
    return {name: _tensor(spec, batch, names, nulls=nulls) for name, (spec, names) in laid_out.items()}


def _tensor(spec: TensorSpec, batch: pa.RecordBatch, names: Sequence[str], *, nulls: bool) -> Array:
    kind = NUMPY[spec.datatype].kind
    arrays = [_values(batch.column(name), kind, name, nulls=nulls) for name in names]
    values = np.concatenate(
        [each if each.ndim == _MATRIX else each.reshape(len(each), 1) for each in arrays], axis=1, dtype=_common(arrays)
    )
    try:
        return _shaped(cast(values, spec), spec)
    except RejectError as error:
        raise RejectError(f"columns {listed(names, 5)} do not fit: {error}", field=FIELD) from error


def _values(column: pa.Array, kind: str, name: str, *, nulls: bool) -> Array:
    """[n] values, or [n, k] of a column of lists."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if column.null_count and not nulls:
        raise RejectError(
            f"column {name!r} has {column.null_count} nulls, and spec.features.onMissing is fail",
            hint="Leave those rows out of the holdout",
            field=FIELD,
        )
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type) or pa.types.is_fixed_size_list(column.type):
        return _lists(column, name)
    if kind == "O":
        return np.array([_DEFAULTS["O"] if value is None else value for value in column.to_pylist()], dtype=object)
    if pa.types.is_boolean(column.type):
        flags: Array = pc.fill_null(column, fill_value=False).to_numpy(zero_copy_only=False)
        return flags if kind == "b" else flags.astype(np.uint8)
    if column.null_count and kind in "iu":
        column = pc.fill_null(column, 0)
    values: Array = column.to_numpy(zero_copy_only=False)
    return values


def _lists(column: pa.Array, name: str) -> Array:
    try:
        return np.array(column.to_pylist(), dtype=None).reshape(len(column), -1)
    except ValueError as error:
        raise RejectError(f"column {name!r} holds lists of different lengths", field=FIELD) from error


def _common(arrays: Sequence[Array]) -> np.dtype[Any]:
    if any(each.dtype.kind in "OU" for each in arrays):
        return np.dtype(object)
    return np.result_type(*arrays)


def _shaped(values: Array, spec: TensorSpec) -> Array:
    """[n, k] values in the input's own shape."""
    if not spec.ranked:
        return values
    rows, open_sizes = len(values), sum(size == -1 for size in spec.shape[1:])
    if open_sizes > 1:
        raise RejectError(f"input {spec.name!r} takes {list(spec.shape)}, of which more than one size is open")
    shape = (rows, *spec.shape[1:])
    try:
        return np.ascontiguousarray(values.reshape(shape))
    except ValueError as error:
        raise RejectError(
            f"{values.shape[1]} values a row came, input {spec.name!r} takes {list(spec.shape)}"
        ) from error


def _column(ref: str, columns: Sequence[str]) -> str:
    """The column of a feature: view__feature, else feature."""
    meant = feature_reference.parse(ref)
    return meant.full_name if meant.full_name in columns else meant.feature


def _of_input(name: str, of_refs: Mapping[str, str], columns: Sequence[str]) -> str:
    for ref, column in of_refs.items():
        meant = feature_reference.parse(ref)
        if name in (meant.full_name, meant.feature):
            return column
    if name not in columns:
        raise RejectError(
            f"the holdout has no column for the model's input {name!r}; it has {listed(columns)}",
            field=FIELD,
        )
    return name
