"""The verdict of quality checks on a run: pure, from what the run measured and what earlier good runs left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final, NamedTuple

from millrace_core.api.quality import QualityRule
from millrace_core.base import duration
from millrace_core.base.shown import shown
from millrace_core.features.definition.quality import Check, Kind
from millrace_core.features.types import times

# A volume is compared with at least this many runs, and at most this many are kept.
FEWEST_RUNS: Final = 3
MOST_RUNS: Final = 100

_HOUR: Final = 3_600_000_000
_SHOWN: Final = 5


class CheckCount(NamedTuple):
    """Of one check: how many values or rows it looked at, and how many of them failed."""

    checked: int
    failing: int


@dataclass(frozen=True)
class QualityBaseline:
    """What is kept of a view's good runs, for the checks of later ones.

    Attributes:
        columns: type of each column of the source, by name; None before the first run.
        rates: rows per hour of the last runs that read only new rows, the latest last.
        newest: the newest event time seen, in microseconds.
    """

    columns: Mapping[str, str] | None = None
    rates: tuple[float, ...] = ()
    newest: int | None = None


@dataclass(frozen=True)
class QualityMeasurements:
    """What a run measured of its source.

    Attributes:
        rows: number of rows in ``stretch``; late rows of earlier event times are not among them.
        newest: the newest event time of all rows.
        counts: of each check that counts rows, in their order.
        columns: type of each column of the source.
        stretch: the event times that it reads, after the first up to the second; None where the run does not read only
            new rows, so that its volume cannot be compared.
        upto: the last event time that it reads.
    """

    rows: int
    newest: int | None
    counts: Sequence[CheckCount]
    columns: Mapping[str, str]
    stretch: tuple[int, int] | None
    upto: int


@dataclass(frozen=True)
class CheckResult:
    """The result of one check."""

    name: str
    severity: str
    passed: bool
    message: str
    checked: int | None = None
    failing: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """The form in results of jobs, in run records and in the status."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class QualityVerdict:
    """The results of all checks of a run, and the next baseline, for the case that the run ends well."""

    outcomes: tuple[CheckResult, ...] = ()
    baseline: QualityBaseline = field(default_factory=QualityBaseline)

    @property
    def failing(self) -> tuple[CheckResult, ...]:
        """The results that did not pass, blocking ones first."""
        return tuple(sorted((each for each in self.outcomes if not each.passed), key=lambda each: each.severity))

    @property
    def blocked(self) -> bool:
        """Whether nothing may be written."""
        return any(each.severity == "block" for each in self.failing)


def judge(checks: Sequence[Check], measured: QualityMeasurements, baseline: QualityBaseline) -> QualityVerdict:
    """Judges what a run measured against the baseline of earlier runs."""
    counts = iter(measured.counts)
    outcomes = tuple(
        _counted(check, next(counts)) if check.counts_rows else _compared(check, measured, baseline) for check in checks
    )
    return QualityVerdict(outcomes, _remembered(measured, baseline))


def judge_errors(checks: Sequence[Check], errors: Mapping[str, int], rows: int) -> tuple[CheckResult, ...]:
    """Judges how many of the rows that a run evaluated expressions failed for; implied checks that pass are not told.

    Args:
        checks: of kind ``maxErrorRate``.
        errors: failures by feature; 0 where a feature is not there.
        rows: that the run evaluated.
    """
    results = (_of_errors(check, errors.get(check.feature or "", 0), rows) for check in checks)
    return tuple(result for check, result in zip(checks, results, strict=True) if not (check.implied and result.passed))


def _of_errors(check: Check, failing: int, rows: int) -> CheckResult:
    allowed = check.rule.max_error_rate or 0.0
    share = f" ({failing / rows:.2%}; at most {allowed:.2%} may)" if failing and allowed and rows else ""
    says = f"the expression of {check.feature} fails for {failing:,} of {rows:,} rows, whose value is null{share}"
    passed = failing <= allowed * rows
    return CheckResult(check.name, check.rule.severity, passed, says, rows, failing)


