"""From rules and what was measured to verdicts with sentences. Pure; what measures calls it last."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from millrace_core.api.gates import GateRule
from millrace_core.base import duration
from millrace_core.base.quantities import quantity
from millrace_core.gates.measured import Measured
from millrace_core.gates.metrics import METRICS
from millrace_core.stats.results import Inconclusive

# Most of one sentence: all of a judgement has to fit into a termination message.
_MOST: Final = 400
_SIZES: Final = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))


class Verdict(StrEnum):
    """How a rule, or all of them, came out."""

    PASS = "Pass"  # noqa: S105 a verdict
    FAIL = "Fail"
    INCONCLUSIVE = "Inconclusive"


@dataclass(frozen=True)
class Outcome:
    """How one rule came out, with what was measured and what it was compared with."""

    rule: str
    verdict: Verdict
    message: str
    value: float | None = None
    bound: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """As the status has it; figures that there are none of are left out."""
        figures = {"value": self.value, "bound": self.bound}
        told = {name: float(f"{figure:.6g}") for name, figure in figures.items() if figure is not None}
        return {"rule": self.rule, "verdict": self.verdict.value, "message": self.message[:_MOST], **told}


@dataclass(frozen=True)
class NoChampion:
    """There is nothing to be worse than; ``why`` is a sentence."""

    why: str


Evidence = Measured | Inconclusive


def overall(outcomes: Iterable[Outcome]) -> Verdict:
    """Fail where any rule failed, else Inconclusive where any is, else Pass; of no outcome at all nothing follows."""
    found = {outcome.verdict for outcome in outcomes}
    if Verdict.FAIL in found:
        return Verdict.FAIL
    return Verdict.PASS if found == {Verdict.PASS} else Verdict.INCONCLUSIVE


def judge(rule: GateRule, found: Evidence, champion: Evidence | NoChampion | None = None) -> Outcome:
    """The verdict on one rule.

    Args:
        found: of the metric or output its value, of a latency seconds, of a size bytes.
        champion: the metric of the model that serves now, where the rule asks for it.
    """
    name = title(rule)
    if isinstance(found, Inconclusive):
        return unsettled(rule, found.message)
    if rule.not_worse_than is not None and isinstance(champion, NoChampion):
        return Outcome(name, Verdict.PASS, f"{champion.why}, so there is nothing to be worse than")
    if rule.not_worse_than is not None:
        return _against_champion(rule, found, champion)
    for bound, passes, word in _bounds(rule, found.value):
        if not passes:
            return Outcome(
                name,
                Verdict.FAIL,
                f"{_told(rule, found)}; {word} {_figure(rule, bound)} is asked for",
                found.value,
                bound,
            )
    bound = next(bound for bound, _, _ in _bounds(rule, found.value))
    words = " and ".join(f"{word} {_figure(rule, each)}" for each, _, word in _bounds(rule, found.value))
    return Outcome(name, Verdict.PASS, f"{_told(rule, found)}; {words} is asked for", found.value, bound)


def unsettled(rule: GateRule, why: str) -> Outcome:
    """An outcome that nothing follows from."""
    return Outcome(title(rule), Verdict.INCONCLUSIVE, f"{_subject(rule)} is not known: {why}")


def title(rule: GateRule) -> str:
    """The rule in words, such as ``f1 min 0.85``."""
    if rule.not_worse_than is not None:
        margin = f" margin {rule.margin:g}" if rule.margin else ""
        return f"{rule.metric} notWorseThan champion{margin}"
    said = [f"{name} {bound:g}" for name, bound in (("min", rule.min), ("max", rule.max)) if bound is not None]
    limit = rule.latency_p50 or rule.latency_p99 or rule.max_size or ""
    rows = f" rows {rule.rows}" if rule.rows else ""
    subject = rule.metric or (f"output {rule.output}" if rule.output else _FIELDS[_kind(rule)])
    return " ".join([subject, *said, *([limit] if limit else [])]) + rows


_FIELDS: Final = {"p50": "latencyP50", "p99": "latencyP99", "size": "maxSize"}


def _against_champion(rule: GateRule, found: Measured, champion: Evidence | NoChampion | None) -> Outcome:
    if not isinstance(champion, Measured):
        why = champion.message if isinstance(champion, Inconclusive) else "it was not measured"
        return unsettled(rule, f"of the champion, {why}")
    margin, more = rule.margin or 0.0, METRICS[str(rule.metric)].more_is_better
    bound = champion.value - margin if more else champion.value + margin
    passes = found.value >= bound if more else found.value <= bound
    allowed = f", {'less' if more else 'more'} by at most {margin:g} is allowed" if margin else ""
    sentence = f"{_told(rule, found)}; the champion's is {champion.value:.4g} on the same rows{allowed}"
    return Outcome(title(rule), Verdict.PASS if passes else Verdict.FAIL, sentence, found.value, bound)


def _bounds(rule: GateRule, value: float) -> Sequence[tuple[float, bool, str]]:
    """Each bound of a rule, whether the value keeps it, and in words."""
    if rule.metric or rule.output:
        least = [(rule.min, value >= rule.min, "at least")] if rule.min is not None else []
        most = [(rule.max, value <= rule.max, "at most")] if rule.max is not None else []
        return [*least, *most]
    limit = rule.latency_p50 or rule.latency_p99
    bound = duration.seconds(limit) if limit else float(quantity(str(rule.max_size)))
    return [(bound, value <= bound, "at most")]


def _told(rule: GateRule, found: Measured) -> str:
    """Value, interval and number of rows or runs."""
    value = f"{_subject(rule)} is {_figure(rule, found.value)}"
    if rule.max_size:
        return value
    over = f"{found.rows} rows" if rule.metric or rule.output else f"{found.rows} runs"
    if found.low is None or found.high is None:
        return f"{value} ({over})"
    return f"{value} ({_figure(rule, found.low)} to {_figure(rule, found.high)} at 95%, {over})"


def _subject(rule: GateRule) -> str:
    kind, rows = _kind(rule), rule.rows or 1
    if kind == "size":
        return "the file's size"
    if kind in ("p50", "p99"):
        return f"{kind} of the latency of {rows} row{'s' if rows > 1 else ''}"
    return rule.metric or f"the mean of output {rule.output!r}"


def _kind(rule: GateRule) -> str:
    if rule.latency_p50:
        return "p50"
    if rule.latency_p99:
        return "p99"
    return "size" if rule.max_size else "metric"


def _figure(rule: GateRule, value: float) -> str:
    kind = _kind(rule)
    if kind == "size":
        unit, size = next((each for each in _SIZES if value >= each[1]), ("bytes", 1))
        return f"{value / size:.4g} {unit}"
    if kind in ("p50", "p99"):
        return f"{value:.4g} s" if value >= 1 else f"{value * 1000:.4g} ms"
    return f"{value:.4g}"
