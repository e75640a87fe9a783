"""What ``millrace predictions compare`` prints."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from millrace.cli import output
from millrace.cli.output import Output
from millrace.sdk.shadows import ShadowComparison, Side

_SIDE: Final = ["deployment", "failed", "p50 ms", "p99 ms"]
_OUTPUT: Final = ["output", "rows", "agreement", "PSI", "Jensen-Shannon", "Wasserstein", "mean difference"]


def show(found: ShadowComparison, form: Output) -> None:
    """Both sides, and each output."""
    if form is Output.JSON:
        output.document(_document(found))
        return
    sides = [
        dict(zip(_SIDE, (each.deployment, *_figures(each)), strict=True)) for each in (found.control, found.shadow)
    ]
    output.rows(sides, form, _SIDE)
    rows = [
        (each.name, each.pairs, each.agreement, each.psi, each.jensen_shannon, each.wasserstein, each.mean_difference)
        for each in found.outputs
    ]
    output.rows([dict(zip(_OUTPUT, row, strict=True)) for row in rows], form, _OUTPUT)
    text = f"{found.requests:,} requests that both have, {found.rows:,} rows that both answered"
    alone = f"; {found.alone:,} more of {found.shadow.deployment} alone" if found.alone else ""
    output.console().print(text + alone, highlight=False, markup=False, soft_wrap=True)


def _figures(side: Side) -> tuple[Any, ...]:
    return f"{side.failed:.2%}", side.p50_ms, side.p99_ms


def _document(found: ShadowComparison) -> dict[str, Any]:
    names = {"psi": "psi", "jensen_shannon": "jensenShannon", "mean_difference": "meanDifference"}
    return {
        "requests": found.requests,
        "rows": found.rows,
        "alone": found.alone,
        "control": _side(found.control),
        "shadow": _side(found.shadow),
        "outputs": [{names.get(key, key): value for key, value in asdict(each).items()} for each in found.outputs],
    }


def _side(side: Side) -> dict[str, Any]:
    return {"deployment": side.deployment, "failed": side.failed, "p50Ms": side.p50_ms, "p99Ms": side.p99_ms}
