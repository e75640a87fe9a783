"""A Bandit: what a user may say of how its weights follow what units do, and how far it is."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from millrace_core.api.base import ApiModel, Moment, Rule, StatusModel, validations
from millrace_core.api.modeldeployment import SECONDS_TO_HOURS


class Bandit(ApiModel):
    """How the weights follow the chance of each arm to be the best one."""

    floor: float = Field(
        default=0.05,
        description="The least share of the traffic of each arm, so that what is worse today can show that it is not. "
        "Weights are whole percent, so it is rounded down to one.",
        json_schema_extra=validations(
            Rule("self >= 0.01 && self <= 0.5", "a share from 0.01 to 0.5 is expected, such as 0.05 for 5 percent")
        ),
    )
    every: Annotated[str, Field(pattern=SECONDS_TO_HOURS, max_length=32)] = Field(
        default="1h",
        description="Time between two reweightings, as 15m, 1h or 24h. One waits for a look at the metrics, and each "
        "opens an epoch; the last 100 epochs count.",
        json_schema_extra=validations(Rule("duration(self) >= duration('1m')", "at least 1m")),
    )
    decay: float = Field(
        default=0.98,
        description="How much of its weight what was learnt keeps in each further period of bandit.every. With 1 "
        "nothing is forgotten while its epoch is kept; with 0.98, half after 34 periods.",
        json_schema_extra=validations(Rule("self > 0.0 && self <= 1.0", "a factor above 0 and up to 1 is expected")),
    )

    rules: ClassVar = ()


class BanditStatus(StatusModel):
    """The last reweighting."""

    number: int = Field(description="How many there were.")
    reweighted_at: Moment = Field(description="When the weights were last decided.")
    weights: dict[str, int] = Field(
        description="What was decided: percent by arm, before arms that are not ready have their say; sums to 100."
    )
