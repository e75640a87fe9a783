"""Settings that every server has."""

from __future__ import annotations

from pydantic import Field

from millrace_core.base.settings import Settings


class ServerSettings(Settings):
    """Where a server listens, how much it accepts, and how it stops."""

    host: str = Field("0.0.0.0", alias="MILLRACE_HOST", description="Address to listen on")  # noqa: S104 a pod's only address
    port: int = Field(8080, alias="MILLRACE_PORT", ge=0, le=65535, description="Port; 0 takes a free one")
    drain_seconds: float = Field(
        10.0,
        alias="MILLRACE_DRAIN_SECONDS",
        ge=0,
        description="How long after SIGTERM requests are still accepted while /health/ready says no",
    )
    grace_seconds: float = Field(
        20.0,
        alias="MILLRACE_GRACE_SECONDS",
        ge=0,
        description="How long requests in flight may take to finish once the drain is over",
    )
    keep_alive_seconds: int = Field(
        3660,
        alias="MILLRACE_KEEP_ALIVE_SECONDS",
        ge=1,
        description="Idle connections are closed after this; longer than Envoy's own hour, so that the proxy "
        "never sends on a connection that the server is closing",
    )
    max_body_bytes: int = Field(
        16 * 1024 * 1024, alias="MILLRACE_MAX_BODY_BYTES", ge=1, description="Larger requests get 413"
    )
    log_level: str = Field(
        "INFO",
        alias="MILLRACE_LOG_LEVEL",
        pattern="^(DEBUG|INFO|WARNING|ERROR)$",
        description="DEBUG adds one line per request",
    )
