"""What ``millrace predictions compare`` prints."""

from __future__ import annotations

from typing import Any, Final

from millrace.cli import output
from millrace.cli.output import Output
from millrace_data.evidence.comparing import Comparison, Side

_SIDE: Final = ["deployment", "failed", "p50 ms", "p99 ms"]
_OUTPUT: Final = ["output", "rows", "agreement", "PSI", "Jensen-Shannon", "Wasserstein", "mean difference"]


def show(found: Comparison, form: Output) -> None:
    """Both sides, and each output."""
    if form is Output.JSON:
        output.document(found.document())
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
