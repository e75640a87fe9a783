"""Gates: what a model has to show on rows it has never seen, and on the clock, before it gets any traffic."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from millrace_core.api.base import (
    ATOMIC_LIST,
    ApiModel,
    ColumnName,
    Duration,
    Moment,
    Quantity,
    Rule,
    SecretRef,
    StatusModel,
    validations,
)

MetricName = Literal["accuracy", "f1", "precision", "recall", "auc", "logloss", "brier", "ece", "rmse", "mae", "r2"]
# Metrics that no model gets above 1.
_AT_MOST_ONE: Final = "['accuracy', 'f1', 'precision', 'recall', 'auc', 'r2']"
HOLDOUT_URI: Final = r"^(file|s3|gs|az|https?)://.+$"
_READS_ROWS: Final = "has(self.metric) || has(self.output)"
_BOUNDED: Final = "has(self.min) || has(self.max)"

Bound = float | None


class Holdout(ApiModel):
    """Labelled rows that the model was not trained on, as a Parquet file."""

    uri: Annotated[str, Field(pattern=HOLDOUT_URI, max_length=2048)] = Field(
        description="Where the Parquet file is: s3://bucket/key, gs://bucket/key, az://container/blob, https://…, "
        "http://… or file:///path; on a cluster a place that the platform's settings allow.",
        json_schema_extra=validations(
            Rule(
                "!self.matches('^[a-z0-9]+://[^/?#]*@')",
                "a user or password is in uri, where none may be; put HTTP_USER and HTTP_PASSWORD, HTTP_TOKEN or the "
                "keys of S3 into the Secret of credentialsSecretRef",
            )
        ),
    )
    label: ColumnName = Field(description="Column with what is true: a class (text, integer or boolean) or a number.")
    features: list[ColumnName] | None = Field(
        default=None,
        min_length=1,
        max_length=2000,
        description="Columns that the model is fed with, in the order in which it takes them. Absent: those of "
        "spec.features.refs, each called feature or view__feature; without refs all columns but the label, in the "
        "order of the file. A model with several inputs takes each from the column of the input's name.",
        json_schema_extra=ATOMIC_LIST,
    )
    output: Annotated[str, Field(min_length=1, max_length=253)] | None = Field(
        default=None,
        description="The model's output that holds its predictions: scores, classes or values. Absent: the first "
        "output of classes (integers, texts, booleans), and the first of floats, whichever there are.",
    )
    positive: Annotated[str, Field(min_length=1, max_length=253)] | None = Field(
        default=None, description="The class that counts as positive, of two. Default: 1, or true."
    )
    threshold: float | None = Field(
        default=None,
        description="Where scores say the positive class, if the model itself gives no classes: from this on. "
        "Default: 0.5, for scores between 0 and 1.",
    )
    min_rows: int = Field(
        default=100,
        ge=1,
        le=10_000_000,
        description="With fewer rows nothing is decided: the rules that read them are Inconclusive.",
    )
    max_rows: int = Field(
        default=1_000_000,
        ge=1,
        le=10_000_000,
        description="So many rows are read from the beginning of the file; what comes after them is left out.",
    )
    credentials_secret_ref: SecretRef | None = Field(
        default=None,
        description="Secret for the holdout, with the same keys as that of spec.model.credentialsSecretRef.",
    )

    rules: ClassVar = (Rule("self.minRows <= self.maxRows", "minRows must not be greater than maxRows (1000000)"),)


class GateRule(ApiModel):
    """One rule, about exactly one of: a metric, an output's mean, a latency, the size of the file."""

    metric: MetricName | None = Field(
        default=None,
        description="Metric over the holdout: accuracy, f1, precision, recall (of the positive class; the mean over "
        "the classes where there are more than two), auc, logloss, brier, ece (expected calibration error), rmse, "
        "mae, r2.",
    )
    output: Annotated[str, Field(min_length=1, max_length=253)] | None = Field(
        default=None, description="An output of the model, one number per row: its mean over the holdout."
    )
    min: Bound = Field(default=None, description="Least value of the metric or output that passes.")
    max: Bound = Field(default=None, description="Greatest value of the metric or output that passes.")
    not_worse_than: Annotated[Literal["champion"], Field(json_schema_extra={"enum": ["champion"]})] | None = Field(
        default=None,
        description="champion: the metric is compared with that of the model that serves now, on the same rows. It "
        "passes where the service has no champion yet.",
    )
    margin: Annotated[float, Field(ge=0)] | None = Field(
        default=None, description="How much worse than the champion it may be, in units of the metric. Default: 0."
    )
    latency_p50: Duration | None = Field(
        default=None, description="Longest median of the time of one run of the warm model, as 20ms."
    )
    latency_p99: Duration | None = Field(
        default=None, description="Longest time that 99 of 100 runs of the warm model may take, as 50ms."
    )
    rows: Annotated[int, Field(ge=1, le=4096)] | None = Field(
        default=None,
        description="Rows of each run whose latency is measured. Absent: 1, and as many as requests may share a run "
        "with (spec.inference.batching.maxRows); both have to pass.",
    )
    max_size: Quantity | None = Field(default=None, description="Most bytes of the model's file, as 500Mi.")

    rules: ClassVar = (
        Rule(
            "[has(self.metric), has(self.output), has(self.latencyP50), has(self.latencyP99), has(self.maxSize)]"
            ".exists_one(given, given)",
            "a rule is about exactly one of metric, output, latencyP50, latencyP99, maxSize; write an entry for each",
        ),
        Rule(
            f"!({_READS_ROWS}) || [{_BOUNDED}, has(self.notWorseThan)].exists_one(given, given)",
            "say what passes: min, max or both; or, for a metric, notWorseThan: champion in an entry of its own",
        ),
        Rule(
            f"({_READS_ROWS}) || !({_BOUNDED} || has(self.notWorseThan))",
            "min, max and notWorseThan are about a metric or an output; a latency and maxSize are bounds themselves",
        ),
        Rule(
            "!has(self.notWorseThan) || has(self.metric)",
            "notWorseThan is about a metric: of an output it is not known whether more or less is better",
        ),
        Rule("!has(self.margin) || has(self.notWorseThan)", "margin belongs to notWorseThan"),
        Rule("!has(self.rows) || has(self.latencyP50) || has(self.latencyP99)", "rows belongs to a latency"),
        Rule("!has(self.min) || !has(self.max) || self.min <= self.max", "min must not be greater than max"),
        Rule(
            f"!has(self.metric) || !has(self.min) || !(self.metric in {_AT_MOST_ONE}) || self.min <= 1.0",
            "no model passes: min is above 1, the most that this metric can be",
        ),
        Rule(
            "!has(self.metric) || !has(self.max) || self.metric == 'r2' || self.max >= 0.0",
            "no model passes: max is below 0, the least that this metric can be",
        ),
    )


