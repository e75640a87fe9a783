"""The commands of ``millrace experiment``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from millrace.cli.output import Format, Output
from millrace_core.base.errors import RejectError, ReportError
from millrace_core.base.lazy_import import lazy_import

if TYPE_CHECKING:
    from millrace.cli.experiment import analyzing, showing
    from millrace_core.experiments import planning
else:
    analyzing, showing = (lazy_import(f"millrace.cli.experiment.{name}") for name in ("analyzing", "showing"))
    planning = lazy_import("millrace_core.experiments.planning")

app = typer.Typer(no_args_is_help=True)


class Kind(StrEnum):
    """Of a metric, over units."""

    PROPORTION = "proportion"
    MEAN = "mean"
    RATIO = "ratio"


class Method(StrEnum):
    """That judges."""

    SEQUENTIAL = "sequential"
    GROUP_SEQUENTIAL = "groupSequential"
    FIXED = "fixed"


class Direction(StrEnum):
    """That is better."""

    INCREASE = "increase"
    DECREASE = "decrease"


Judged = Annotated[
    Method,
    typer.Option(
        help="sequential: looked at as often as you like; groupSequential: a few looks; fixed: one look, at the end."
    ),
]
Alpha = Annotated[float, typer.Option(help="Two-sided, over all challengers and looks; above 0, below 0.5.")]
Power = Annotated[float, typer.Option(help="The probability with which an effect of --mde is found.")]


@app.command()
def plan(
    kind: Annotated[Kind, typer.Option(help="Of the primary metric.", show_default=False)],
    baseline: Annotated[float, typer.Option(help="The metric's value in the control.", show_default=False)],
    mde: Annotated[
        str,
        typer.Option(help="The least effect to find: 10% of the baseline, or 0.01 in its unit.", show_default=False),
    ],
    daily_units: Annotated[
        float | None, typer.Option(help="Units that come in a day, to all arms together.", show_default=False)
    ] = None,
    variance: Annotated[
        float | None,
        typer.Option(
            help="Of a unit's value; for a ratio R = y/x, of y - R x over the square of the mean of x.",
            show_default=False,
        ),
    ] = None,
    alpha: Alpha = 0.05,
    power: Power = 0.8,
    method: Judged = Method.SEQUENTIAL,
    arms: Annotated[int, typer.Option(help="Arms, with the control.")] = 2,
    weight: Annotated[
        float | None,
        typer.Option(help="Percentage of units of each challenger; default even.", show_default=False),
    ] = None,
    looks: Annotated[
        int | None, typer.Option(help="Looks of groupSequential, equally spaced; default 5.", show_default=False)
    ] = None,
    form: Format = Output.TABLE,
) -> None:
    """Says how many units an experiment needs, and how many whole weeks, by the method that will judge it."""
    with _in_words_of_a_terminal(_PLAN):
        found = planning.plan(
            kind.value,
            baseline,
            mde,
            variance=variance,
            alpha=alpha,
            power_=power,
            daily_units=daily_units,
            method=method.value,
            arms=arms,
            weight=weight,
            looks=looks,
        )
        showing.plan(found, form)


@app.command()
def analyze(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="JSON of sums per arm, or a table (.csv, .parquet) of unit, arm, value.",
            show_default=False,
        ),
    ],
    kind: Annotated[
        Kind | None, typer.Option(help="Of the metric; default what the file says.", show_default=False)
    ] = None,
    control: Annotated[
        str, typer.Option(help="Arm that is the control; default what the file says.", show_default=False)
    ] = "",
    method: Judged = Method.SEQUENTIAL,
    planned_units: Annotated[
        int | None,
        typer.Option(
            help="Units of control and one challenger together, as planned before the start.", show_default=False
        ),
    ] = None,
    mde: Annotated[
        str, typer.Option(help="Plans the units from this effect and the control's data.", show_default=False)
    ] = "",
    alpha: Alpha = 0.05,
    power: Power = 0.8,
    direction: Annotated[Direction, typer.Option(help="Which way is better.")] = Direction.INCREASE,
    weight: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ARM=WEIGHT", help="Traffic of an arm; may be repeated; default even.", show_default=False
        ),
    ] = None,
    min_units: Annotated[int, typer.Option(help="Of each arm, before anything is decided.")] = 100,
    srm: Annotated[float, typer.Option(help="p below which the split is not what the weights say.")] = 0.001,
    form: Format = Output.TABLE,
) -> None:
    """Prints the verdict on an experiment, of what its units have done so far.

    Of a table, the values of a unit's rows are summed (a proportion: any row of 1 counts); a column denominator makes a
    ratio, a column covariate adjusts a mean (CUPED). Units in two arms are left out and told.
    """
    with _in_words_of_a_terminal(_ANALYZE):
        found = analyzing.analyze(
            file,
            analyzing.Options(
                kind=kind.value if kind else "",
                control=control,
                method=method.value,
                planned_units=planned_units,
                mde=mde,
                alpha=alpha,
                power=power,
                direction=direction.value,
                weights=weight or [],
                min_units=min_units,
                srm=srm,
            ),
        )
        showing.analysis(found, form)


# Names of arguments of what is called, as errors have them, that are options here.
_PLAN = ("alpha", "arms", "baseline", "dailyUnits", "kind", "looks", "mde", "method", "power", "variance", "weight")
_ANALYZE = (
    "alpha", "control", "direction", "kind", "mde", "method", "minUnits", "plannedUnits", "power", "srm", "weight",
)  # fmt: skip


@contextmanager
def _in_words_of_a_terminal(options: tuple[str, ...]) -> Iterator[None]:
    """An argument is a flag here, and a library that is missing says how it is installed."""
    try:
        yield
    except RejectError as error:
        if error.field in options:
            error.field = "--" + re.sub("([A-Z])", r"-\1", error.field).lower()
        raise
    except ModuleNotFoundError as error:
        raise ReportError(
            f"the statistics of experiments need {error.name}, which is not installed",
            hint="Install it with: pip install 'millrace[experiments]'",
            reason="LibraryMissing",
        ) from error
