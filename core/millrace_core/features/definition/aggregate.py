"""Aggregates, compiled, and their exact meaning.

The value of an aggregate at T is its function over the entity's rows with an event time in ``(g - window, g]``, where g
is the latest multiple of the view's grid (``every``, counted from 1970 UTC, also before it) that is not after T.
Training and materialization both use g, so both see the same events. Every row of the window counts as an event: rows
of equal event times do not replace each other. With ``created_cutoff`` only rows with a created time at or before T
count. ``ttl`` does not matter.

====================  =====================================  ===========================================================
function              type: from a column of                 value
====================  =====================================  ===========================================================
count                 int64: any                             non-null values; without ``column``, rows
count_distinct        int64: bool, numbers, strings, bytes,  different non-null values, exactly; all NaN are one value,
                      timestamps                             and -0.0 is 0.0
sum                   int64: integers;                       the exact sum, rounded once; int64 must hold it
                      float64, float32: numbers
mean                  float64, float32: numbers              the sum as float64, divided by how many there are
var, stddev           float64, float32: numbers              of the sample (n - 1): the exact variance, rounded once,
                                                             and its square root; null below two values
min, max              numbers, timestamp: the same           NaN is greater than all numbers; -0.0 becomes 0.0
approx_percentile     float64, float32: numbers              the value of rank ceil(quantile x n), at least 1: exact, by
                                                             nearest rank, so always one of the values
first, last           any: the same                          by event time, then created time (null lowest), then the
                                                             source's order; -0.0 and NaN as they are
====================  =====================================  ===========================================================

A column of numbers whose aggregate is a float is read as float64. Every function skips nulls. In a window without a
(non-null) value count, count_distinct and sum are 0, and the others are null. So it is for an entity without a row in
the window, or in the view. A null join key is no entity, and all its values are null. In sums, means and variances NaN,
or infinities of both signs, make NaN. An infinity makes a sum and a mean infinite, and a variance NaN.

Exact means that the value depends only on the set of values in the window, not on order, batches, threads or machines.
That is why training, materialization and any other way of computing agree to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from millrace_core.api.feature import AggregateFunction, AggregateSpec, FeatureSpec, FeatureType
from millrace_core.api.featureview import FeatureViewSpec
from millrace_core.base import duration
from millrace_core.base.errors import RejectError

# Grids to try, in this order, where the view names none.
_GRIDS: Final = ("1h", "15m", "5m", "1m")
# About 36,000 years, so that the sum of a time and a window fits into 64 bits.
_LONGEST: Final = 2**60

_FLOATS: Final = ("float64", "float32")
_NUMBERS: Final = ("int32", "int64", *_FLOATS)
# Types that an aggregate may have; None is any.
_TYPES: Final[Mapping[AggregateFunction, tuple[str, ...] | None]] = {
    "count": ("int64",),
    "count_distinct": ("int64",),
    "sum": ("float64", "float32", "int64"),
    "mean": _FLOATS,
    "var": _FLOATS,
    "stddev": _FLOATS,
    "approx_percentile": _FLOATS,
    "min": (*_NUMBERS, "timestamp"),
    "max": (*_NUMBERS, "timestamp"),
    "first": None,
    "last": None,
}


@dataclass(frozen=True)
class Aggregate:
    """A compiled aggregate; ``window`` and ``every`` (the grid) are microseconds."""

    function: AggregateFunction
    column: str | None
    window: int
    every: int
    quantile: float | None = None

    @property
    def meaning(self) -> str:
        """A text that changes whenever the aggregate's values could, its type aside."""
        quantile = "" if self.quantile is None else f", {self.quantile!r}"
        return f"{self.function}({self.column or '*'}{quantile}) over {self.window}us by {self.every}us"

    def read_as(self, declared: FeatureType) -> FeatureType | None:
        """The type as which the column is read for an aggregate of the declared type; None: the column's own."""
        match self.function:
            case "count" | "count_distinct":
                return None
            case "min" | "max" | "first" | "last":
                return declared
            case _:
                return "int64" if declared == "int64" else "float64"

    def grid(self, moment: int) -> int:
        """The latest moment of the grid that is not after ``moment``."""
        return moment // self.every * self.every


