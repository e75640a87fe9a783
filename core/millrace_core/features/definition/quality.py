"""Quality rules, compiled, and what follows from the figures of a run: pure, whoever counted.

What a rule asks for is told apart in checks, each with a result of its own. Checks of rows count rows of the source
that a run reads, whether or not they are the latest of their entity; a null passes all of them but ``maxNullRate``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final, Literal, NamedTuple

from millrace_core.api.quality import QualityRule
from millrace_core.base import duration
from millrace_core.base.errors import RejectError
from millrace_core.features.expressions import expressions
from millrace_core.features.expressions.expressions import Expression
from millrace_core.features.expressions.text import literal
from millrace_core.features.types import times

Kind = Literal[
    "maxNullRate", "range", "allowed", "pattern", "unique", "predicate", "freshness", "volume", "schemaDrift"
]

# Runs without which there is nothing to compare a volume with, and most of them that are remembered.
FEWEST_RUNS: Final = 3
MOST_RUNS: Final = 100

_HOUR: Final = 3_600_000_000
_NAME: Final = 63
_SHOWN: Final = 5
_OF_A_COLUMN: Final[Mapping[Kind, tuple[str, ...]]] = {
    "maxNullRate": ("max_null_rate",),
    "range": ("min", "max"),
    "allowed": ("allowed",),
    "pattern": ("pattern",),
    "unique": ("unique",),
}


@dataclass(frozen=True)
class Check:
    """One thing that a rule asks for.

    Attributes:
        name: for people.
        where: the rule's place in the definition, such as ``spec.quality[2]``.
        predicate: the condition, where that is what is checked.
    """

    kind: Kind
    name: str
    where: str
    rule: QualityRule = field(hash=False)
    predicate: Expression | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the source that it reads, beside join keys and times."""
        if self.predicate is not None:
            return tuple(name[0] for name in self.predicate.names)
        return (self.rule.column,) if self.rule.column else ()

    @property
    def counts_rows(self) -> bool:
        """Whether rows are counted that pass or fail."""
        return self.kind not in ("freshness", "volume", "schemaDrift")


class Count(NamedTuple):
    """Of one check: values or rows looked at, and how many of them failed."""

    checked: int
    failing: int


@dataclass(frozen=True)
class Memory:
    """What is remembered of a view's good runs, beside the watermark.

    Attributes:
        columns: type of each column of the source, by name; None before the first run.
        rates: rows per hour of the last runs that brought what was new, the latest last.
        newest: the newest event time seen, in microseconds.
    """

    columns: Mapping[str, str] | None = None
    rates: tuple[float, ...] = ()
    newest: int | None = None


@dataclass(frozen=True)
class Figures:
    """What a run found in its source.

    Attributes:
        rows: rows of the stretch, without those of earlier event times that were written late.
        newest: the newest event time of all of them.
        counts: of each check that counts rows, in their order.
        columns: type of each column of the source.
        stretch: event times that it reads, after the first up to the second; None where the run does not just bring
            what is new, so that its volume says nothing.
        upto: the last event time that it reads.
    """

    rows: int
    newest: int | None
    counts: Sequence[Count]
    columns: Mapping[str, str]
    stretch: tuple[int, int] | None
    upto: int


