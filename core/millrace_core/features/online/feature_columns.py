"""What an online read gives: columns of values with statuses.

A value is one of:

- PRESENT;
- NULL_VALUE: the row's latest value is null;
- OUTSIDE_MAX_AGE: the row is older than the ttl, or newer than the moment of the read, so it is not visible;
- NOT_FOUND: there is no row, or it was written before the feature was defined as it is now.

Only PRESENT values are not None.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from millrace_core.features.definition.definition import Feature
from millrace_core.features.online.row import Value

PRESENT: Final = "PRESENT"
NULL_VALUE: Final = "NULL_VALUE"
NOT_FOUND: Final = "NOT_FOUND"
OUTSIDE_MAX_AGE: Final = "OUTSIDE_MAX_AGE"

# Stands for a feature that a row does not have.
ABSENT: Final = object()


class FeatureColumn(NamedTuple):
    """One feature of many entities; several columns may share one ``statuses`` object."""

    values: Sequence[Value]
    statuses: Sequence[str]


@dataclass
class FeatureColumns:
    """What was read of one view.

    Attributes:
        features: one column per wanted feature, in the order wanted; each as long as the rows.
        event_times: the rows' event times in microseconds; None where there is no row.
        unknown: schema ids of rows without a known layout; the values of these rows are NOT_FOUND.
        alike: whether all columns share one ``statuses`` object, and all of these are PRESENT.
        row_times: event times of the rows that row-bound features of snapshots come from; None where there are none.
        errors: for how many rows the expression of an on-demand feature failed, by feature; empty where none did.
    """

    features: list[FeatureColumn]
    event_times: Sequence[int | None]
    unknown: set[bytes] = field(default_factory=set)
    alike: bool = False
    row_times: Sequence[int | None] | None = None
    errors: Mapping[str, int] = field(default_factory=dict)

    def times_of(self, feature: Feature) -> Sequence[int | None]:
        """The event times of a feature's values."""
        of_rows = self.row_times is not None and feature.row_bound and not feature.on_demand
        return self.row_times or () if of_rows else self.event_times


def column_of(values: Sequence[Any], visible: Sequence[str]) -> FeatureColumn:
    """A column of values, where ``visible`` are the statuses of their rows. None is a null, ``ABSENT`` no value."""
    statuses = [
        status if status is not PRESENT else PRESENT if value is not None and value is not ABSENT else _why_not(value)
        for status, value in zip(visible, values, strict=True)
    ]
    return FeatureColumn(
        [value if status is PRESENT else None for status, value in zip(statuses, values, strict=True)], statuses
    )


def _why_not(value: Any) -> str:
    return NULL_VALUE if value is None else NOT_FOUND
