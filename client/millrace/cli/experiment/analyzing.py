"""From a file to a judgement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from millrace.cli.experiment import reading
from millrace.cli.experiment.reading import Data
from millrace_core.base.errors import RejectError
from millrace_core.base.shown import shown
from millrace_core.experiments import judging, metric, planning
from millrace_core.experiments.judging import Direction, Judgement, Rules
from millrace_core.experiments.metric import Epoch, Kind
from millrace_core.stats.power import Method
from millrace_core.stats.results import Inconclusive


@dataclass(frozen=True)
class Options:
    """The options of ``millrace experiment analyze``, where its help explains them."""

    kind: Kind | str
    control: str
    method: Method
    planned_units: int | None
    mde: str
    alpha: float
    power: float
    direction: Direction
    weights: Sequence[str]
    min_units: int
    srm: float


@dataclass(frozen=True)
class Analysis:
    """A judgement, by which rules, on which data."""

    judgement: Judgement
    rules: Rules
    data: Data


def analyze(file: Path, options: Options) -> Analysis:
    """Reads and judges.

    Raises:
        RejectError: the file or an option cannot be what it is; nothing is judged.
    """
    data = reading.read(file, options.kind, options.control)
    data = _weighted(data, options.weights)
    rules = Rules(
        kind=data.kind,
        planned=_planned(data, options),
        method=options.method,
        direction=options.direction,
        alpha=options.alpha,
        min_units=options.min_units,
        sample_ratio=options.srm,
    )
    return Analysis(judging.judge(data.epochs, data.control, rules), rules, data)


def _weighted(data: Data, given: Sequence[str]) -> Data:
    """With the weights that options give, for all epochs."""
    if not given:
        return data
    wanted: dict[str, float] = {}
    arms = list(data.epochs[0].sums)
    for each in given:
        arm, equals, number = each.rpartition("=")
        if not equals or arm not in arms:
            raise RejectError(
                f"ARM=WEIGHT with one of {', '.join(arms)} is expected, {shown(each)} came", field="weight"
            )
        try:
            wanted[arm] = float(number)
        except ValueError:
            raise RejectError(
                f"a number is expected as the weight of {arm}, {shown(number)} came", field="weight"
            ) from None
    missing = [arm for arm in arms if arm not in wanted]
    if missing:
        raise RejectError(f"{missing[0]} has no weight, and others have", field="weight")
    return replace(data, epochs=[Epoch(each.sums, wanted) for each in data.epochs])


def _planned(data: Data, options: Options) -> int:
    if options.planned_units is not None:
        return options.planned_units
    if data.planned is not None:
        return data.planned
    if options.mde:
        return _planned_for(data, options)
    if options.method == "fixed":
        return 0
    raise RejectError(
        f"the method {options.method} needs the units that were planned before the start",
        hint="Give --planned-units, or --mde to plan them now; or --method fixed for data that is looked at once",
        field="plannedUnits",
    )


def _planned_for(data: Data, options: Options) -> int:
    """Of the control's own value and variance."""
    sums = data.epochs[0].sums[data.control]
    for epoch in data.epochs[1:]:
        sums = sums + epoch.sums[data.control]  # type: ignore[operator]
    found = metric.estimates(data.kind, sums, sums)
    if isinstance(found, Inconclusive):
        raise RejectError(
            f"the control tells no baseline to plan from: {found.message}", hint="Give --planned-units", field="mde"
        )
    control = found[0]
    weights = data.epochs[-1].weights
    total = sum(weights.values())
    challengers = [arm for arm in weights if arm != data.control and weights[arm] > 0]
    plan = planning.plan(
        data.kind,
        control.value,
        options.mde,
        variance=None if data.kind == "proportion" else control.variance,
        alpha=options.alpha,
        power_=options.power,
        method=options.method,
        arms=len(challengers) + 1,
        weight=100 * min(weights[arm] for arm in challengers) / total if challengers else None,
    )
    return plan.planned
