"""Quality rules, compiled to checks.

A rule may ask for several things; each is a check with a result of its own (``offline/quality_verdict.py``). Checks of
rows count all rows of the source that a run reads, also those that are not the latest of their entity. A null passes
every check but ``maxNullRate``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from millrace_core.api.quality import QualityRule
from millrace_core.base import duration
from millrace_core.base.errors import RejectError
from millrace_core.base.shown import shown
from millrace_core.features.expressions import expressions
from millrace_core.features.expressions.expressions import Expression
from millrace_core.features.expressions.sql_writer import literal

Kind = Literal[
    "maxNullRate",
    "range",
    "allowed",
    "pattern",
    "unique",
    "predicate",
    "freshness",
    "volume",
    "schemaDrift",
    "maxErrorRate",
]

_NAME: Final = 63
_SUBJECTS: Final = ("column", "freshness", "volume", "schema_drift", "predicate", "max_error_rate")
_OF_A_COLUMN: Final[Mapping[Kind, tuple[str, ...]]] = {
    "maxNullRate": ("max_null_rate",),
    "range": ("min", "max"),
    "allowed": ("allowed",),
    "pattern": ("pattern",),
    "unique": ("unique",),
}


@dataclass(frozen=True)
class Check:
    """One check of a rule.

    Attributes:
        name: for people.
        where: the rule's field, such as ``spec.quality[2]``.
        predicate: the condition, of a check of kind ``predicate``.
        feature: of a check of kind ``maxErrorRate``.
        implied: no rule asks for it; its result is told only where it does not pass.
    """

    kind: Kind
    name: str
    where: str
    rule: QualityRule = field(hash=False)
    predicate: Expression | None = None
    feature: str | None = None
    implied: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """The source columns that it reads, join keys and times aside."""
        if self.predicate is not None:
            return tuple(name[0] for name in self.predicate.names)
        return (self.rule.column,) if self.rule.column else ()

    @property
    def counts_rows(self) -> bool:
        """Whether the check counts rows."""
        return self.kind not in ("freshness", "volume", "schemaDrift", "maxErrorRate")


def compile(rules: Sequence[QualityRule]) -> tuple[Check, ...]:  # noqa: A001 the term of the field
    """The checks of the source's rows, in the order of the rules.

    Raises:
        RejectError: a rule has no meaning; names the field.
    """
    found = (check for index, rule in enumerate(rules) for check in _checks(rule, f"spec.quality[{index}]"))
    return tuple(check for check in found if check.kind != "maxErrorRate")


def compile_error_checks(rules: Sequence[QualityRule], stored: Sequence[str]) -> tuple[Check, ...]:
    """The checks of expressions: those of ``maxErrorRate``, and an implied warning for each feature that has none.

    Args:
        rules: the view's, as ``compile`` takes them.
        stored: the stored features that have an expression.

    Raises:
        RejectError: a rule is about no such feature; names the field.
    """
    found: list[Check] = []
    for index, rule in enumerate(rules):
        if rule.max_error_rate is None:
            continue
        where = f"spec.quality[{index}]"
        if not stored or (rule.feature is not None and rule.feature not in stored):
            raise RejectError(
                f"{rule.feature!r} is no stored feature with an expression"
                if rule.feature
                else "the view has no stored feature with an expression",
                hint=f"These are: {', '.join(stored)}" if stored else "Leave the rule out: a run evaluates nothing",
                field=f"{where}.{'feature' if rule.feature else 'maxErrorRate'}",
            )
        found += (_of_errors(name, where, rule) for name in ([rule.feature] if rule.feature else stored))
    named = {check.feature for check in found}
    warning = QualityRule(max_error_rate=0, severity="warn")
    found += (_of_errors(name, "spec.features", warning, implied=True) for name in stored if name not in named)
    return tuple(found)


def _of_errors(feature: str, where: str, rule: QualityRule, *, implied: bool = False) -> Check:
    kind: Kind = "maxErrorRate"
    name = f"{(rule.name or feature)[: _NAME - len(kind) - 1]}.{kind}"
    if rule.name and rule.feature is None:
        name = f"{rule.name}.{feature}"[:_NAME]
    return Check(kind, name, where, rule, feature=feature, implied=implied)


def _checks(rule: QualityRule, where: str) -> list[Check]:
    alone = rule.unique is not None and rule.column is None
    given = [name for name in _SUBJECTS if _has(rule, name)]
    if len(given) + alone != 1:
        raise RejectError(
            f"the rule is about {len(given) + alone} things",
            hint=(
                "A rule is about exactly one of column, freshness, volume, schemaDrift, predicate, maxErrorRate, or "
                "unique alone"
            ),
            field=where,
        )
    if rule.feature is not None and rule.max_error_rate is None:
        raise RejectError("it belongs to maxErrorRate", hint="Name a column in column", field=f"{where}.feature")
    _refuse_impossible(rule, where)
    kinds: list[Kind] = [kind for kind, names in _OF_A_COLUMN.items() if any(_has(rule, name) for name in names)]
    if rule.column is not None:
        return _of_column(rule, rule.column, kinds, where)
    if kinds not in ([], ["unique"]):
        raise RejectError(
            f"{kinds[0]} is about a column, and none is named", hint="Name it in column", field=f"{where}.column"
        )
    if rule.predicate is not None:
        text = expressions.parse(rule.predicate, where=f"{where}.predicate")
        _refuse_request(text, where)
        return [Check("predicate", (rule.name or rule.predicate)[:_NAME], where, rule, text)]
    if rule.max_error_rate is not None:
        return [Check("maxErrorRate", "maxErrorRate", where, rule)]
    kind: Kind = "unique" if alone else "schemaDrift" if rule.schema_drift else "volume" if rule.volume else "freshness"
    if rule.freshness:
        duration.microseconds(rule.freshness, field=f"{where}.freshness")
    return [Check(kind, rule.name or kind, where, rule)]


def _of_column(rule: QualityRule, column: str, kinds: Sequence[Kind], where: str) -> list[Check]:
    if not kinds:
        raise RejectError(
            f"nothing of the column {column!r} is checked",
            hint="Give maxNullRate, min, max, allowed, pattern or unique",
            field=where,
        )
    if rule.pattern is not None:
        _require_pattern(rule.pattern, f"{where}.pattern")
    name = rule.name or column
    return [Check(kind, f"{name[: _NAME - len(kind) - 1]}.{kind}", where, rule) for kind in kinds]


def _refuse_impossible(rule: QualityRule, where: str) -> None:
    if rule.unique is False:
        raise RejectError("false came", hint="Set it to true, or leave it out", field=f"{where}.unique")
    volume = rule.volume
    if volume is not None and volume.min_ratio is None and volume.max_ratio is None:
        raise RejectError("no ratio came", hint="Give minRatio, maxRatio or both", field=f"{where}.volume")
    bounds: list[tuple[str, float | None, str, float | None]] = [("min", rule.min, "max", rule.max)]
    if volume is not None:
        bounds.append(("volume.minRatio", volume.min_ratio, "volume.maxRatio", volume.max_ratio))
    for low, least, high, greatest in bounds:
        if least is not None and greatest is not None and least > greatest:
            raise RejectError(
                f"{least:g} came, which is greater than {high.rpartition('.')[2]}, {greatest:g}",
                hint="Swap them, or leave one out",
                field=f"{where}.{low}",
            )


def _has(rule: QualityRule, name: str) -> bool:
    return getattr(rule, name) is not None


def _require_pattern(pattern: str, where: str) -> None:
    """Refuses a pattern that is no regular expression, or of too many states: DuckDB binds a call with it."""
    call = expressions.parse(f"regexp_matches(x, {literal(pattern)})", where=where)
    try:
        expressions.type_of(call, {("x",): "VARCHAR"}, where=where)
    except RejectError as error:
        raise RejectError(
            f"{shown(pattern, 100)} is no regular expression: {error.message.partition(': ')[2] or error.message}",
            hint="Write it as RE2 has it: without look-around and references back, repeated at most 1000 times",
            field=where,
            reason=error.reason,
        ) from error


def _refuse_request(predicate: Expression, where: str) -> None:
    for name in predicate.names:
        if len(name) > 1:
            raise RejectError(
                f"{'.'.join(name)!r} is of a request, and a run has none",
                hint="Use columns of the source",
                field=f"{where}.predicate",
            )
