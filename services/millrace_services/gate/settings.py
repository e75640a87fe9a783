"""Settings of the gate Job."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, Json

from millrace_core.api.gates import Gates
from millrace_core.base.destinations import OutgoingSettings
from millrace_services.inference.settings import FeatureSettings


class GateSettings(OutgoingSettings):
    """What is judged, by which rules, and within which limits.

    ``MILLRACE_TERMINATION_LOG``, the file that receives the result as JSON, is read even where these are wrong.
    """

    gates: Json[Gates] = Field(alias="MILLRACE_GATES", description="JSON of spec.gates of the ModelDeployment")
    path: Path = Field(alias="MILLRACE_MODEL_PATH", description="The ONNX file that is judged")
    features: Json[FeatureSettings] | None = Field(
        None, alias="MILLRACE_FEATURES", description="JSON of spec.features; absent: no features are joined"
    )
    champion_path: Path | None = Field(
        None, alias="MILLRACE_CHAMPION_PATH", description="The ONNX file that serves now; absent: there is none"
    )
    champion_features: Json[FeatureSettings] | None = Field(
        None, alias="MILLRACE_CHAMPION_FEATURES", description="JSON of the features of that one; absent: none"
    )
    device: Literal["auto", "gpu", "cpu"] = Field(
        "auto", alias="MILLRACE_DEVICE", description="auto: GPU where there is one"
    )
    batch_rows: int = Field(
        1, alias="MILLRACE_BATCH_MAX_ROWS", ge=1, description="Rows that requests may share a run with, as for serve"
    )
    holdout_max_bytes: int = Field(
        2 * 1024**3, alias="MILLRACE_HOLDOUT_MAX_BYTES", ge=1, description="A holdout file that is larger is not read"
    )
    latency_seconds: float = Field(
        60.0, alias="MILLRACE_LATENCY_SECONDS", gt=0, description="How long runs of one size are repeated at most"
    )
    log_level: str = Field("INFO", alias="MILLRACE_LOG_LEVEL", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
