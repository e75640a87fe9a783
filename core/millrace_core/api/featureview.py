"""FeatureView: these features of this entity come from this source, this fresh."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from millrace_core.api.base import (
    ATOMIC_LIST,
    ApiModel,
    Condition,
    Duration,
    ObjectMeta,
    Rule,
    StatusModel,
    Timestamp,
    list_map,
)
from millrace_core.api.feature import Aggregation, Entity, FeatureSpec, RequestFieldSpec
from millrace_core.api.materialization import Materialization
from millrace_core.api.quality import QualityResult, QualityRule
from millrace_core.api.source import SourceSpec

# CronJob names end at 52 characters, because Kubernetes adds 11 to name each Job; children are called fv-<name>….
MAX_NAME = 49


class Online(ApiModel):
    """Whether the view has rows in the online store."""

    enabled: bool = Field(
        default=True, description="Whether rows are written to the online store. False: training sets only."
    )


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
