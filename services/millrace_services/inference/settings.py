"""Settings of the two commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Json

from millrace_core.api import names
from millrace_core.api.modeldeployment_model import DIGEST_PATTERN
from millrace_core.base import duration
from millrace_core.base.bearer import TokenSettings
from millrace_core.base.destinations import OutgoingSettings
from millrace_core.base.errors import RejectError
from millrace_services.inference.flight import MOST_MEMBERS
from millrace_services.web.settings import ServerSettings


def _seconds(value: object) -> object:
    """Text such as 20ms or 0.02 as seconds; pydantic takes ValueError only for a wrong value, and names its field."""
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        pass
    try:
        return duration.seconds(value)
    except RejectError as error:
        raise ValueError(str(error)) from error


Seconds = Annotated[float, BeforeValidator(_seconds)]


class FetchSettings(OutgoingSettings):
    """What to fetch, and where to."""

    uri: str = Field(
        alias="MILLRACE_MODEL_URI",
        description="file, s3, gs, az, pvc, oci, http or https URI of the ONNX file, or an absolute path",
    )
    digest: str | None = Field(
        None,
        alias="MILLRACE_MODEL_DIGEST",
        pattern=DIGEST_PATTERN,
        description="The model's digest (millrace_services.inference.model_files), as the spec states it; absent: "
        "whatever it has is reported",
    )
    pinned: str | None = Field(
        None,
        alias="MILLRACE_PINNED_DIGEST",
        pattern=DIGEST_PATTERN,
        description="What the first pod of this revision measured, which later ones must have; absent in the first",
    )
    path: Path = Field(alias="MILLRACE_MODEL_PATH", description="Where the file goes")
    max_bytes: int = Field(
        10 * 1024**3,
        alias="MILLRACE_MODEL_MAX_BYTES",
        ge=1,
        description="A model whose files are larger together is not fetched",
    )
    volume: Path | None = Field(
        None, alias="MILLRACE_MODEL_VOLUME", description="Where the volume is mounted that a pvc URI names"
    )
    cache: Path | None = Field(
        None,
        alias="MILLRACE_MODEL_CACHE",
        description="Folder of the models that this node has had, which its pods share; absent: there is none",
    )
    cache_bytes: int = Field(
        50 * 1024**3,
        alias="MILLRACE_MODEL_CACHE_BYTES",
        ge=1,
        description="Most bytes of all models there; those used longest ago make room",
    )
    termination_log: Path = Field(
        Path("/dev/termination-log"),
        alias="MILLRACE_TERMINATION_LOG",
        description="Where the result goes; Kubernetes shows it in the container's status",
    )
    log_level: str = Field("INFO", alias="MILLRACE_LOG_LEVEL", pattern="^(DEBUG|INFO|WARNING|ERROR)$")


class FeatureSettings(BaseModel):
    """Which features are joined at predict time: ``spec.features`` of the ModelDeployment."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    refs: list[str] = Field(min_length=1, description="view:feature, in the order in which the model takes them")
    input: str | None = Field(
        None, description="The input that takes all of them; absent: the only input, or one input per feature"
    )
    on_missing: Literal["default", "fail"] = Field("default", alias="onMissing")
    timeout: Seconds = Field(0.5, gt=0, description="Seconds, or a duration such as 20ms")


class RedactionSettings(BaseModel):
    """A column that the log does not have as it is."""

    model_config = ConfigDict(frozen=True)

    column: str = Field(description="Its name in the log")
    how: Literal["drop", "hash"] = Field(description="drop: left out; hash: SHA-256 in its place")


class LogSettings(BaseModel):
    """What is logged of predictions, and where to: ``spec.inference.log`` of the ModelDeployment."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    uri: str = Field(description="The lake: file:///path or s3://bucket/path")
    sample: float = Field(1.0, gt=0, le=1, description="The fraction of ids that is logged")
    unit_header: str = Field(names.UNIT_HEADER, alias="unitHeader", description="The header that has the unit")
    redact: list[RedactionSettings] = Field(default_factory=list, description="What is not kept as it is")
    spool: Path = Field(description="Folder for what is not in the lake yet")
    spool_bytes: int = Field(512 * 1024**2, alias="spoolBytes", ge=1, description="Beyond it the oldest is dropped")


class CacheSettings(BaseModel):
    """How long answers are kept, and how many: ``spec.inference.cache`` of the ModelDeployment."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    ttl: Seconds = Field(gt=0, description="Seconds, or a duration such as 5m")
    max_entries: int = Field(10_000, alias="maxEntries", ge=1, description="Requests whose answers are kept")
    max_bytes: int = Field(64 * 1024**2, alias="maxBytes", ge=1, description="About how many bytes they take")


