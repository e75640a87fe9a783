"""When and how the rows of a FeatureView are brought to the online store."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from millrace_core.api.base import ApiModel, Duration, Resources, Rule, Timestamp, validations
from millrace_core.base import cron
from millrace_core.base.errors import RejectError

_NAME_ANOTHER_DAY = "No month that it names has such a day; write another day or month"


def _cron_line(text: str) -> str:
    try:
        comes = cron.parse(text).comes
    except RejectError as error:
        raise ValueError(str(error)) from error
    if not comes:
        raise ValueError(f"{text!r} never comes. {_NAME_ANOTHER_DAY}")
    return text


_SCHEDULE_RULES = (
    Rule("!self.startsWith('@every')", "it needs fixed times, which @every has not; write such as '*/15 * * * *'"),
    Rule("!self.contains('TZ=')", "it is in UTC and names no time zone; leave TZ= out"),
    Rule(
        f"self.contains('TZ=') || self.startsWith('@every') || self.matches(r'{cron.PATTERN}')",
        f"it is no cron line: {cron.EXPECTED}",
    ),
    Rule(
        f"!self.matches(r'{cron.PATTERN}') || {cron.forwards('self')}",
        "a range runs backwards; write its lower end first",
    ),
    Rule(f"!self.matches(r'{cron.NEVER}')", f"it never comes. {_NAME_ANOTHER_DAY}"),
)


class Materialization(ApiModel):
    """When and how rows are written to the online store."""

    schedule: Annotated[str, Field(max_length=128), AfterValidator(_cron_line)] = Field(
        description=(
            'Cron line in UTC, such as "*/15 * * * *", as Kubernetes reads it for CronJobs; without @every and TZ=.'
        ),
        json_schema_extra=validations(*_SCHEDULE_RULES),
    )
    lag: Duration = Field(default="0s", description="How long a run waits for late rows: it reads up to now - lag.")
    lateness: Duration = Field(
        default="0s",
        description=(
            "How much later than that a row may still come: each run reads this far back again, by event time and, "
            "where there is a createdTimestampField, by created time."
        ),
    )
    start_from: Timestamp | None = Field(
        default=None,
        description=(
            "What is missing since then is backfilled. Absent: the first run takes everything the source holds. Later "
            "than now: nothing is materialized before, and Materialized is Unknown and says so."
        ),
    )
    parallelism: int = Field(
        default=1,
        ge=1,
        le=64,
        description=(
            "How many pods do a run together, each for its shard of the entities; every one of them reads the source."
        ),
    )
    resources: Resources | None = Field(
        default=None,
        description=(
            "Resources of each pod. What is not stated of CPU and memory, requests or limits, the operator's settings "
            "say: 500m and 512Mi requested, 2 and 2Gi at most, if nobody changed them."
        ),
    )
    suspend: bool = Field(default=False, description="Stop scheduled runs and backfills; commands still work.")