def compile_aggregates(spec: FeatureViewSpec) -> dict[str, Aggregate]:
    """The view's aggregates by feature.

    Raises:
        RejectError: an aggregate has no meaning; names the field and the token at fault.
    """
    windows = {index: _window(index, f.aggregate) for index, f in enumerate(spec.features) if f.aggregate is not None}
    every = _grid(spec, windows)
    compiled = {}
    for index, feature in enumerate(spec.features):
        if feature.aggregate is not None:
            _check(feature, feature.aggregate, f"spec.features[{index}]")
            spec_of = feature.aggregate
            compiled[feature.name] = Aggregate(
                spec_of.function, spec_of.column, windows[index], every, spec_of.quantile
            )
    return compiled


def _window(index: int, aggregate: AggregateSpec) -> int:
    return _duration(aggregate.window, f"spec.features[{index}].aggregate.window")


def _duration(text: str, field: str) -> int:
    value = duration.microseconds(text, field=field)
    if not 0 < value <= _LONGEST:
        raise RejectError(f"{text!r} is no duration between 1ms and 36,000 years", field=field)
    return value


def _grid(spec: FeatureViewSpec, windows: Mapping[int, int]) -> int:
    stated = spec.aggregation and spec.aggregation.every
    if not windows:
        if spec.aggregation is not None:
            raise RejectError("the view has no aggregate", hint="Leave spec.aggregation out", field="spec.aggregation")
        return 1
    if stated:
        every = _duration(stated, "spec.aggregation.every")
        for index, window in windows.items():
            if window % every:
                raise RejectError(
                    f"{_shown(spec, index)!r} is no multiple of the grid {stated!r} (spec.aggregation.every)",
                    hint="Choose a window that is, or a finer grid",
                    field=f"spec.features[{index}].aggregate.window",
                )
        return every
    for grid in _GRIDS:
        every = duration.microseconds(grid)
        if not any(window % every for window in windows.values()):
            return every
    odd = next(index for index, window in windows.items() if window % every)
    raise RejectError(
        f"{_shown(spec, odd)!r} is no multiple of any of {', '.join(_GRIDS)}",
        hint="Choose a window that is, or set spec.aggregation.every to a grid that divides all windows",
        field=f"spec.features[{odd}].aggregate.window",
    )


def _shown(spec: FeatureViewSpec, index: int) -> str:
    aggregate = spec.features[index].aggregate
    return aggregate.window if aggregate else ""


def _check(feature: FeatureSpec, aggregate: AggregateSpec, field: str) -> None:
    function = aggregate.function
    if feature.column is not None:
        raise RejectError(
            f"{feature.name!r} has both a column ({feature.column!r}) and an aggregate",
            hint="Say the column in aggregate.column, or leave one of the two out",
            field=f"{field}.column",
        )
    if aggregate.column is None and function != "count":
        raise RejectError(
            f"{function!r} needs a column", hint="Name the source column", field=f"{field}.aggregate.column"
        )
    if (aggregate.quantile is None) == (function == "approx_percentile"):
        missing = aggregate.quantile is None
        raise RejectError(
            f"{function!r} needs a quantile" if missing else f"{aggregate.quantile!r} came; {function!r} takes none",
            hint="0.5 is the median" if missing else "Leave it out",
            field=f"{field}.aggregate.quantile",
        )
    types = _TYPES[function]
    if types is not None and feature.type not in types:
        raise RejectError(
            f"{function!r} is no {feature.type}", hint=f"It can be {_listed(types)}", field=f"{field}.type"
        )


def _listed(types: Iterable[str]) -> str:
    *first, last = types
    return f"{', '.join(first)} or {last}" if first else last