class InferenceSettings(ServerSettings, OutgoingSettings, TokenSettings):
    """Which model to serve, on what, and how much may wait for it."""

    grpc_port_setting: ClassVar[str] = "MILLRACE_GRPC_PORT"
    body_limit: ClassVar[str] = "spec.inference.maxRequestMiB (of a server by itself: MILLRACE_MAX_BODY_BYTES)"

    model_name: str = Field(alias="MILLRACE_MODEL_NAME", description="The name in /v2/models/{name}")
    deployment: str = Field("", alias="MILLRACE_DEPLOYMENT", description="Name of the ModelDeployment")
    path: Path = Field(alias="MILLRACE_MODEL_PATH", description="The ONNX file")
    grpc_port: int | None = Field(
        None,
        alias="MILLRACE_GRPC_PORT",
        ge=0,
        le=65535,
        description="Port of the protocol over gRPC, 0 takes a free one; absent: HTTP alone is served",
    )
    device: Literal["auto", "gpu", "cpu"] = Field(
        "auto", alias="MILLRACE_DEVICE", description="auto: GPU where there is one"
    )
    threads: int | None = Field(
        None,
        alias="MILLRACE_THREADS",
        ge=1,
        description="CPU threads of one run, 1 where no run takes 0.2 ms; absent: the processors of the pod's limit",
    )
    features: Json[FeatureSettings] | None = Field(
        None, alias="MILLRACE_FEATURES", description='JSON {"refs", "input", "onMissing", "timeout"}'
    )
    log: Json[LogSettings] | None = Field(
        None,
        alias="MILLRACE_LOG",
        description='JSON {"uri", "sample", "unitHeader", "redact", "spool", "spoolBytes"}; empty: nothing is logged',
    )
    cache: Json[CacheSettings] | None = Field(
        None, alias="MILLRACE_CACHE", description='JSON {"ttl", "maxEntries", "maxBytes"}; absent: no answers are kept'
    )
    pod_uid: str = Field("0", alias="MILLRACE_POD_UID", pattern=r"^[0-9a-f][0-9a-f-]{0,62}$", description="Of this pod")
    gateway_url: str = Field(
        "http://millrace-gateway.millrace-system.svc",
        alias="MILLRACE_GATEWAY_URL",
        description="Where features are read",
    )
    project: str = Field("default", alias="MILLRACE_PROJECT", description="Namespace of the feature views")
    queue_requests: int = Field(
        256, alias="MILLRACE_QUEUE_REQUESTS", ge=1, description="Requests that may wait for the model; more get 429"
    )
    queue_timeout: Seconds = Field(
        1.0,
        alias="MILLRACE_QUEUE_TIMEOUT",
        gt=0,
        description="How long one may wait (seconds or 500ms); longer gets 429",
    )
    batch_rows: int = Field(
        64,
        alias="MILLRACE_BATCH_MAX_ROWS",
        ge=1,
        le=MOST_MEMBERS,
        description="Rows of one run of the model that several requests may share; 1: each request runs alone",
    )
    batch_delay: Seconds = Field(
        0.002,
        alias="MILLRACE_BATCH_MAX_DELAY",
        ge=0,
        le=1,
        description="How long a model that has become free, while requests wait, may wait for more of them",
    )
    run_timeout: Seconds = Field(
        60.0,
        alias="MILLRACE_RUN_TIMEOUT",
        gt=0,
        description="How long one run of the model may take; longer is stopped and gets 408",
    )
    start_timeout: Seconds = Field(
        600.0,
        alias="MILLRACE_START_TIMEOUT",
        gt=0,
        description="How long each step of a start may take: loading the model, and its first runs at each number of "
        "rows; a start that does not get on ends",
    )
    termination_log: Path = Field(
        Path("/dev/termination-log"),
        alias="MILLRACE_TERMINATION_LOG",
        description="Where the reason of a failed start goes; Kubernetes shows it in the container's status",
    )