@dataclass(frozen=True)
class Outcome:
    """What came of one check."""

    name: str
    severity: str
    passed: bool
    message: str
    checked: int | None = None
    failing: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """As results of jobs, run records and the status have it."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class Verdict:
    """What came of all checks of a run, and what is to be remembered if it ends well."""

    outcomes: tuple[Outcome, ...] = ()
    memory: Memory = field(default_factory=Memory)

    @property
    def failing(self) -> tuple[Outcome, ...]:
        """Those that did not pass, blocking ones first."""
        return tuple(sorted((each for each in self.outcomes if not each.passed), key=lambda each: each.severity))

    @property
    def blocked(self) -> bool:
        """Whether nothing may be written."""
        return any(each.severity == "block" for each in self.failing)


def compile(rules: Sequence[QualityRule]) -> tuple[Check, ...]:  # noqa: A001 the term of the field
    """The checks that the rules ask for, in their order.

    Raises:
        RejectError: a rule means nothing; names the field.
    """
    return tuple(check for index, rule in enumerate(rules) for check in _checks(rule, f"spec.quality[{index}]"))


def judge(checks: Sequence[Check], figures: Figures, memory: Memory) -> Verdict:
    """What the figures of a run mean."""
    counts = iter(figures.counts)
    outcomes = tuple(
        _counted(check, next(counts)) if check.counts_rows else _compared(check, figures, memory) for check in checks
    )
    return Verdict(outcomes, _remembered(figures, memory))


def _checks(rule: QualityRule, where: str) -> list[Check]:
    alone = rule.unique is not None and rule.column is None
    given = [name for name in ("column", "freshness", "volume", "schema_drift", "predicate") if _has(rule, name)]
    if len(given) + alone != 1:
        raise RejectError(
            f"the rule is about {len(given) + alone} things",
            hint="A rule is about exactly one of column, freshness, volume, schemaDrift, predicate, or unique alone",
            field=where,
        )
    _refuse_what_cannot_be(rule, where)
    asked: list[Kind] = [kind for kind, names in _OF_A_COLUMN.items() if any(_has(rule, name) for name in names)]
    if rule.column is not None:
        if not asked:
            raise RejectError(
                f"nothing of the column {rule.column!r} is checked",
                hint="Give maxNullRate, min, max, allowed, pattern or unique",
                field=where,
            )
        if rule.pattern is not None:
            _require_pattern(rule.pattern, f"{where}.pattern")
        name = rule.name or rule.column
        return [Check(kind, f"{name[: _NAME - len(kind) - 1]}.{kind}", where, rule) for kind in asked]
    if asked not in ([], ["unique"]):
        raise RejectError(
            f"{asked[0]} is about a column, and none is named", hint="Name it in column", field=f"{where}.column"
        )
    if rule.predicate is not None:
        text = expressions.parse(rule.predicate, where=f"{where}.predicate")
        _refuse_request(text, where)
        return [Check("predicate", (rule.name or rule.predicate)[:_NAME], where, rule, text)]
    kind: Kind = "unique" if alone else "schemaDrift" if rule.schema_drift else "volume" if rule.volume else "freshness"
    if rule.freshness:
        duration.microseconds(rule.freshness, field=f"{where}.freshness")
    return [Check(kind, rule.name or kind, where, rule)]


def _refuse_what_cannot_be(rule: QualityRule, where: str) -> None:
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
    """Refuses what is no regular expression, by binding a call with it."""
    call = expressions.parse(f"regexp_matches(x, {literal(pattern)})", where=where)
    expressions.type_of(call, {("x",): "VARCHAR"}, where=where)


def _refuse_request(predicate: Expression, where: str) -> None:
    for name in predicate.names:
        if len(name) > 1:
            raise RejectError(
                f"{'.'.join(name)!r} is of a request, and a run has none",
                hint="Use columns of the source",
                field=f"{where}.predicate",
            )


_FAULTS: Final[Mapping[Kind, str]] = {
    "maxNullRate": "are null",
    "allowed": "are not among those allowed",
    "unique": "come again",
    "predicate": "do not fulfil it",
}


def _counted(check: Check, count: Count) -> Outcome:
    rule, (checked, failing) = check.rule, count
    allowed = rule.max_null_rate if check.kind == "maxNullRate" else rule.max_failing_share
    passed = failing <= (allowed or 0) * checked
    what = "values" if rule.column else "rows"
    fault = _FAULTS.get(check.kind) or (
        _outside(rule) if check.kind == "range" else f"do not match {rule.pattern!r:.60}"
    )
    share = f" ({failing / checked:.2%}; at most {allowed:.2%} may)" if failing and allowed else ""
    return Outcome(
        check.name, rule.severity, passed, f"{failing:,} of {checked:,} {what} {fault}{share}", checked, failing
    )


def _outside(rule: QualityRule) -> str:
    if rule.max is None:
        return f"are less than {rule.min:g}"
    return f"are greater than {rule.max:g}" if rule.min is None else f"are not within {rule.min:g} to {rule.max:g}"


def _compared(check: Check, figures: Figures, memory: Memory) -> Outcome:
    found = {"freshness": _freshness, "volume": _volume, "schemaDrift": _drift}[check.kind](check.rule, figures, memory)
    return Outcome(check.name, check.rule.severity, *found)


def _freshness(rule: QualityRule, figures: Figures, memory: Memory) -> tuple[bool, str]:
    newest = max((each for each in (figures.newest, memory.newest) if each is not None), default=None)
    if newest is None:
        return False, "there was no row yet"
    age, most = figures.upto - newest, duration.microseconds(rule.freshness or "0s")
    says = f"the newest event time is {times.render(newest)}, {age / 1e6:,.0f} s before {times.render(figures.upto)}"
    return age <= most, f"{says}; at most {rule.freshness} may pass"


def _volume(rule: QualityRule, figures: Figures, memory: Memory) -> tuple[bool, str]:
    rate = _rate(figures)
    if rate is None or rule.volume is None:
        return True, "not checked: the run does not just bring what is new"
    recent = memory.rates[-rule.volume.runs :]
    if len(recent) < FEWEST_RUNS:
        return True, f"not checked: {len(recent)} runs came before, {FEWEST_RUNS} are needed"
    usual = median(recent)
    least, most = rule.volume.min_ratio, rule.volume.max_ratio
    passed = (least is None or rate >= least * usual) and (most is None or rate <= most * usual)
    bounds = f"{0 if least is None else least * usual:,.0f} to {'any' if most is None else f'{most * usual:,.0f}'}"
    return passed, f"{rate:,.0f} rows per hour, the median of {len(recent)} runs is {usual:,.0f}; expected {bounds}"


def _rate(figures: Figures) -> float | None:
    if figures.stretch is None or figures.stretch[0] >= figures.stretch[1]:
        return None
    return figures.rows * _HOUR / (figures.stretch[1] - figures.stretch[0])


def _drift(rule: QualityRule, figures: Figures, memory: Memory) -> tuple[bool, str]:
    before, now = memory.columns, figures.columns
    if before is None:
        return True, "not checked: no run came before"
    changes = [f"{name!r} is gone" for name in before if name not in now]
    changes += [f"{name!r} was {kind}, is {now[name]}" for name, kind in before.items() if now.get(name, kind) != kind]
    if rule.schema_drift == "any":
        changes += [f"{name!r} is new" for name in now if name not in before]
    if not changes:
        return True, f"the source has the {len(before)} columns that it had"
    more = f", and {len(changes) - _SHOWN} more" if len(changes) > _SHOWN else ""
    return False, f"columns changed since the last good run: {', '.join(changes[:_SHOWN])}{more}"


def _remembered(figures: Figures, memory: Memory) -> Memory:
    rate = _rate(figures)
    return Memory(
        columns=dict(figures.columns),
        rates=memory.rates if rate is None else (*memory.rates, round(rate, 3))[-MOST_RUNS:],
        newest=max((each for each in (figures.newest, memory.newest) if each is not None), default=None),
    )
