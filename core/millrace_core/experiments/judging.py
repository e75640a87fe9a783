"""What an experiment's units so far come to: an ordered chain of rules, of which the first that holds decides.

The order is that of the operator: sample ratio, no data, minimum units, then the primary metric. Nothing that is
missing or cannot be computed is a pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from scipy import special

from millrace_core.base.errors import RejectError
from millrace_core.base.shown import shown
from millrace_core.experiments.metric import Epoch, Kind, Pair, compare, units
from millrace_core.stats import arguments, proportion
from millrace_core.stats.group_sequential import GroupSequential
from millrace_core.stats.multiple import holm
from millrace_core.stats.power import METHODS, Method
from millrace_core.stats.results import Comparison, Effect, Inconclusive, Interval
from millrace_core.stats.sample_ratio import SampleRatio
from millrace_core.stats.sequential import ConfidenceSequence, Look, half_width, mixture
from millrace_core.stats.sums import Counts

Verdict = Literal["Promote", "Rollback", "Continue", "Inconclusive"]
Direction = Literal["increase", "decrease"]


@dataclass(frozen=True)
class PastLooks:
    """What the looks before came to, for one challenger.

    Attributes:
        p: the least p-value so far.
        fractions: of the planned information, of a group sequential test.
    """

    p: float = 1.0
    fractions: tuple[float, ...] = ()


@dataclass(frozen=True)
class Rules:
    """How is judged; frozen at the start of an experiment.

    Attributes:
        kind: of the primary metric.
        planned: units of control and one challenger together by plan; with ``fixed`` 0 where none was made.
        method: of looks.
        direction: which way is better.
        alpha: two-sided, over all challengers and looks together.
        min_units: of each arm, before anything is decided.
        sample_ratio: the p below which the split is not what the weights say.

    Raises:
        RejectError: of the field.
    """

    kind: Kind
    planned: int
    method: Method = "sequential"
    direction: Direction = "increase"
    alpha: float = 0.05
    min_units: int = 100
    sample_ratio: float = 0.001

    def __post_init__(self) -> None:
        arguments.level(self.alpha)
        arguments.count(self.min_units, "minUnits")
        arguments.within(self.sample_ratio, 0.0, 0.5, "srm")
        if self.method not in METHODS:
            raise RejectError(f"one of {', '.join(METHODS)} is expected, {shown(self.method)} came", field="method")
        if self.direction not in ("increase", "decrease"):
            raise RejectError(f"increase or decrease is expected, {shown(self.direction)} came", field="direction")
        if arguments.count(self.planned, "plannedUnits") == 0 and self.method != "fixed":
            raise RejectError("the units that were planned are expected, above 0", field="plannedUnits")


@dataclass(frozen=True)
class Challenger:
    """One challenger beside the control.

    Attributes:
        pair: both arms; ``Inconclusive`` where they cannot be compared.
        look: p-value and interval of the difference by the method; the interval is at 1 − alpha / challengers.
        lift: interval of the relative lift, where there is one.
        adjusted: p by Holm, over all challengers.
        fractions: of the looks so far.
    """

    pair: Pair | Inconclusive
    look: Look | None = None
    lift: Interval | None = None
    adjusted: float = 1.0
    fractions: tuple[float, ...] = ()


@dataclass(frozen=True)
class Judgement:
    """The verdict, and all that led to it.

    Attributes:
        verdict: what is to be done.
        reason: a CamelCase constant.
        message: a sentence.
        arm: that is promoted.
        sample_ratio: p of the split; None where one arm or none has units.
        units: by arm.
        challengers: by arm.
    """

    verdict: Verdict
    reason: str
    message: str
    arm: str = ""
    sample_ratio: float | None = None
    units: Mapping[str, int] = field(default_factory=dict)
    challengers: Mapping[str, Challenger] = field(default_factory=dict)


@dataclass(frozen=True)
class _Facts:
    rules: Rules
    control: str
    units: Mapping[str, int]
    weighted: frozenset[str]
    sample_ratio: float | None
    challengers: Mapping[str, Challenger]


_Decision = tuple[Verdict, str, str, str]


def judge(
    epochs: Sequence[Epoch], control: str, rules: Rules, past: Mapping[str, PastLooks] | None = None
) -> Judgement:
    """The verdict on what every arm's units have done so far.

    Args:
        epochs: oldest first; each has every arm.
        control: its name.
        rules: of the experiment.
        past: what the looks before came to, by challenger.

    Raises:
        RejectError: of ``arms`` or ``weights``.
    """
    names = _arms(epochs, control)
    counted = {arm: sum(units(epoch.sums[arm]) for epoch in epochs) for arm in names}
    ratio = SampleRatio()
    for epoch in epochs:
        ratio.update({arm: units(epoch.sums[arm]) for arm in names}, epoch.weights)
    split = ratio.get()
    facts = _Facts(
        rules,
        control,
        counted,
        frozenset(arm for arm in names if any(epoch.weights[arm] > 0 for epoch in epochs)),
        None if isinstance(split, Inconclusive) else split,
        _challengers(list(epochs), control, names, rules, past or {}),
    )
    verdict, reason, message, arm = next(found for rule in _CHAIN if (found := rule(facts)) is not None)
    return Judgement(verdict, reason, message, arm, facts.sample_ratio, counted, facts.challengers)


def _arms(epochs: Sequence[Epoch], control: str) -> list[str]:
    names = list(epochs[0].sums) if epochs else []
    if len(names) < 2:  # noqa: PLR2004 a comparison
        raise RejectError(f"two arms or more are expected, {len(names)} came", field="arms")
    if control not in names:
        raise RejectError(f"no arm is called {shown(control)}; there are {', '.join(names)}", field="control")
    for index, epoch in enumerate(epochs):
        if epoch.sums.keys() != set(names) or epoch.weights.keys() != set(names):
            raise RejectError(f"sums and weights of {', '.join(names)} are expected", field=f"epochs[{index}].arms")
    return names


def _challengers(
    epochs: list[Epoch], control: str, names: list[str], rules: Rules, past: Mapping[str, PastLooks]
) -> dict[str, Challenger]:
    others = [arm for arm in names if arm != control]
    alpha = rules.alpha / len(others)
    found = {}
    for arm in others:
        pair = compare(rules.kind, epochs, control, arm)
        if isinstance(pair, Inconclusive):
            found[arm] = Challenger(pair)
            continue
        before = past.get(arm, PastLooks())
        look, fractions = _look(pair.effect, rules, alpha, before)
        if rules.method == "fixed" and len(epochs) == 1 and rules.kind == "proportion":
            look = _pooled(epochs[0], control, arm, alpha) or look
        if rules.kind == "proportion":
            look = replace(look, interval=Interval(max(look.interval.low, -1.0), min(look.interval.high, 1.0)))
        found[arm] = Challenger(pair, look, _lift(pair, rules, alpha, fractions), 1.0, fractions)
    adjusted = holm([each.look.p if each.look else 1.0 for each in found.values()])
    return {
        arm: Challenger(each.pair, each.look, each.lift, p, each.fractions)
        for (arm, each), p in zip(found.items(), adjusted, strict=True)
    }


def _look(effect: Effect, rules: Rules, alpha: float, past: PastLooks) -> tuple[Look, tuple[float, ...]]:
    """p-value and interval by the method, and the fractions of its looks."""
    if rules.method == "sequential":
        sequence = ConfidenceSequence(rules.planned, alpha, past.p)
        sequence.update(effect)
        return sequence.get(), ()
    if rules.method == "groupSequential":
        group = GroupSequential(rules.planned, alpha, past.fractions, past.p)
        group.update(effect)
        return group.get(), group.fractions
    t = abs(effect.difference / effect.error)
    half = -float(special.stdtrit(effect.freedom, alpha / 2)) * effect.error
    interval = Interval(effect.difference - half, effect.difference + half)
    return Look(effect.n, 2 * float(special.stdtr(effect.freedom, -t)), interval), ()


def _pooled(epoch: Epoch, control: str, arm: str, alpha: float) -> Look | None:
    a, b = epoch.sums[control], epoch.sums[arm]
    found = proportion.two_proportions(a, b, alpha) if isinstance(a, Counts) and isinstance(b, Counts) else None
    return Look(a.n + b.n, found.p, found.interval) if isinstance(found, Comparison) else None


def _lift(pair: Pair, rules: Rules, alpha: float, fractions: tuple[float, ...]) -> Interval | None:
    if isinstance(pair.lift, Inconclusive):
        return None
    if rules.method == "sequential":
        half = float(half_width(pair.lift.error, pair.lift.n, mixture(rules.planned, alpha), alpha))
        return Interval(pair.lift.difference - half, pair.lift.difference + half)
    return _look(pair.lift, rules, alpha, PastLooks(fractions=fractions[:-1]))[0].interval


def _split_differs(facts: _Facts) -> _Decision | None:
    p, limit = facts.sample_ratio, facts.rules.sample_ratio
    if p is None or p >= limit:
        return None
    message = f"units did not come to the arms as the weights say (p = {p:.2g}, limit {limit:g}); no result counts"
    return "Inconclusive", "SampleRatioMismatch", message, ""


def _no_data(facts: _Facts) -> _Decision | None:
    empty = sorted(arm for arm in facts.weighted if not facts.units[arm])
    if not empty:
        return None
    return "Inconclusive", "NoData", f"no unit came to {', '.join(empty)}", ""


def _too_few(facts: _Facts) -> _Decision | None:
    few = [arm for arm in facts.units if arm in facts.weighted and facts.units[arm] < facts.rules.min_units]
    if not few:
        return None
    message = f"{few[0]} has {facts.units[few[0]]:,} units; {facts.rules.min_units:,} are needed before any decision"
    return "Continue", "TooFewUnits", message, ""


def _cannot_compare(facts: _Facts) -> _Decision | None:
    for arm, each in facts.challengers.items():
        if isinstance(each.pair, Inconclusive) and arm in facts.weighted:
            return "Inconclusive", each.pair.reason, f"{arm} beside {facts.control}: {each.pair.message}", ""
    return None


def _too_early(facts: _Facts) -> _Decision | None:
    """A fixed horizon is looked at once, at its end."""
    came = _paired_units(facts)
    if facts.rules.method != "fixed" or came >= facts.rules.planned:
        return None
    message = f"{came:,} of {facts.rules.planned:,} planned units came; a fixed horizon is judged at its end alone"
    return "Continue", "BeforeHorizon", message, ""


def _better(facts: _Facts) -> _Decision | None:
    found = {arm: gain for arm, gain in _decided(facts).items() if gain > 0}
    if not found:
        return None
    arm = max(found, key=lambda each: found[each])
    return "Promote", "PrimaryBetter", f"{arm} is better than {facts.control}: ship it", arm


def _worse(facts: _Facts) -> _Decision | None:
    decided = _decided(facts)
    judged = [arm for arm in facts.challengers if arm in facts.weighted]
    if not judged or not all(decided.get(arm, 0.0) < 0 for arm in judged):
        return None
    return "Rollback", "PrimaryWorse", f"{', '.join(judged)} is worse than {facts.control}: take it back", ""


def _no_difference(facts: _Facts) -> _Decision | None:
    came = _paired_units(facts)
    if came < facts.rules.planned:
        return None
    message = f"all planned units came ({came:,}) and no difference was found that is worth more of them"
    return "Inconclusive", "NoDifference", message, ""


def _go_on(facts: _Facts) -> _Decision:
    came, planned = _paired_units(facts), facts.rules.planned
    message = f"not decided yet: {came:,} of {planned:,} planned units of two arms came ({came / planned:.0%})"
    return "Continue", "NotDecided", message, ""


def _decided(facts: _Facts) -> dict[str, float]:
    """The gain of each challenger that differs, above 0 where it is better."""
    sign = 1.0 if facts.rules.direction == "increase" else -1.0
    return {
        arm: sign * each.pair.effect.difference
        for arm, each in facts.challengers.items()
        if isinstance(each.pair, Pair) and each.adjusted <= facts.rules.alpha
    }


def _paired_units(facts: _Facts) -> int:
    """Units of the pair that has the fewest, among those with traffic."""
    pairs = [facts.units[facts.control] + facts.units[arm] for arm in facts.challengers if arm in facts.weighted]
    return min(pairs, default=0)


_CHAIN: Final[tuple[Callable[[_Facts], _Decision | None], ...]] = (
    _split_differs,
    _no_data,
    _too_few,
    _cannot_compare,
    _too_early,
    _better,
    _worse,
    _no_difference,
    _go_on,
)
