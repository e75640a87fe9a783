"""FeatureView: these features of this entity come from this source, this fresh."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from millrace_core.api.base import (
    ATOMIC_LIST,
    ApiModel,
    ColumnName,
    Condition,
    Duration,
    Identifier,
    ObjectMeta,
    Resources,
    Rule,
    StatusModel,
    Timestamp,
    list_map,
    validations,
)
from millrace_core.api.quality import QualityResult, QualityRule
from millrace_core.api.source import SourceSpec, Uri
from millrace_core.base import cron
from millrace_core.base.errors import RejectError

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


# CronJob names end at 52 characters, because Kubernetes adds 11 to name each Job; children are called fv-<name>….
MAX_NAME = 49


_NAME_ANOTHER_DAY = "No month that it names has such a day; write another day or month"


def _cron_line(text: str) -> str:
    try:
        comes = cron.parse(text).comes
    except RejectError as error:
        raise ValueError(str(error)) from error
    if not comes:
        raise ValueError(f"{text!r} never comes. {_NAME_ANOTHER_DAY}")
    return text


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


class Online(ApiModel):
    """Whether the view has rows in the online store."""

    enabled: bool = Field(
        default=True, description="Whether rows are written to the online store. False: training sets only."
    )


_SCHEDULE_RULES = (
    Rule("!self.startsWith('@every')", "it needs fixed times, which @every has not; write such as '*/15 * * * *'"),
    Rule("!self.contains('TZ=')", "it is in UTC and names no time zone; leave TZ= out"),
    Rule(
        f"self.contains('TZ=') || self.startsWith('@every') || self.matches(r'{cron.PATTERN}')",
        f"it is no cron line: {cron.EXPECTED}",
    ),
    Rule(
        f"!self.matches(r'{cron.PATTERN}') || {cron.forwards('self')}",
        "a range runs backwards; write its lower end first",
    ),
    Rule(f"!self.matches(r'{cron.NEVER}')", f"it never comes. {_NAME_ANOTHER_DAY}"),
)


class Materialization(ApiModel):
    """When and how rows are written to the online store."""

    schedule: Annotated[str, Field(max_length=128), AfterValidator(_cron_line)] = Field(
        description=(
            'Cron line in UTC, such as "*/15 * * * *", as Kubernetes reads it for CronJobs; without @every and TZ=.'
        ),
        json_schema_extra=validations(*_SCHEDULE_RULES),
    )
    lag: Duration = Field(default="0s", description="How long a run waits for late rows: it reads up to now - lag.")
    lateness: Duration = Field(
        default="0s",
        description=(
            "How much later than that a row may still come: each run reads this far back again, by event time and, "
            "where there is a createdTimestampField, by created time."
        ),
    )
    start_from: Timestamp | None = Field(
        default=None,
        description=(
            "What is missing since then is backfilled. Absent: the first run takes everything the source holds. Later "
            "than now: nothing is materialized before, and Materialized is Unknown and says so."
        ),
    )
    parallelism: int = Field(
        default=1,
        ge=1,
        le=64,
        description=(
            "How many pods do a run together, each for its shard of the entities; every one of them reads the source."
        ),
    )
    resources: Resources | None = Field(
        default=None,
        description=(
            "Resources of each pod. What is not stated of CPU and memory, requests or limits, the operator's settings "
            "say: 500m and 512Mi requested, 2 and 2Gi at most, if nobody changed them."
        ),
    )
    suspend: bool = Field(default=False, description="Stop scheduled runs and backfills; commands still work.")


class FeatureViewSpec(ApiModel):
    """Desired state of the view."""

    description: Annotated[str, Field(max_length=1024)] | None = Field(
        default=None, description="What the view is about, for people who search the registry."
    )
    owner: Annotated[str, Field(max_length=253)] | None = Field(
        default=None, description="Team or person that is responsible for the view; the registry searches by it."
    )
    tags: dict[str, Annotated[str, Field(max_length=253)]] | None = Field(
        default=None, max_length=32, description="Free labels; the registry searches by them."
    )
    entities: list[Entity] = Field(
        default_factory=list,
        max_length=8,
        description=(
            "Join keys; together they identify one entity. Empty: the view has one row, of everything, which is read "
            "without a key. It is stated all the same: entities: []."
        ),
        json_schema_extra=list_map("name"),
    )
    source: SourceSpec = Field(description="Where rows come from.")
    features: list[FeatureSpec] = Field(
        min_length=1,
        max_length=1000,
        description="The features, in the order of the stored row.",
        json_schema_extra=list_map("name"),
    )
    request_fields: list[RequestFieldSpec] | None = Field(
        default=None,
        max_length=100,
        description="What requests bring for the view's expressions.",
        json_schema_extra=list_map("name"),
    )
    aggregation: Aggregation | None = Field(default=None, description="The time grid of the view's aggregates.")
    ttl: Duration | None = Field(
        default=None,
        description=(
            "Greatest age of a row that still counts, both ends inclusive. Absent or 0s: no limit. Windows of "
            "aggregates are not narrowed by it."
        ),
    )
    online: Online = Field(
        default_factory=Online, json_schema_extra={"default": {}}, description="The online store's part."
    )
    materialization: Materialization | None = Field(
        default=None, description="When and how rows are brought to the online store."
    )
    quality: list[QualityRule] | None = Field(
        default=None,
        max_length=64,
        description="What the rows of a run must be before any of them is written.",
        json_schema_extra=ATOMIC_LIST,
    )

    rules: ClassVar = (
        Rule(
            "has(self.entities)",
            "spec.entities is missing; name the join keys, such as entities: [{name: user_id, type: int64}], or write "
            "entities: [] for a view of one row of everything, which is read without a key",
        ),
        Rule(
            "!self.online.enabled || has(self.materialization)",
            "spec.materialization is required while spec.online.enabled is true (it is so by default); "
            "add materialization.schedule, or set online.enabled to false",
        ),
        Rule(
            "!has(self.entities) || self.features.all(f, !self.entities.exists(e, e.name == f.name))",
            "a feature must not have the name of an entity; rename it and say its source column in `column`",
        ),
        Rule(
            "!has(self.requestFields) || !has(self.entities) || "
            "self.requestFields.all(r, !self.entities.exists(e, e.name == r.name))",
            "a request field must not have the name of an entity; the entity frame has one column for both",
        ),
        Rule(
            "!has(self.aggregation) || self.features.exists(f, has(f.aggregate))",
            "spec.aggregation means nothing in a view without aggregates; leave it out",
        ),
    )


class IntervalStatus(StatusModel):
    """A covered interval of event time: after start, up to and including end."""

    start: Timestamp | None = Field(
        None, description="Exclusive lower end; absent where everything that the source holds is covered."
    )
    end: Timestamp = Field(description="Inclusive upper end.")


class LastRunStatus(StatusModel):
    """Result of the run that finished last."""

    name: str = Field(description="Name of the Job.")
    succeeded: bool = Field(description="Whether the run succeeded.")
    rows: int | None = Field(default=None, description="Rows read, after the latest per key was taken.")
    written: int | None = Field(default=None, description="Rows that the online store took because they were newer.")
    seconds: float | None = Field(default=None, description="Duration in seconds.")
    expression_errors: dict[str, int] | None = Field(
        default=None,
        description="For how many rows the expression of a feature failed, by feature; its value is null for them.",
    )
    later: int | None = Field(
        default=None,
        description=(
            "Rows of the source that were later than now by more than 5 minutes. They are not written before their "
            "time comes. Absent where the run did not reach the present."
        ),
    )
    removed: int | None = Field(
        default=None,
        description=(
            "Keys that the run removed from the online store, because the source no longer has them. Only full runs, "
            "and the first one of a definition, remove any."
        ),
    )
    finished_at: Timestamp | None = Field(default=None, description="When the run ended.")
    reason: str | None = Field(default=None, description="Why the run failed, where it did, in one CamelCase word.")
    message: str | None = Field(default=None, description="Why the run failed, where it did.")


class OnlineStatus(StatusModel):
    """State of the view in the online store."""

    keys: int = Field(description="Number of keys of the view, as the last run counted them.")


class FeatureViewStatus(StatusModel):
    """Observed state of the view."""

    observed_generation: int | None = Field(
        default=None, description="The metadata.generation that this status describes."
    )
    definition: dict[str, Any] | None = Field(
        default=None,
        description=(
            "The spec in effect: the one that was accepted last. Runs, gateway and models go by it, whatever spec says "
            "while Accepted is False."
        ),
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
    )
    schema_hash: str | None = Field(
        default=None,
        description="Hash of what decides a stored row: entities, features, types and source columns.",
    )
    watermark: Timestamp | None = Field(
        default=None, description="Event time up to which the online store is complete."
    )
    intervals: list[IntervalStatus] | None = Field(
        default=None,
        max_length=100,
        description="Covered intervals of event time, merged, oldest first.",
        json_schema_extra=ATOMIC_LIST,
    )
    backfill_to: Timestamp | None = Field(
        default=None,
        description="End of the interval that backfills cover, fixed when the definition was first seen.",
    )
    last_run: LastRunStatus | None = Field(default=None, description="Result of the run that finished last.")
    online: OnlineStatus | None = Field(default=None, description="State of the view in the online store.")
    quality: list[QualityResult] | None = Field(
        default=None,
        max_length=64,
        description="Results of the quality checks of the last run that made them, failing ones first.",
        json_schema_extra=ATOMIC_LIST,
    )
    handled_command: str | None = Field(default=None, description="The last handled millrace.dev/command, as written.")
    command_result: str | None = Field(
        default=None,
        description="What came of that command: the Job that was made, and how it ended; or why it is refused.",
    )
    conditions: list[Condition] | None = Field(
        default=None,
        max_length=16,
        description="Accepted, Materialized, Fresh, QualityOK, Ready; while it is being deleted, Deletable.",
        json_schema_extra=list_map("type"),
    )


class FeatureView(ApiModel):
    """Features of an entity, or of all: their source, their types, and how fresh the online store keeps them."""

    api_version: str = "millrace.dev/v1alpha1"
    kind: Literal["FeatureView"] = "FeatureView"
    metadata: ObjectMeta
    spec: FeatureViewSpec = Field(description="Desired state of the view.")
    status: FeatureViewStatus | None = Field(default=None, description="Observed state of the view.")

    rules: ClassVar = (
        Rule(
            f"size(self.metadata.name) <= {MAX_NAME}",
            f"metadata.name must have at most {MAX_NAME} characters, because the names of CronJobs and Jobs are made "
            "from it; choose a shorter one",
        ),
    )
