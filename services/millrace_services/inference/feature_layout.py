"""How features become a model's inputs: which takes which, whether types and numbers fit, and the tensors. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from millrace_core.api import feature_reference
from millrace_core.base.errors import RejectError, ReportError
from millrace_services.inference.settings import FeatureSettings
from millrace_services.inference.signature import Signature
from millrace_services.inference.tensors import NUMPY, Array, TensorSpec, cast

# Which input takes which features, in order.
Layout = Mapping[str, tuple[TensorSpec, list[str]]]

_MATRIX: Final = 2
_NUMBERS: Final = frozenset({"bool", "int32", "int64", "float32", "float64"})
_INTEGERS: Final = frozenset({"bool", "int32", "int64"})
# Types of features, and of elements of arrays, that a kind of numpy's takes; JSON has times and bytes as texts.
_TAKES: Final = {
    "f": _NUMBERS,
    "i": _INTEGERS,
    "u": _INTEGERS,
    "b": frozenset({"bool"}),
    "O": frozenset({"string", "timestamp", "bytes"}),
}


def full_name(ref: str) -> str:
    """A feature's name in the gateway's answer: ``view__feature`` for ``view:feature``."""
    return feature_reference.parse(ref).full_name


def layout(settings: FeatureSettings, signature: Signature) -> Layout:
    """Which inputs receive which features, in order.

    One input takes all of them as rows of a matrix: the one named, or the model's only one. An array takes as many
    places of the row as it has elements, so one embedding may fill the row, or stand beside scalars. A model with
    several inputs and none named has one per feature, called like the feature, or ``view__feature`` where two views
    have one feature name.

    Raises:
        RejectError: no such input, or one too narrow for the features (``BadFeatures``).
    """
    inputs, refs = signature.inputs, settings.refs
    named = settings.input
    if named is not None and named not in inputs:
        raise _bad(f"the model has no input {named!r}, it has {', '.join(inputs)}", "spec.features.input")
    if named is None and len(inputs) == 1:
        (named,) = inputs
    for spec in inputs.values():
        if spec.datatype not in NUMPY:
            raise _bad(f"input {spec.name!r} takes {spec.datatype}, which features have no values for", "spec.features")
    if named is None:
        return _by_input(refs, signature)
    spec = inputs[named]
    # A wider input may be meant for arrays, whose lengths only their values tell.
    if len(spec.shape) != _MATRIX or -1 < spec.shape[1] < len(refs):
        raise _bad(
            f"{len(refs)} features make rows of at least {len(refs)} values, the model's input {named!r} takes "
            f"{list(spec.shape)}",
            "spec.features.refs",
        )
    return {named: (spec, list(refs))}


def prove(wanted: Layout, types: Mapping[str, str]) -> None:
    """Checks the features against the inputs by their types; the lengths of arrays, only their values tell.

    Args:
        types: of each feature by full name, as its view declares it, such as ``float64`` or ``array<float32>``.

    Raises:
        RejectError: values of a type that the input does not take, or more or fewer than it takes (``BadFeatures``).
    """
    for spec, refs in wanted.values():
        arrays = 0
        for ref in refs:
            declared = types[full_name(ref)]
            element = declared.removeprefix("array<").removesuffix(">")
            arrays += element != declared
            if element not in _TAKES[NUMPY[spec.datatype].kind]:
                raise _bad(
                    f"the feature {ref} is of type {declared}, the model's input {spec.name!r} takes {spec.datatype}",
                    "spec.features.refs",
                )
        width = spec.shape[1] if len(spec.shape) == _MATRIX else 1
        if not arrays and width not in (-1, len(refs)):
            raise _bad(
                f"{len(refs)} features of one value each are named, the model's input {spec.name!r} takes rows of "
                f"{width} values: {list(spec.shape)}",
                "spec.features.refs",
            )


def _by_input(refs: Sequence[str], signature: Signature) -> Layout:
    wanted: dict[str, tuple[TensorSpec, list[str]]] = {}
    for ref in refs:
        spec = _own_input(ref, signature)
        _, others = wanted.setdefault(spec.name, (spec, [ref]))
        if others != [ref]:
            raise _bad(f"{others[0]} and {ref} would both fill the model's input {spec.name!r}", "spec.features.refs")
    return wanted


def _own_input(ref: str, signature: Signature) -> TensorSpec:
    short = feature_reference.parse(ref).feature
    spec = signature.inputs.get(full_name(ref)) or signature.inputs.get(short)
    if spec is None:
        raise _bad(
            f"the model has no input {short!r} for {ref}, it has {', '.join(signature.inputs)}", "spec.features.refs"
        )
    if len(spec.shape) not in (1, _MATRIX) or spec.shape[0] != -1:
        raise _bad(
            f"input {spec.name!r} takes {list(spec.shape)}, one value or one array per row is what {ref} gives",
            "spec.features.refs",
        )
    return spec


def tensor(spec: TensorSpec, refs: Sequence[str], columns: Mapping[str, list[Any]]) -> Array:
    """An input made of columns of features, as the gateway's JSON has them; None is a missing value.

    Raises:
        ReportError: the values are not of the input's type, or do not fill it (``BadFeatures``).
    """
    kind = NUMPY[spec.datatype].kind
    by_place = _by_place(spec, refs, columns)
    default = _DEFAULTS[kind]
    rows = [[default if value is None else value for value in place] for place in by_place]
    values = np.array(rows, dtype=object if kind == "O" else None)
    if kind == "f" and values.dtype.kind == "U":
        values = np.array([[_NOT_FINITE.get(value, value) for value in row] for row in rows])
    if kind != "b" and values.dtype.kind == "b":
        values = values.astype(np.uint8)
    try:
        by_row = cast(values, spec).T
    except RejectError as error:
        raise _misfit(refs, str(error)) from error
    return np.ascontiguousarray(by_row if len(spec.shape) == _MATRIX else by_row[:, 0])


def _by_place(spec: TensorSpec, refs: Sequence[str], columns: Mapping[str, list[Any]]) -> list[Sequence[Any]]:
    """The values of each place of the rows: a scalar has one, an array one per element."""
    width = spec.shape[1] if len(spec.shape) == _MATRIX else 1
    made = {ref: _elements(ref, columns[ref]) if list in map(type, columns[ref]) else [columns[ref]] for ref in refs}
    missing = width - sum(map(len, made.values()))
    if missing and width != -1:
        # A feature without any value may be one of arrays: as long as the others leave room.
        nothing = [ref for ref in refs if columns[ref].count(None) == len(columns[ref])]
        if missing < 0 or len(nothing) != 1:
            raise _misfit(refs, f"they make rows of {width - missing} values, input {spec.name!r} takes {width}")
        made[nothing[0]] *= missing + 1
    return [place for ref in refs for place in made[ref]]


def _elements(ref: str, column: list[Any]) -> list[Sequence[Any]]:
    lengths = {len(value) for value in column if value is not None}
    if len(lengths) > 1:
        raise _misfit([ref], f"its arrays have different lengths: {', '.join(map(str, sorted(lengths)))}")
    nothing = (None,) * lengths.pop()
    return list(zip(*(nothing if value is None else value for value in column), strict=True))


def _misfit(refs: Sequence[str], why: str) -> ReportError:
    return ReportError(
        f"features {', '.join(refs)} do not fit the model: {why}", field="spec.features", reason="BadFeatures"
    )


# How the gateway writes floats that JSON has no number for.
_NOT_FINITE: Final = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
_DEFAULTS: Final[dict[str, Any]] = {"f": float("nan"), "i": 0, "u": 0, "b": False, "O": ""}


def _bad(sentence: str, field: str) -> RejectError:
    return RejectError(sentence, field=field, reason="BadFeatures")
