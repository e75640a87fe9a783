"""The answer of the gateway's ``GET /experiments/<namespace>/<name>/sums``: the sums of an experiment's units.

Units count in the arm and epoch of their first exposure. ``x`` of a unit is the sum of its outcomes: of a proportion 1
where that is above 0, else 0. Units that were exposed and have no outcome stand in ``exposures`` alone: their x is 0,
so the units of a mean or a proportion are those of ``exposures``, and ``n`` says how many of them have an outcome.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

Count = Annotated[int, Field(ge=0)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Answer(BaseModel):
    """camelCase outside; fields that are not known are ignored, since a newer gateway may give them."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


class MetricSums(_Answer):
    """One metric in one arm and epoch.

    Attributes:
        n: units with at least one outcome.
        sum, sum_squares: Σx and Σx² over these units, rounded once from exact sums.
        sum_other, sum_other_squares, sum_products: Σz, Σz² and Σxz, z being a ratio's denominator or a mean's
            covariate; None where the metric has neither.
    """

    n: Count
    sum: Finite
    sum_squares: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    sum_other: Finite | None = None
    sum_other_squares: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    sum_products: Finite | None = None


class ExperimentSums(_Answer):
    """All sums of one experiment.

    Attributes:
        as_of: when they were read.
        whole: whether the store has all that the logs have. Where it does not, the gateway answers 503 instead.
        exposures: units by the epoch's number in ``status.epochs``, and arm.
        metrics: by name of ``spec.metrics``, epoch and arm.
        crossovers: units that were seen in two arms; they count in the first.
        unexposed: outcomes kept apart, because their unit was not exposed, or not yet when they came about.
        late: outcomes that were received more than an hour after they came about; they count.
    """

    as_of: AwareDatetime
    whole: bool
    exposures: dict[int, dict[str, Count]] = Field(default_factory=dict)
    metrics: dict[str, dict[int, dict[str, MetricSums]]] = Field(default_factory=dict)
    crossovers: Count = 0
    unexposed: Count = 0
    late: Count = 0
