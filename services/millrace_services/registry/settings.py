"""Settings of the registry."""

from __future__ import annotations

from pydantic import Field

from millrace_core.base.bearer import TokenSettings
from millrace_services.web.settings import ServerSettings


class RegistrySettings(ServerSettings, TokenSettings):
    """Where the registry keeps what it knows, and how much of it."""

    database_url: str = Field(
        "sqlite:////var/lib/millrace/registry.db",
        alias="MILLRACE_DATABASE_URL",
        description="SQLAlchemy URL of SQLite (sqlite:////path) or PostgreSQL (postgresql+psycopg://user@host/db)",
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
