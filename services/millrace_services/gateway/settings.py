"""Settings of the gateway."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from millrace_core.api.base import Duration
from millrace_core.base.bearer import TokenSettings
from millrace_core.base.destinations import OutgoingSettings
from millrace_services.web.settings import ServerSettings


class GatewaySettings(ServerSettings, OutgoingSettings, TokenSettings):
    """Where definitions and rows come from, and how much one request may ask for."""

    registry_url: str = Field(alias="MILLRACE_REGISTRY_URL", description="Base URL of the registry")
    store_url: str = Field(
        alias="MILLRACE_STORE_URL",
        description="URL of the online store: redis://, redis+sentinel:// or redis+cluster://, with rediss for TLS "
        "(millrace_core.features.online.store_url has the forms)",
    )
    project: str = Field("default", alias="MILLRACE_PROJECT", description="Namespace of requests that name no project")
    refresh_seconds: float = Field(
        1.0, alias="MILLRACE_REFRESH_SECONDS", gt=0, description="How often the registry is asked for changes"
    )
    store_timeout_seconds: float = Field(
        1.0, alias="MILLRACE_STORE_TIMEOUT_SECONDS", gt=0, description="How long one read of the store may take"
    )
    max_rows: int = Field(
        10_000, alias="MILLRACE_MAX_ROWS", ge=1, description="Most stored rows (entities times views) of one request"
    )
    materialize: bool = Field(
        default=False,
        alias="MILLRACE_MATERIALIZE",
        description="Feast's clients may have views materialized by way of /feast/materialize and "
        "/feast/materialize-incremental; needs the rights to get and patch FeatureViews",
    )
    api_server: str = Field(
        "",
        alias="MILLRACE_API_SERVER",
        description="URL of the Kubernetes API server for it. Empty: the one that Kubernetes tells each pod",
    )
    api_account: Path = Field(
        Path("/var/run/secrets/kubernetes.io/serviceaccount"),
        alias="MILLRACE_API_ACCOUNT",
        description="Folder with the files token and ca.crt for it, as Kubernetes mounts them for a service account",
    )
    evidence_log: Path | None = Field(
        None,
        alias="MILLRACE_EVIDENCE_LOG",
        description="Folder of the log of exposures and outcomes, in which each gateway takes a part of "
        "its own. What is not in the lake yet is lost with its volume. Empty: units are not assigned and outcomes not "
        "taken",
    )
    lake_uri: str = Field(
        "",
        alias="MILLRACE_LAKE_URI",
        description="Where the log is brought each minute: file:///path or s3://bucket/path. Empty: it stays as it is",
    )
    evidence_bytes: int = Field(
        1024**3,
        alias="MILLRACE_EVIDENCE_BYTES",
        ge=1024,
        description="Most bytes of each of both logs, exposures and outcomes; beyond them no more is taken",
    )
    push_bytes: int = Field(
        32 * 1024 * 1024,
        alias="MILLRACE_PUSH_BYTES",
        ge=1,
        description="Most bytes of pushes in work at once; beyond them a push gets 429. Memory is several times that",
    )
    push_tolerance: Duration = Field(
        "5m",
        alias="MILLRACE_PUSH_TOLERANCE",
        description="How much later than now the event times of pushed rows may be; rows beyond it are refused",
    )
