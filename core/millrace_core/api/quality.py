"""Quality rules of a FeatureView, checked on the rows of a run before any of them is written."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from millrace_core.api.base import ApiModel, ColumnName, Duration, Identifier, Rule, StatusModel

Severity = Literal["block", "warn"]
Share = Annotated[float, Field(ge=0, le=1)]


def _int_or_text(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"{value!r} came, an integer or a text is expected; write it in quotes")  # noqa: TRY004
    return value


# As Kubernetes' own fields that take a number or a text.
Scalar = Annotated[int | str, BeforeValidator(_int_or_text), WithJsonSchema({"x-kubernetes-int-or-string": True})]

_COLUMN_CHECKS = ("maxNullRate", "min", "max", "allowed", "pattern", "unique")
_HAS_CHECK = " || ".join(f"has(self.{name})" for name in _COLUMN_CHECKS)
_HAS_COLUMN_CHECK = " || ".join(f"has(self.{name})" for name in _COLUMN_CHECKS if name != "unique")
_SUBJECTS = ("column", "freshness", "volume", "schemaDrift", "predicate", "maxErrorRate")
_HAS_SUBJECT = ", ".join(f"has(self.{name})" for name in _SUBJECTS)


class Volume(ApiModel):
    """Rows per hour of a run, against the median of the runs before it."""

    min_ratio: Annotated[float, Field(ge=0)] | None = Field(
        default=None, description="Least rows per hour, as a multiple of the median: 0.5 is half of it."
    )
    max_ratio: Annotated[float, Field(ge=0)] | None = Field(
        default=None, description="Most rows per hour, as a multiple of the median."
    )
    runs: int = Field(
        default=10,
        ge=3,
        le=100,
        description="How many of the last good runs count. Nothing is checked before there were three.",
    )

    rules: ClassVar = (
        Rule("has(self.minRatio) || has(self.maxRatio)", "give minRatio, maxRatio or both"),
        Rule(
            "!has(self.minRatio) || !has(self.maxRatio) || self.minRatio <= self.maxRatio",
            "minRatio must not be greater than maxRatio",
        ),
    )


class QualityRule(ApiModel):
    """One rule, about exactly one of: a column, unique rows, freshness, volume, schemaDrift, a predicate, maxErrorRate.

    The rows are those of the source that a run reads, whether or not they are the latest of their entity. Those of
    maxErrorRate are the rows that a run writes.
    """

    name: Annotated[str, Field(min_length=1, max_length=63)] | None = Field(
        default=None, description="Name of the rule in results; by default what it is about."
    )
    column: ColumnName | None = Field(default=None, description="Column of the source that the checks are about.")
    max_null_rate: Share | None = Field(
        default=None, description="Greatest share of the column's values that may be null, 0 to 1."
    )
    min: float | None = Field(default=None, description="Least value; NaN is none. Nulls pass.")
    max: float | None = Field(default=None, description="Greatest value; NaN is none. Nulls pass.")
    allowed: Annotated[list[Scalar], Field(min_length=1, max_length=1000)] | None = Field(
        default=None, description="The only values that may come. Nulls pass."
    )
    pattern: Annotated[str, Field(min_length=1, max_length=1024)] | None = Field(
        default=None,
        description="Regular expression (RE2) found in every value; ^ and $ bind it to the whole. Nulls pass.",
    )
    unique: bool | None = Field(
        default=None,
        description=(
            "With a column: no value comes twice, nulls aside. Without: no two rows of one entity have one event time."
        ),
    )
    freshness: Duration | None = Field(
        default=None, description="Greatest age of the newest event time, at the end of what a run covers."
    )
    volume: Volume | None = Field(
        default=None, description="Rows per hour against the runs before; checked when a run brings what is new."
    )
    schema_drift: Literal["breaking", "any"] | None = Field(
        default=None,
        description=(
            "Since the last good run no column of the source has gone or changed its type (breaking), and none has "
            "come (any)."
        ),
    )
    predicate: Annotated[str, Field(min_length=1, max_length=8192)] | None = Field(
        default=None,
        description=(
            "SQL condition over the source's columns that every row fulfils. Null passes. It has the functions and the "
            "limits of features' expressions: a value that is too long for it, and a batch that takes two minutes, "
            "fail the run."
        ),
    )
    max_error_rate: Share | None = Field(
        default=None,
        description=(
            "Greatest share of a run's rows for which the expression of a stored feature may fail (a cast, an "
            "overflow), so that its value is null. Without a rule every failure is a warning. With severity block the "
            "expressions are evaluated twice: before anything is written, and for what is written."
        ),
    )
    feature: Identifier | None = Field(
        default=None, description="With maxErrorRate: the feature; absent: every stored feature with an expression."
    )
    max_failing_share: Share = Field(
        default=0.0,
        description=(
            "Greatest share of values that may fail min, max, allowed, pattern or unique, or of rows the predicate."
        ),
    )
    severity: Severity = Field(
        default="block",
        description="block: nothing is written, and the last good values stay. warn: it is reported.",
    )

    rules: ClassVar = (
        Rule(
            f"[{_HAS_SUBJECT}, has(self.unique) && !has(self.column)].exists_one(given, given)",
            "a rule is about exactly one of column, freshness, volume, schemaDrift, predicate, maxErrorRate, or unique "
            "alone",
        ),
        Rule("!has(self.feature) || has(self.maxErrorRate)", "feature belongs to maxErrorRate"),
        Rule(
            f"!has(self.column) || {_HAS_CHECK}",
            "say what of the column is checked: maxNullRate, min, max, allowed, pattern or unique",
        ),
        Rule(
            f"has(self.column) || !({_HAS_COLUMN_CHECK})",
            "maxNullRate, min, max, allowed and pattern are about a column; name it in column",
        ),
        Rule("!has(self.unique) || self.unique", "unique is true or absent"),
        Rule("!has(self.min) || !has(self.max) || self.min <= self.max", "min must not be greater than max"),
    )


class QualityResult(StatusModel):
    """Result of one check in the last run that made it."""

    name: str = Field(description="Name of the check: of its rule, and of what is checked.")
    severity: str = Field(description="block or warn.")
    passed: bool = Field(description="Whether it passed.")
    checked: int | None = Field(default=None, description="Values or rows that were looked at.")
    failing: int | None = Field(default=None, description="How many of them failed.")
    message: str = Field(description="What was found, in a sentence.")
