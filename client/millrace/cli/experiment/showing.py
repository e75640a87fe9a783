"""What the commands of experiments print."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from millrace.cli import output
from millrace.cli.experiment.analyzing import Analysis
from millrace.cli.output import Output
from millrace_core.experiments.judging import Challenger
from millrace_core.experiments.metric import Pair
from millrace_core.experiments.planning import Need, Plan
from millrace_core.stats.results import Effect, Interval

_NEED: Final = ["method", "per challenger", "control", "all arms", "days", "whole weeks"]
_ARM: Final = ["arm", "units", "value", "difference", "interval", "lift", "p"]


def plan(found: Plan, form: Output) -> None:
    """The units that a plan needs."""
    if form is Output.JSON:
        output.document(
            {
                "effect": found.effect,
                "alphaPerComparison": found.alpha,
                "plannedUnits": found.planned,
                "plan": _need(found.need),
                "fixed": _need(found.fixed),
            }
        )
        return
    rows = [found.need] if found.need.method == "fixed" else [found.need, found.fixed]
    output.rows([_row(each, form) for each in rows], form, _NEED)
    if form is Output.TABLE:
        weeks = "" if found.need.weeks is None else f", {found.need.weeks} whole weeks"
        _say(
            f"{found.need.challenger:,} units per challenger{weeks}, to find a difference of {found.effect:g}; "
            f"analyze with --planned-units {found.planned}"
        )


def analysis(found: Analysis, form: Output) -> None:
    """A judgement with its arms."""
    judged = found.judgement
    if form is Output.JSON:
        output.document(
            {
                "verdict": judged.verdict,
                "reason": judged.reason,
                "message": judged.message,
                "arm": judged.arm,
                "method": found.rules.method,
                "alpha": found.rules.alpha,
                "plannedUnits": found.rules.planned,
                "sampleRatioP": judged.sample_ratio,
                "unitsInTwoArms": found.data.left_out,
                "control": found.data.control,
                "arms": [_arm(found, arm) for arm in judged.units],
            }
        )
        return
    output.rows([_shown(_arm(found, arm)) for arm in judged.units], form, _ARM)
    if form is Output.TABLE:
        if found.data.left_out:
            output.note(f"{found.data.left_out:,} units in two arms were left out")
        _say(f"{judged.verdict}: {judged.message}")


def _say(text: str) -> None:
    """A result in words."""
    output.console().print(text, highlight=False, markup=False, soft_wrap=True)


def _need(need: Need) -> Mapping[str, Any]:
    return {
        "method": need.method,
        "unitsPerChallenger": need.challenger,
        "unitsOfControl": need.control,
        "units": need.total,
        "days": need.days,
        "weeks": need.weeks,
    }


def _row(need: Need, form: Output) -> Mapping[str, Any]:
    said = asdict(need)
    if form is Output.TABLE:
        said = {key: f"{value:,}" if isinstance(value, int) else value for key, value in said.items()}
    columns = (said["method"], said["challenger"], said["control"], said["total"], said["days"], said["weeks"])
    return dict(zip(_NEED, columns, strict=True))


def _arm(found: Analysis, arm: str) -> Mapping[str, Any]:
    """An arm in JSON."""
    row: dict[str, Any] = {"name": arm, "units": found.judgement.units[arm]}
    pairs = {name: each.pair for name, each in found.judgement.challengers.items()}
    if arm == found.data.control:
        first = next((pair for pair in pairs.values() if isinstance(pair, Pair)), None)
        return row | ({"value": first.control.value} if first else {})
    challenger, pair = found.judgement.challengers[arm], pairs[arm]
    if not isinstance(pair, Pair):
        return row | {"reason": pair.reason, "message": pair.message}
    return row | {"value": pair.treatment.value, "difference": pair.effect.difference, **_tested(challenger, pair)}


def _tested(challenger: Challenger, pair: Pair) -> Mapping[str, Any]:
    found: dict[str, Any] = {"error": pair.effect.error}
    if challenger.look is not None:
        found |= {"interval": _ends(challenger.look.interval), "p": challenger.look.p, "adjustedP": challenger.adjusted}
    if isinstance(pair.lift, Effect) and challenger.lift is not None:
        found |= {"lift": pair.lift.difference, "liftInterval": _ends(challenger.lift)}
    return found


def _shown(arm: Mapping[str, Any]) -> Mapping[str, Any]:
    lift = ""
    if "lift" in arm:
        low, high = arm["liftInterval"]
        lift = f"{arm['lift']:+.2%} ({low:+.2%} to {high:+.2%})"
    interval = "{:.5g} to {:.5g}".format(*arm["interval"]) if "interval" in arm else ""
    return {
        "arm": arm["name"],
        "units": arm["units"],
        "value": arm.get("value"),
        "difference": arm.get("difference"),
        "interval": interval,
        "lift": lift,
        "p": arm.get("adjustedP"),
    }


def _ends(interval: Interval) -> list[float]:
    return [interval.low, interval.high]
