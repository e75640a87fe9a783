"""The aggregate functions over windows of events (``definition/aggregate.py`` has their meaning).

Events are sorted by entity and time, so a window is a range of consecutive events. Every function is a query about such
ranges (``exact_sums``, ``range_queries``), and its cost does not depend on how many events a window holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from functools import cached_property
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace_core.base.errors import RejectError
from millrace_core.features.definition.aggregate import Aggregate
from millrace_core.features.definition.definition import Feature, SourceColumn
from millrace_core.features.types.arrow_numpy import Numbers
from millrace_core.features.types.conform import ARROW
from millrace_core.features.windows import range_queries
from millrace_core.features.windows.exact_sums import RunningMoments, RunningSums, RunningWholes

# Earlier moments (146,000 years ago) count as this one, so that the beginning of a window fits into 64 bits.
EARLIEST: Final = -(2**62)


class Events(NamedTuple):
    """Events of some entities, sorted by entity, event time, created time and order in the source.

    ``begins`` has the first event of each entity, and at the end the number of events; ``times`` are event times.
    """

    begins: Numbers
    times: Numbers
    values: Mapping[SourceColumn, pa.Array]


def grid_of(moments: Numbers, every: int) -> Numbers:
    """The latest moment of the grid at or before each."""
    return np.maximum(moments, EARLIEST) // every * every


def evaluate(features: Sequence[Feature], events: Events, entities: Numbers, grid: Numbers) -> list[pa.Array]:
    """Aggregates of entities at moments.

    Args:
        features: all of them aggregates.
        events: the entities' events, as far as the windows reach.
        entities: numbers of entities in ``events``.
        grid: for each of them a moment of the grid.

    Raises:
        RejectError: a sum does not fit into its type.
    """
    wanted = [(feature, feature.aggregate) for feature in features if feature.aggregate]
    windows = _Windows({aggregate.window for _, aggregate in wanted}, events, entities, grid)
    return [windows.value(feature, aggregate) for feature, aggregate in wanted]


class _Windows:
    def __init__(self, windows: Iterable[int], events: Events, entities: Numbers, grid: Numbers) -> None:
        begin, end, times = events.begins[entities], events.begins[entities + 1], events.times
        self._values = events.values
        self._high = range_queries.first_above(times, begin, end, grid)
        self._low = {window: range_queries.first_above(times, begin, self._high, grid - window) for window in windows}
        self._columns: dict[SourceColumn, _Column] = {}

    def value(self, feature: Feature, aggregate: Aggregate) -> pa.Array:
        if feature.source_column is None:
            return pa.array(self._high - self._low[aggregate.window])
        if feature.source_column not in self._columns:
            self._columns[feature.source_column] = _Column(self._values[feature.source_column], self._low, self._high)
        column = self._columns[feature.source_column]
        low, high = column.low[aggregate.window], column.high
        if aggregate.function in ("first", "last"):
            place = low if aggregate.function == "first" else high - 1
            return column.present.take(pa.array(place, mask=low == high)).cast(ARROW[feature.type])
        few = _FEWEST.get(aggregate.function, 0)
        with np.errstate(all="ignore"):
            values = _VALUES[aggregate.function](_WindowRanges(feature, aggregate, column, low, high))
            values = values.astype(_NUMPY.get(feature.type, np.int64))
        return pa.array(values, mask=high - low < few if few else None).cast(ARROW[feature.type])


_NUMPY: Final[Mapping[str, Any]] = {"float64": np.float64, "float32": np.float32, "int32": np.int32}
# With fewer values the aggregate is null.
_FEWEST: Final = {"mean": 1, "min": 1, "max": 1, "approx_percentile": 1, "var": 2, "stddev": 2}


class _WindowRanges(NamedTuple):
    """The windows of one aggregate as ranges of a column: ``low`` inclusive, ``high`` exclusive."""

    feature: Feature
    aggregate: Aggregate
    column: _Column
    low: Numbers
    high: Numbers

    @property
    def pieces(self) -> tuple[Numbers, Numbers]:
        """The same ranges, counted in pieces of the column."""
        return self.column.pieces.number(self.low), self.column.pieces.number(self.high)


def _sum(of: _WindowRanges) -> Any:
    if of.feature.type != "int64":
        return of.column.sums(of)
    sums, fit = of.column.wholes.between(*of.pieces)
    if not fit:
        raise _too_large(of.feature, of.aggregate)
    return sums


_VALUES: Final[Mapping[str, Callable[[_WindowRanges], Any]]] = {
    "count": lambda of: of.high - of.low,
    "count_distinct": lambda of: range_queries.count_below(of.column.earlier_equal, of.low, of.high, of.low + 1),
    "sum": _sum,
    "mean": lambda of: of.column.sums(of) / (of.high - of.low),
    "var": lambda of: of.column.variances(of),
    "stddev": lambda of: np.sqrt(of.column.variances(of)),
    "min": lambda of: range_queries.extremes(of.column.pieces.each(np.fmin, of.column.numbers), np.fmin, *of.pieces),
    "max": lambda of: range_queries.extremes(
        of.column.pieces.each(np.maximum, of.column.numbers), np.maximum, *of.pieces
    ),
    "approx_percentile": lambda of: of.column.quantiles(of.aggregate.quantile or 0.0, of.low, of.high),
}


class _Column:
    """The values of a column that are not null, and what has been computed of them so far.

    Attributes:
        present: the values.
        low: the beginnings of the ranges, by length of window.
        high: the ends of the ranges, the same for all windows.
    """

    def __init__(self, values: pa.Array, low: Mapping[int, Numbers], high: Numbers) -> None:
        self.present = values.drop_null()
        self.low, self.high = low, high
        if values.null_count:
            before = np.concatenate([[0], np.cumsum(values.is_valid().to_numpy(zero_copy_only=False))])
            self.low, self.high = {window: before[each] for window, each in low.items()}, before[high]

    @cached_property
    def pieces(self) -> range_queries.Partition:
        return range_queries.Partition(len(self.present), [*self.low.values(), self.high])

    @cached_property
    def numbers(self) -> Any:
        """The values with one bit pattern for all NaN, and without negative zero."""
        values = self.present
        if pa.types.is_timestamp(values.type):
            values = values.cast(pa.int64())
        numbers = values.to_numpy()
        if numbers.dtype.kind == "f":
            odd = np.isnan(numbers)
            numbers = numbers + 0.0
            numbers[odd] = np.nan
        return numbers

    @cached_property
    def earlier_equal(self) -> Numbers:
        codes = self.present.dictionary_encode().indices
        return range_queries.earlier_equal(codes.to_numpy().astype(np.int64))

    @cached_property
    def wholes(self) -> RunningWholes:
        return RunningWholes(self.numbers, self.pieces.cuts)

    @cached_property
    def _finite(self) -> Any:
        return np.where(np.isfinite(self.numbers), self.numbers, 0.0) if self._odd else self.numbers

    @cached_property
    def _odd(self) -> list[Numbers]:
        """Running counts of NaN, of infinities and of negative infinities; empty where there are none of them."""
        numbers = self.numbers
        if np.isfinite(numbers).all():
            return []
        found = (np.isnan(numbers), numbers == np.inf, numbers == -np.inf)
        return [np.concatenate([[0], np.cumsum(each)]) for each in found]

    @cached_property
    def _running_sums(self) -> RunningSums:
        return RunningSums(self._finite, self.pieces.cuts)

    @cached_property
    def _moments(self) -> RunningMoments:
        return RunningMoments(self._finite, self.pieces.cuts, self._running_sums)

    def sums(self, of: _WindowRanges) -> Any:
        sums = self._running_sums.between(*of.pieces).rounded()
        if self._odd:
            nan, above, below = (count[of.high] > count[of.low] for count in self._odd)
            sums[above], sums[below] = np.inf, -np.inf
            sums[nan | (above & below)] = np.nan
        return sums

    def variances(self, of: _WindowRanges) -> Any:
        variances = self._moments.variances(*of.pieces)
        for count in self._odd:
            variances[count[of.high] > count[of.low]] = np.nan
        return variances

    @cached_property
    def _ranked(self) -> Any:
        return np.unique(self.numbers, return_inverse=True)

    def quantiles(self, quantile: float, low: Numbers, high: Numbers) -> Any:
        """By nearest rank. Of an empty range the result is arbitrary."""
        values, ranks = self._ranked
        if not len(values):
            return np.zeros(len(low))
        counts, which = np.unique(high - low, return_inverse=True)
        exactly = Fraction(repr(quantile))  # 0.07 of 100 values is the 7th, but the double 0.07 is a little more
        places = np.array([max(-(-exactly * int(count) // 1), 1) - 1 for count in counts], np.int64)[which]
        return values[np.minimum(range_queries.smallest(ranks, low, high, places), len(values) - 1)]


def comparable(values: pa.Array) -> pa.Array:
    """A column in which equal values have equal bits, for ``count_distinct``."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        return comparable(values.dictionary_decode())
    if pa.types.is_floating(kind):
        values = values.cast(pa.float64())
        return pc.if_else(pc.is_nan(values), np.nan, pc.add(values, 0.0))
    if pa.types.is_temporal(kind):
        return values.cast(pa.int32() if pa.types.is_date32(kind) or pa.types.is_time32(kind) else pa.int64())
    return values


def _too_large(feature: Feature, aggregate: Aggregate) -> RejectError:
    return RejectError(
        f"a sum of column {aggregate.column!r} is beyond 64 bits",
        hint="Declare the feature as float64",
        field=f"spec.features[{feature.name}]",
        reason="ValueOutOfRange",
    )
