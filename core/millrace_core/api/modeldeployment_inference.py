"""How the pods of a ModelDeployment run the model: device, batching, queue, cache and log."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from millrace_core.api import names
from millrace_core.api.base import ApiModel, Duration, Rule, SecretRef, list_map
from millrace_core.base import duration

MAX_DELAY = r"^([0-9]{1,3}ms|[01]s)$"
CACHE_BYTES = r"^[1-9][0-9]{0,9}(k|M|G|Ki|Mi|Gi)?$"
LAKE_URI = r"^(file|s3)://.+$"

# A column of the log that may be redacted.
LOG_COLUMN = r"^(unit|(entity|feature|request|input|output)\.[^\s].*)$"

UNIT_HEADER = r"^[a-z0-9]([-a-z0-9_]*[a-z0-9])?$"


class Gpu(ApiModel):
    """Which GPU a pod asks for."""

    count: int = Field(default=1, ge=1, le=64, description="GPUs of each pod.")
    resource: Annotated[str, Field(max_length=253)] = Field(
        default="nvidia.com/gpu",
        description="Resource name, such as nvidia.com/gpu or nvidia.com/mig-1g.10gb.",
    )
    product: Annotated[str, Field(max_length=63)] | None = Field(
        default=None, description="Value that the node label nvidia.com/gpu.product must have."
    )


class Batching(ApiModel):
    """Which requests share a run of the model."""

    max_rows: int = Field(
        default=64,
        ge=1,
        le=4096,
        description="Rows of one run that several requests may share, where the server finds that the model's rows do "
        "not depend on each other; a request of more rows runs alone. 1: every request runs alone.",
    )
    max_delay: Annotated[str, Field(pattern=MAX_DELAY)] = Field(
        default="2ms",
        description="How long a pod whose model has become free while requests wait may wait for more of them, 0s to "
        "1s. A request that finds the model free never waits.",
    )

    rules: ClassVar = ()


class Queue(ApiModel):
    """Which requests may wait for the model."""

    max_requests: int = Field(
        default=256,
        ge=1,
        le=100_000,
        description="Requests that may wait in a pod; one more is answered 429 with Retry-After.",
    )
    timeout: Duration = Field(
        default="1s",
        description="How long a request may wait for its turn; then it is answered 429 with Retry-After.",
    )

    rules: ClassVar = (Rule("self.timeout.matches('[1-9]')", "spec.inference.queue.timeout must be more than 0"),)


class Cache(ApiModel):
    """Which answers of the model are kept for requests that are the same."""

    ttl: Duration = Field(
        default="0s",
        description="For how long after its run an answer is given again, to requests of the same inputs, outputs and "
        "rows of features; 0s: never. Features are read for each request, so a newer row has an answer of its own at "
        "once.",
    )
    max_entries: int = Field(
        default=10_000, ge=1, le=10_000_000, description="Answers that a pod keeps; those used longest ago go first."
    )
    max_bytes: Annotated[str, Field(pattern=CACHE_BYTES, max_length=16)] = Field(
        default="64Mi",
        description="About how many bytes they may take of a pod's memory, as 64Mi; it is part of resources.limits.",
    )

    rules: ClassVar = ()


class Redact(ApiModel):
    """A column that the log does not have as it is."""

    column: Annotated[str, Field(pattern=LOG_COLUMN, max_length=310)] = Field(
        description="Its name in the log: unit, or entity.<key>, feature.<view>__<name>, request.<field>, input.<name> "
        "or output.<name>."
    )
    how: Literal["drop", "hash"] = Field(
        default="drop",
        description="drop leaves it out; hash keeps the SHA-256 of each value, by which equal ones stay equal and "
        "guessed ones can be checked.",
    )


class PredictionLog(ApiModel):
    """What is logged of predictions, and where to."""

    sample: Annotated[float, Field(ge=0.000001, le=1)] = Field(
        default=1.0, description="The fraction of prediction ids that is logged; a hash of the id decides."
    )
    uri: Annotated[str, Field(pattern=LAKE_URI, max_length=2048)] | None = Field(
        default=None,
        description="The lake that the log goes to: s3://bucket/path, or file:///path; absent: that of the platform. "
        "Files of another lake are merged and deleted by nobody unless somebody runs the platform's job for it.",
    )
    credentials_secret_ref: SecretRef | None = Field(
        default=None,
        description="Secret with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, as needed, AWS_SESSION_TOKEN, "
        "AWS_ENDPOINT_URL and AWS_REGION; absent: the one that the platform's settings name.",
    )
    unit_header: Annotated[str, Field(pattern=UNIT_HEADER, max_length=128)] = Field(
        default=names.UNIT_HEADER,
        description="Header, in lower case, that has the unit, such as the user, by which predictions meet exposures "
        "and outcomes.",
    )
    redact: list[Redact] = Field(
        default_factory=list,
        max_length=200,
        description="Columns that are left out or hashed before anything is written.",
        json_schema_extra=list_map("column"),
    )


class Inference(ApiModel):
    """How the model runs."""

    device: Literal["auto", "gpu", "cpu"] = Field(
        default="auto",
        description="gpu, cpu, or auto: GPU where a node of the cluster offers the resource, CPU otherwise.",
    )
    gpu: Gpu = Field(
        default_factory=Gpu,
        json_schema_extra={"default": {}},
        description="Which GPU a pod asks for, where it gets one.",
    )
    batching: Batching = Field(
        default_factory=Batching,
        json_schema_extra={"default": {}},
        description="Which requests share a run of the model.",
    )
    queue: Queue = Field(
        default_factory=Queue,
        # The rule is put to the default as it stands, before the defaults of its fields are filled in.
        json_schema_extra={"default": {"timeout": "1s"}},
        description="Which requests may wait for the model.",
    )
    cache: Cache | None = Field(
        default=None, description="Which answers are kept for requests that are the same; absent: none."
    )
    log: PredictionLog | None = Field(default=None, description="The log of predictions; absent: nothing is logged.")
    max_request_mib: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        default=None,
        alias="maxRequestMiB",
        description=(
            "Largest body of a request in MiB, as it is without gzip; larger ones get 413. Default: 16. While it is "
            "read, a request takes several times its body of memory: see resources.limits."
        ),
    )

    rules: ClassVar = ()

    @property
    def caching(self) -> Cache | None:
        """``cache``, where it keeps anything."""
        return self.cache if self.cache is not None and duration.microseconds(self.cache.ttl) else None
