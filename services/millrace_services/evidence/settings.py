"""Settings of the evidence job."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from millrace_core.base import duration
from millrace_core.base.errors import RejectError
from millrace_core.base.settings import Settings


def _seconds(value: object) -> object:
    """pydantic takes ValueError only for a wrong value, and names its field."""
    if not isinstance(value, str):
        return value
    try:
        return duration.seconds(value)
    except RejectError as error:
        raise ValueError(str(error)) from error


class EvidenceSettings(Settings):
    """Which lake, and how long its days are kept. Its credentials are in ``AWS_ACCESS_KEY_ID`` and the like."""

    lake_uri: str = Field(alias="MILLRACE_LAKE_URI", description="file:///path or s3://bucket/path")
    retention_seconds: Annotated[float, BeforeValidator(_seconds)] = Field(
        90 * 86400.0, alias="MILLRACE_LAKE_RETENTION", ge=86400, description="Such as 90d: older days are deleted"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", alias="MILLRACE_LOG_LEVEL", description="What is logged"
    )
