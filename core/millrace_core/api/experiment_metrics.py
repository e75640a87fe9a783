"""What an Experiment looks at while it runs: its metrics, and how often and how patiently they are looked at."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from millrace_core.api.base import ATOMIC_LIST, ApiModel, DnsLabel, Duration, Moment, Rule, StatusModel, validations
from millrace_core.api.modeldeployment import SECONDS_TO_HOURS

MAX_METRICS: Final = 10
# Metrics of nine challengers, with room.
MAX_MEASUREMENTS: Final = 100
# What may stand in a query, between two braces.
PLACEHOLDERS: Final = ("service", "deployment", "namespace", "arm", "interval")
_TEMPLATE: Final = "^([{][{](" + "|".join(PLACEHOLDERS) + ")[}][}]|[{]?[^{])*$"


class MetricSource(ApiModel):
    """Where a metric's numbers come from."""

    prometheus: Annotated[str, Field(min_length=1, max_length=2048)] = Field(
        description="A query whose result is one number, as a scalar or one series. {{deployment}} and {{arm}} are "
        "those of the challenger that is measured, {{service}} and {{namespace}} the experiment's, and {{interval}} is "
        "spec.analysis.interval in seconds, such as 60s: rate(errors[{{interval}}]) counts nothing from before the "
        "last change of the weights.",
        json_schema_extra=validations(
            Rule(
                f"self.matches('{_TEMPLATE}')",
                "after {{ one of service, deployment, namespace, arm and interval is expected, and }}, without blanks",
            )
        ),
    )


class Metric(ApiModel):
    """One number per challenger that is looked at."""

    name: DnsLabel = Field(description="Name of the metric, unique in the experiment.")
    role: Literal["guardrail", "secondary"] = Field(
        description="guardrail: ends the experiment where it is beyond its limit, and holds it where it has no data; "
        "secondary: is shown in status.analysis and decides nothing."
    )
    source: MetricSource = Field(description="Where its numbers come from.")
    abort_above: float | None = Field(
        default=None,
        description="Of a guardrail: a value above this is harm. In the unit of the query, which by Prometheus' habit "
        "is seconds for durations and 0 to 1 for shares.",
    )
    abort_below: float | None = Field(default=None, description="Of a guardrail: a value below this is harm.")

    rules: ClassVar = (
        Rule(
            "(self.role == 'guardrail') == (has(self.abortAbove) || has(self.abortBelow))",
            "a guardrail needs abortAbove or abortBelow, the limit beyond which it ends the experiment; a secondary "
            "metric has neither",
        ),
        Rule(
            "!has(self.abortAbove) || !has(self.abortBelow) || self.abortBelow < self.abortAbove",
            "abortBelow must be less than abortAbove, or every value is harm",
        ),
    )


class Analysis(ApiModel):
    """How often the metrics are looked at, and how patiently."""

    interval: Annotated[str, Field(pattern=SECONDS_TO_HOURS, max_length=32)] = Field(
        default="60s",
        description="Time between two looks at the metrics, as 30s, 5m or 1h. The first one after a change of the "
        "weights comes when routing.settle and one interval are over; no step is taken without it.",
        json_schema_extra=validations(Rule("duration(self) >= duration('1s')", "at least 1s")),
    )
    failure_limit: Annotated[int, Field(ge=1, le=100)] = Field(
        default=2,
        description="Looks in a row at which a guardrail is beyond its limit before it ends the experiment; at the "
        "first of them no further step is taken.",
    )
    max_hold: Duration = Field(
        default="1h",
        description="How long a guardrail may have no data. Meanwhile the phase is Holding and the weights stay; then "
        "a Canary is rolled back, and another type is paused.",
    )


class Measurement(StatusModel):
    """One metric of one arm at the last look."""

    metric: str = Field(description="Name of the metric.")
    arm: str = Field(description="The challenger that was measured.")
    state: str = Field(description="Within, Beyond (its limit), or NoData.")
    value: float | None = Field(default=None, description="What was measured; absent where there is no data.")
    failures: int = Field(default=0, description="Looks in a row at which it was beyond its limit.")
    message: str | None = Field(default=None, description="Why there is no data, or which limit it is beyond.")


class AnalysisStatus(StatusModel):
    """What the last look at the metrics came to."""

    looked_at: Moment = Field(description="When the metrics were last looked at.")
    no_data_since: Moment | None = Field(
        default=None, description="Since when a guardrail has no data; absent where all have."
    )
    measurements: list[Measurement] | None = Field(
        default=None,
        max_length=MAX_MEASUREMENTS,
        description="Each metric of each challenger with traffic.",
        json_schema_extra=ATOMIC_LIST,
    )
