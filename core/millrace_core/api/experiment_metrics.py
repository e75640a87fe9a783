"""What an Experiment looks at while it runs: its metrics, and how often and how patiently they are looked at."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from millrace_core.api.base import ATOMIC_LIST, ApiModel, DnsLabel, Duration, Moment, Rule, StatusModel, validations
from millrace_core.api.modeldeployment import SECONDS_TO_HOURS

MAX_METRICS: Final = 10
# Metrics of nine challengers, with room.
MAX_MEASUREMENTS: Final = 100
MDE: Final = r"^[+]?([0-9]+[.]?[0-9]*|[.][0-9]+)%?$"
OUTCOME: Final = r"^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$"
OutcomeName = Annotated[str, Field(pattern=OUTCOME, min_length=1, max_length=63)]
# What may stand in a query, between two braces.
PLACEHOLDERS: Final = ("service", "deployment", "namespace", "arm", "interval")
_TEMPLATE: Final = "^([{][{](" + "|".join(PLACEHOLDERS) + ")[}][}]|[{]?[^{])*$"


class ComparisonSource(ApiModel):
    """What the challenger of a Shadow says beside the control, for the same requests."""

    output: Annotated[str, Field(min_length=1, max_length=128)] = Field(
        description="Name of the model's output, as the log of predictions has it behind output."
    )
    measure: Literal["agreement", "psi", "jensenShannon", "wasserstein", "meanDifference"] = Field(
        description="agreement: the share of rows in which both say the same; psi, jensenShannon: how far apart the "
        "distributions of both are; wasserstein, meanDifference: the same in the output's own unit, of numbers alone."
    )
    tolerance: Annotated[float, Field(ge=0)] = Field(
        default=1e-6, description="Of agreement: how far apart numbers may be, absolute below 1 and relative above."
    )


class MetricSource(ApiModel):
    """Where a metric's numbers come from: one of the three."""

    prometheus: Annotated[str, Field(min_length=1, max_length=2048)] | None = Field(
        default=None,
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
    outcome: OutcomeName | None = Field(
        default=None,
        description="An outcome, by the name under which it is sent to the gateway (POST /outcomes). It is counted "
        "over the units that were assigned, and those without one count as 0.",
    )
    denominator: OutcomeName | None = Field(
        default=None, description="Of a ratio: the outcome by which it is divided, as visits of clicks per visit."
    )

    comparison: ComparisonSource | None = Field(
        default=None,
        description="Of a Shadow: its predictions beside the control's, out of the logs of both (spec.inference.log of "
        "the deployments) in the platform's lake, since the current step began; of the newest 20,000 rows.",
    )

    rules: ClassVar = (
        Rule(
            "(has(self.prometheus) ? 1 : 0) + (has(self.outcome) ? 1 : 0) + (has(self.comparison) ? 1 : 0) == 1",
            "a metric has one source: prometheus, a query; outcome, what units do; or comparison, what a shadow says",
        ),
        Rule("!has(self.denominator) || has(self.outcome)", "denominator is of an outcome; a query divides by itself"),
    )


class Metric(ApiModel):
    """What is looked at, of each challenger."""

    name: DnsLabel = Field(description="Name of the metric, unique in the experiment.")
    role: Literal["primary", "guardrail", "secondary"] = Field(
        description="primary: decides an ABTest and weighs the arms of a Bandit, and there is one at most; guardrail: "
        "ends the experiment where it is beyond its limit, or worse than the control; secondary: is shown in "
        "status.analysis and decides nothing."
    )
    kind: Literal["proportion", "mean", "ratio"] | None = Field(
        default=None,
        description="Of an outcome: proportion (the share of units that have it), mean (of its values over units) or "
        "ratio (of its sum to that of source.denominator).",
    )
    direction: Literal["increase", "decrease"] = Field(
        default="increase", description="Of an outcome: which way is better."
    )
    source: MetricSource = Field(description="Where its numbers come from.")
    mde: Annotated[str, Field(pattern=MDE, max_length=32)] | None = Field(
        default=None,
        description="Of the primary metric: the least effect that is worth knowing, as a share of the baseline or in "
        "the unit of the metric.",
        json_schema_extra=validations(
            Rule(
                "!self.matches('^[0.]+%?$')",
                "an effect of 0 is never found; the least that is worth knowing is expected",
            )
        ),
    )
    baseline: float | None = Field(
        default=None, description="Of the primary metric: its value today, from which the size is planned."
    )
    variance: float | None = Field(
        default=None,
        description="Of a primary mean or ratio: of one unit, as millrace experiment plan takes it. A proportion has "
        "p (1 - p).",
        json_schema_extra=validations(Rule("self > 0.0", "a variance above 0 is expected")),
    )
    margin: Annotated[float, Field(ge=0)] | None = Field(
        default=None,
        description="Of a guardrail over outcomes: how much worse than the control a challenger may be, in the unit of "
        "the metric. Default: 0.",
    )
    abort_above: float | None = Field(
        default=None,
        description="Of a guardrail of Prometheus or of a comparison: a value above this is harm. In the unit of the "
        "query, which by habit is seconds for durations and 0 to 1 for shares.",
    )
    abort_below: float | None = Field(
        default=None, description="Of a guardrail of Prometheus or of a comparison: a value below this is harm."
    )

    rules: ClassVar = (
        Rule(
            "(self.role == 'guardrail' && !has(self.source.outcome)) == (has(self.abortAbove) || has(self.abortBelow))",
            "a guardrail of Prometheus needs abortAbove or abortBelow, as does one of a comparison: the limit beyond "
            "which it ends the experiment; no other metric has them",
        ),
        Rule(
            "!has(self.abortAbove) || !has(self.abortBelow) || self.abortBelow < self.abortAbove",
            "abortBelow must be less than abortAbove, or every value is harm",
        ),
        Rule(
            "has(self.kind) == has(self.source.outcome)",
            "an outcome needs a kind (proportion, mean or ratio); no other metric has one",
        ),
        Rule(
            "(has(self.kind) && self.kind == 'ratio') == has(self.source.denominator)",
            "a ratio needs source.denominator, the outcome by which it is divided; no other kind has one",
        ),
        Rule(
            "self.role != 'primary' || has(self.source.outcome)",
            "the primary metric is an outcome of units; a query of Prometheus counts requests, which are no units",
        ),
        Rule(
            "has(self.mde) == has(self.baseline) && (!has(self.mde) || self.role == 'primary')",
            "the primary metric needs mde and baseline, from which its size is planned; no other metric has them",
        ),
        Rule(
            "has(self.variance) == (has(self.mde) && has(self.kind) && self.kind != 'proportion')",
            "a primary mean or ratio needs the variance of a unit, from which its size is planned; no other has one",
        ),
        Rule(
            "!has(self.margin) || (self.role == 'guardrail' && has(self.source.outcome))",
            "margin is how much worse a guardrail over outcomes may be than the control; no other metric has one",
        ),
    )


class Analysis(ApiModel):
    """How the metrics are looked at, and how patiently."""

    interval: Annotated[str, Field(pattern=SECONDS_TO_HOURS, max_length=32)] = Field(
        default="60s",
        description="Time between two looks at the metrics, as 30s, 5m or 1h. The first one after a change of the "
        "weights comes when routing.settle and one interval are over; no step is taken without it.",
        json_schema_extra=validations(Rule("duration(self) >= duration('1s')", "at least 1s")),
    )
    failure_limit: Annotated[int, Field(ge=1, le=100)] = Field(
        default=2,
        description="Looks in a row at which a guardrail of Prometheus is beyond its limit before it ends the "
        "experiment; at the first of them no further step is taken.",
    )
    max_hold: Duration = Field(
        default="1h",
        description="How long a guardrail or the primary metric may have no data. Meanwhile the phase is Holding and "
        "the weights stay; then an ABTest or a Bandit is paused, and any other type rolled back.",
    )
    method: Literal["sequential", "groupSequential", "fixed"] = Field(
        default="sequential",
        description="How the primary metric is judged. sequential: at every look, with an interval that holds at all "
        "of them; groupSequential: at five looks, spread over the planned units; fixed: once, when they have come.",
    )
    alpha: float = Field(
        default=0.05,
        description="Of the primary metric two-sided, of all guardrails over outcomes together one-sided: how often a "
        "difference may be found where there is none. A Bandit ends when an arm is the best with a chance of "
        "1 - alpha.",
        json_schema_extra=validations(
            Rule("self > 0.0 && self < 0.5", "alpha is expected above 0 and below 0.5, such as 0.05")
        ),
    )
    power: float = Field(
        default=0.8,
        description="With which probability a difference of mde is found, for the plan of an ABTest.",
        json_schema_extra=validations(Rule("self > 0.0 && self < 1.0", "power is expected between 0 and 1")),
    )
    min_units: Annotated[int, Field(ge=2, le=1_000_000_000)] = Field(
        default=100,
        description="Units of each arm before anything is decided by outcomes, and before a Bandit is reweighted; of a "
        "comparison, rows that both answered.",
    )
    min_runtime: Duration = Field(
        default="7d", description="How long the primary metric is not decided yet, since days of a week differ."
    )
    max_runtime: Duration = Field(
        default="28d", description="After so long an experiment with a primary metric is Inconclusive."
    )
    srm: float = Field(
        default=0.001,
        description="Below this p the units did not come to the arms as the weights say, and nothing is decided by "
        "them.",
        json_schema_extra=validations(Rule("self > 0.0 && self < 0.5", "srm is expected above 0 and below 0.5")),
    )


class Measurement(StatusModel):
    """One metric of one arm at the last look."""

    metric: str = Field(description="Name of the metric.")
    arm: str = Field(description="The challenger that was measured.")
    state: str = Field(description="Within, Beyond (its limit), or NoData.")
    value: float | None = Field(default=None, description="What was measured; absent where there is no data.")
    failures: int = Field(default=0, description="Looks in a row at which it was beyond its limit.")
    message: str | None = Field(default=None, description="Why there is no data, or which limit it is beyond.")


class PastLook(StatusModel):
    """What the looks so far at an outcome of an arm came to: the next one goes on from it."""

    metric: str = Field(description="Name of the metric.")
    arm: str = Field(description="The challenger.")
    p: float = Field(description="The least p-value so far.")
    fractions: list[float] | None = Field(
        default=None,
        max_length=100,
        description="Of groupSequential: the share of the planned units at each look, for which alpha was spent.",
        json_schema_extra=ATOMIC_LIST,
    )


class Judgement(StatusModel):
    """What the units so far say of the primary metric."""

    verdict: str = Field(description="Promote, Rollback, Continue or Inconclusive.")
    reason: str = Field(description="Which rule says so, a CamelCase constant.")
    message: str = Field(description="The same in a sentence.")
    arm: str | None = Field(default=None, description="The arm that is better.")
    sample_ratio: float | None = Field(default=None, description="p of the split of units beside the weights.")
    crossovers: int | None = Field(default=None, description="Units that were seen in two arms.")


class PlanStatus(StatusModel):
    """How many units the primary metric needs; frozen when the experiment became Ready."""

    metric: str = Field(description="Name of the primary metric.")
    units: int = Field(description="Units of the control and one challenger together, for the method that judges.")
    total: int = Field(description="Units of all arms.")
    method: str = Field(description="How it is judged.")
    alpha: float = Field(description="Two-sided, over all challengers.")
    srm: float = Field(description="The p below which the split of units differs from the weights.")


class ArmStatus(StatusModel):
    """What the units of an arm have done so far, by the primary metric."""

    name: str = Field(description="Name of the arm.")
    units: int = Field(description="Units that were assigned to it.")
    value: float | None = Field(default=None, description="The metric.")
    estimate: float | None = Field(default=None, description="The difference to the control.")
    ci: list[float] | None = Field(
        default=None,
        max_length=2,
        description="The interval of that difference, which holds at all looks together.",
        json_schema_extra=ATOMIC_LIST,
    )
    p: float | None = Field(default=None, description="p-value, by Holm over the challengers.")
    p_best: float | None = Field(
        default=None, description="Of a Bandit: the chance that it is the best arm; absent where nothing says."
    )
    lift: str | None = Field(default=None, description="The difference relative to the control, such as +3.1%.")


class AnalysisStatus(StatusModel):
    """What the last look at the metrics came to."""

    looked_at: Moment = Field(description="When the metrics were last looked at.")
    no_data_since: Moment | None = Field(
        default=None, description="Since when a guardrail or the primary metric has no data; absent where all have."
    )
    measurements: list[Measurement] | None = Field(
        default=None,
        max_length=MAX_MEASUREMENTS,
        description="Each metric of each challenger with traffic.",
        json_schema_extra=ATOMIC_LIST,
    )
    past: list[PastLook] | None = Field(
        default=None,
        max_length=MAX_MEASUREMENTS,
        description="Each outcome of each challenger: what its looks so far came to.",
        json_schema_extra=ATOMIC_LIST,
    )
    primary: Judgement | None = Field(default=None, description="What the units say of the primary metric.")
