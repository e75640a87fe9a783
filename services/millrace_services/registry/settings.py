"""Settings of the registry."""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field

from millrace_core.base.bearer import TokenSettings
from millrace_http.limits import Limits
from millrace_services.web.settings import ServerSettings


class RegistrySettings(ServerSettings, TokenSettings):
    """Where the registry keeps what it knows, and how much of it."""

    database_url: str = Field(
        "sqlite:////var/lib/millrace/registry.db",
        alias="MILLRACE_DATABASE_URL",
        description="SQLAlchemy URL of SQLite (sqlite:////path) or PostgreSQL (postgresql+psycopg://user@host/db)",
    )
    artifacts: str = Field(
        "",
        alias="MILLRACE_ARTIFACTS",
        description="Where files of runs and logged models lie: an absolute path or s3://bucket/prefix, whose keys are "
        "in AWS_ACCESS_KEY_ID and its like. Empty: the folder artifacts beside SQLite's file, nowhere with PostgreSQL",
    )
    max_artifact_bytes: int = Field(
        10 * 1024**3,
        alias="MILLRACE_MAX_ARTIFACT_BYTES",
        ge=1,
        description="Larger files of runs and logged models get 413",
    )
    runs_kept: int = Field(
        500,
        alias="MILLRACE_RUNS_KEPT",
        ge=1,
        description="Newest run records kept of each view, per namespace and kind",
    )
    max_body_bytes: int = Field(
        64 * 1024 * 1024,
        alias="MILLRACE_MAX_BODY_BYTES",
        ge=1,
        description="Larger requests get 413; the catalogue of one kind comes in one request",
    )

    def limits(self) -> Limits:
        """As of every server, but for files, which are larger than other bodies."""
        limits = super().limits()
        return replace(limits, body_bytes=max(limits.body_bytes, self.max_artifact_bytes))