class Gates(ApiModel):
    """What a revision has to pass before it gets any traffic; until then the revision before it serves on."""

    holdout: Holdout | None = Field(
        default=None,
        description="Rows for metrics. Latency is measured on them too; without, on rows of zeros.",
    )
    # Of another name inside, where ``rules`` are those of CEL.
    entries: list[GateRule] = Field(
        alias="rules",
        min_length=1,
        max_length=16,
        description="All of them have to pass.",
        json_schema_extra=ATOMIC_LIST,
    )

    rules: ClassVar = (
        Rule(
            "has(self.holdout) || !self.rules.exists(rule, has(rule.metric) || has(rule.output))",
            "metrics and outputs are judged over rows: say in holdout where they are",
        ),
    )


class GateRuleStatus(StatusModel):
    """How one rule came out."""

    rule: str = Field(description="The rule, such as f1 min 0.85.")
    verdict: str = Field(description="Pass, Fail or Inconclusive.")
    message: str = Field(description="Value and bound, or why nothing can be said, in a sentence.")
    value: float | None = Field(default=None, description="What was measured: of a metric, in seconds, in bytes.")
    bound: float | None = Field(default=None, description="What it was compared with.")


class GatePass(StatusModel):
    """A revision that has passed, so that going back to it is not judged again."""

    revision: str = Field(description="The revision.")
    spec: str = Field(description="Digest of the gates that it passed.")
    digest: str = Field(description="SHA-256 of the model that was judged.")
    bytes: int | None = Field(default=None, description="Size of that model.")


class GatesStatus(StatusModel):
    """The judgement of the revision that the spec asks for."""

    verdict: str = Field(description="Pass, Fail, Inconclusive, Running or Skipped.")
    revision: str = Field(description="The revision that is judged.")
    spec: str = Field(description="Digest of the gates that it is judged by.")
    message: str | None = Field(default=None, description="What decided, in a sentence.")
    reason: str | None = Field(default=None, description="Why there is no judgement, a CamelCase constant.")
    job: str | None = Field(default=None, description="The Job that judges, in the namespace of this object.")
    attempt: int | None = Field(default=None, description="Counts Jobs that ended without a judgement, from 1.")
    command: str | None = Field(default=None, description="The command that asked for this judgement, or skipped it.")
    digest: str | None = Field(default=None, description="SHA-256 of the model that was judged.")
    bytes: int | None = Field(default=None, description="Size of that model.")
    rows: int | None = Field(default=None, description="Rows of the holdout that it was judged over.")
    champion: str | None = Field(default=None, description="SHA-256 of the model that it was compared with.")
    judged_at: Moment | None = Field(default=None, description="When the judgement, or the failure, came in.")
    entries: list[GateRuleStatus] | None = Field(
        alias="rules", default=None, max_length=32, description="How each rule came out.", json_schema_extra=ATOMIC_LIST
    )
    passed: list[GatePass] | None = Field(
        default=None,
        max_length=8,
        description="Revisions that have passed, the newest last.",
        json_schema_extra=ATOMIC_LIST,
    )
