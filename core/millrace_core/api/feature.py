"""What the rows of a FeatureView hold: entities, features with their types, and how features are computed."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from millrace_core.api.base import ApiModel, ColumnName, Duration, Identifier, Rule
from millrace_core.api.source import Uri

EntityType = Literal["bool", "int32", "int64", "string", "bytes", "timestamp"]
ScalarType = Literal["bool", "int32", "int64", "float32", "float64", "string", "bytes", "timestamp"]
FeatureType = Literal[
    "bool",
    "int32",
    "int64",
    "float32",
    "float64",
    "string",
    "bytes",
    "timestamp",
    "array<bool>",
    "array<int32>",
    "array<int64>",
    "array<float32>",
    "array<float64>",
    "array<string>",
    "array<bytes>",
    "array<timestamp>",
]
_ELEMENTS: dict[FeatureType, ScalarType] = {
    "array<bool>": "bool",
    "array<int32>": "int32",
    "array<int64>": "int64",
    "array<float32>": "float32",
    "array<float64>": "float64",
    "array<string>": "string",
    "array<bytes>": "bytes",
    "array<timestamp>": "timestamp",
}


def element_type(declared: FeatureType) -> ScalarType | None:
    """The type of an array's elements; None where the type is no array."""
    return _ELEMENTS.get(declared)


class Entity(ApiModel):
    """One join key."""

    name: Identifier = Field(description="Name of the join key, and of its column in the source.")
    type: EntityType = Field(description="Type of the key. An int32 and an int64 of equal value are one key.")


AggregateFunction = Literal[
    "count",
    "count_distinct",
    "sum",
    "mean",
    "min",
    "max",
    "stddev",
    "var",
    "first",
    "last",
    "approx_percentile",
]


class AggregateSpec(ApiModel):
    """A function over the rows of an entity within a window that ends on the view's time grid."""

    function: AggregateFunction = Field(
        description="stddev and var are those of a sample; first and last are by event time; nulls are skipped."
    )
    column: ColumnName | None = Field(
        default=None, description="Source column. Only count goes without one: it counts rows then."
    )
    window: Duration = Field(description="How far the window reaches back from the grid's latest moment, exclusive.")
    quantile: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=None, description="Of approx_percentile alone: 0 is the least value, 0.5 the median, 1 the greatest."
    )

    # `function` is a reserved word of CEL, which Kubernetes escapes so.
    rules: ClassVar = (
        Rule(
            "has(self.column) || self.__function__ == 'count'",
            "aggregate.column is required for every function but count; name the source column",
        ),
        Rule(
            "has(self.quantile) == (self.__function__ == 'approx_percentile')",
            "aggregate.quantile belongs to approx_percentile, which needs it, and to no other function",
        ),
    )


class FeatureSpec(ApiModel):
    """One feature: a column of the source, an aggregate of one, or an expression, under a name and type of its own."""

    name: Identifier = Field(description="Name of the feature, unique in the view.")
    type: FeatureType = Field(description="Type in training sets, in the online store and in answers.")
    column: ColumnName | None = Field(default=None, description="Source column; the feature's name by default.")
    aggregate: AggregateSpec | None = Field(default=None, description="Computed over a window of rows.")
    expression: Annotated[str, Field(min_length=1, max_length=8192)] | None = Field(
        default=None,
        description=(
            "SQL scalar expression over features of this view, such as clicks / nullif(views, 0). With "
            "request.<field> it is evaluated when features are read, from what the request brings. One whose values "
            "or work may grow too far beyond what it reads is not accepted; a value that is too long for it gives null "
            "and is counted as failed. A batch of a run may take two minutes, a read one second, and 512 MiB."
        ),
    )

    rules: ClassVar = (
        Rule(
            "[has(self.column), has(self.aggregate), has(self.expression)].filter(given, given).size() <= 1",
            "a feature is a column, an aggregate or an expression; leave all but one of the three out "
            "(an aggregate says its column in aggregate.column)",
        ),
    )


class RequestFieldSpec(ApiModel):
    """A value that comes with each request: from the caller online, from a column of the entity frame in training."""

    name: Identifier = Field(description="Name; expressions read it as request.<name>.")
    type: FeatureType = Field(description="Type of its values.")


class Partials(ApiModel):
    """Rows of past cells of the grid that runs keep, so that later runs read only new cells from the source."""

    uri: Uri = Field(
        description=(
            "Folder, which several views may share: file:///path or s3://bucket/path, with the credentials of the "
            "source."
        )
    )


class Aggregation(ApiModel):
    """The time grid of the view's aggregates."""

    every: Duration | None = Field(
        default=None,
        description=(
            "Windows end at multiples of it since 1970 UTC, and it must divide every window. "
            "Default: the largest of 1h, 15m, 5m and 1m that does."
        ),
    )
    partials: Partials | None = Field(
        default=None,
        description=(
            "Where runs keep the rows of past cells of the grid. Absent: each reads all windows from the source. With "
            "it a row that is changed or deleted in place shows after a full run."
        ),
    )