_FAULTS: Final[Mapping[Kind, str]] = {
    "maxNullRate": "are null",
    "allowed": "are not among those allowed",
    "unique": "come again",
    "predicate": "do not fulfil it",
}


def _counted(check: Check, count: CheckCount) -> CheckResult:
    rule, (checked, failing) = check.rule, count
    allowed = rule.max_null_rate if check.kind == "maxNullRate" else rule.max_failing_share
    passed = failing <= (allowed or 0) * checked
    what = "values" if rule.column else "rows"
    fault = _FAULTS.get(check.kind) or (
        _outside(rule) if check.kind == "range" else f"do not match {shown(rule.pattern, 60)}"
    )
    share = f" ({failing / checked:.2%}; at most {allowed:.2%} may)" if failing and allowed else ""
    return CheckResult(
        check.name, rule.severity, passed, f"{failing:,} of {checked:,} {what} {fault}{share}", checked, failing
    )


def _outside(rule: QualityRule) -> str:
    if rule.max is None:
        return f"are less than {rule.min:g}"
    return f"are greater than {rule.max:g}" if rule.min is None else f"are not within {rule.min:g} to {rule.max:g}"


def _compared(check: Check, measured: QualityMeasurements, baseline: QualityBaseline) -> CheckResult:
    found = {"freshness": _freshness, "volume": _volume, "schemaDrift": _drift}[check.kind](
        check.rule, measured, baseline
    )
    return CheckResult(check.name, check.rule.severity, *found)


def _freshness(rule: QualityRule, measured: QualityMeasurements, baseline: QualityBaseline) -> tuple[bool, str]:
    newest = max((each for each in (measured.newest, baseline.newest) if each is not None), default=None)
    if newest is None:
        return False, "there was no row yet"
    age, most = measured.upto - newest, duration.microseconds(rule.freshness or "0s")
    says = f"the newest event time is {times.render(newest)}, {age / 1e6:,.0f} s before {times.render(measured.upto)}"
    return age <= most, f"{says}; at most {rule.freshness} may pass"


def _volume(rule: QualityRule, measured: QualityMeasurements, baseline: QualityBaseline) -> tuple[bool, str]:
    rate = _rate(measured)
    if rate is None or rule.volume is None:
        return True, "not checked: the run does not just bring what is new"
    recent = baseline.rates[-rule.volume.runs :]
    if len(recent) < FEWEST_RUNS:
        return True, f"not checked: {len(recent)} runs came before, {FEWEST_RUNS} are needed"
    usual = median(recent)
    least, most = rule.volume.min_ratio, rule.volume.max_ratio
    passed = (least is None or rate >= least * usual) and (most is None or rate <= most * usual)
    bounds = f"{0 if least is None else least * usual:,.0f} to {'any' if most is None else f'{most * usual:,.0f}'}"
    return passed, f"{rate:,.0f} rows per hour, the median of {len(recent)} runs is {usual:,.0f}; expected {bounds}"


def _rate(measured: QualityMeasurements) -> float | None:
    if measured.stretch is None or measured.stretch[0] >= measured.stretch[1]:
        return None
    return measured.rows * _HOUR / (measured.stretch[1] - measured.stretch[0])


def _drift(rule: QualityRule, measured: QualityMeasurements, baseline: QualityBaseline) -> tuple[bool, str]:
    before, now = baseline.columns, measured.columns
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


def _remembered(measured: QualityMeasurements, baseline: QualityBaseline) -> QualityBaseline:
    rate = _rate(measured)
    return QualityBaseline(
        columns=dict(measured.columns),
        rates=baseline.rates if rate is None else (*baseline.rates, round(rate, 3))[-MOST_RUNS:],
        newest=max((each for each in (measured.newest, baseline.newest) if each is not None), default=None),
    )
