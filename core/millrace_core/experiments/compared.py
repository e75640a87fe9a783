"""The answer of the gateway's ``GET /v1/predictions/<namespace>/<service>/comparison``: two deployments, one request.

What is not a number, as the Wasserstein distance of labels, is left out.
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


class ComparedOutput(_Answer):
    """One output; as ``millrace_core.experiments.shadow.OutputComparison``."""

    name: str
    pairs: Count
    agreement: Finite
    psi: Finite
    jensen_shannon: Finite
    wasserstein: Finite | None = None
    mean_difference: Finite | None = None


class ComparedPredictions(_Answer):
    """All outputs.

    Attributes:
        as_of: when the lake was read.
        requests: that both have in it.
        rows: of them that both answered.
    """

    as_of: AwareDatetime
    requests: Count
    rows: Count
    outputs: list[ComparedOutput] = Field(default_factory=list)
