"""What the mesh does where a pod of a service answers late, with an error of the way, or not at all.

Every service has the same, from the operator's settings. Fields of Istio are written from it; see ``routing.desired``.
"""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.alias_generators import to_camel

from millrace_core.api.base import Duration
from millrace_core.base import duration


class Resilience(BaseModel):
    """Retries, timeouts, ejection and limits of the routes of models."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)

    retries: int = Field(
        default=2,
        ge=0,
        le=10,
        description="How often a request is sent again, to another pod, where the first cannot be reached, resets the "
        "connection, is not ready or is late. 0: never, as while an Experiment runs",
    )
    try_timeout: Duration = Field(
        default="15s",
        description="How long a pod may take for an answer, beside the longest queue.timeout of the service. "
        "A request gets twice as long in all",
    )
    connect_timeout: Duration = Field(default="2s", description="How long a connection to a pod may take")
    eject_after: int = Field(
        default=3,
        ge=0,
        description="Answers 502, 503 and 504, lost connections and timeouts in a row after which a pod gets no "
        "requests for a while; where it would be the last one, it keeps them. 0: never",
    )
    eject_for: Duration = Field(default="10s", description="That while; it grows each time that the pod is ejected")
    max_requests: int = Field(
        default=16_384,
        ge=1,
        le=2**31 - 1,
        description="Requests that one proxy may have on their way to a service; one more is answered 503 at once",
    )
    max_retries: int = Field(
        default=1024, ge=1, le=2**31 - 1, description="Requests among them that may be repeated at one time"
    )

    @field_validator("try_timeout", "connect_timeout", "eject_for")
    @classmethod
    def _some_time(cls, text: str) -> str:
        if duration.seconds(text) <= 0:
            raise ValueError(f"more than 0 is expected, {text!r} came")
        return text

    def try_seconds(self, waits: float) -> float:
        """How long one try may take, in seconds.

        Args:
            waits: how long a request may wait in a pod for its turn.
        """
        return duration.seconds(self.try_timeout) + waits


DEFAULT: Final = Resilience()
