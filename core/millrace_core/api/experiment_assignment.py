"""How an Experiment gives units their arms: what a user may say of it, and what of it is frozen."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from millrace_core.api.base import ATOMIC_LIST, ApiModel, StatusModel

HEADER = r"^[a-z0-9]([-a-z0-9_]*[a-z0-9])?$"


class Assignment(ApiModel):
    """How units, such as users, are given arms: by the gateway's POST /assign, or where the mesh asks the gateway."""

    header: Annotated[str, Field(pattern=HEADER, max_length=128)] = Field(
        default="x-user-id",
        description="Header of requests that has the unit, in lower case: a mesh that asks the gateway sends a request "
        "that has it, and no x-millrace-arm, to the arm of its unit; an override of this header holds for the unit "
        "that has its value.",
    )
    holdout: Annotated[int, Field(ge=0, le=99)] = Field(
        default=0, description="Percentage of units that get the control for good and are left out of all results."
    )
    salt: Annotated[str, Field(max_length=128)] = Field(
        default="",
        description="Mixed with the unit before it is hashed; two experiments with one salt give a unit the same "
        "bucket. Empty: the UID of the object.",
    )


class Slot(StatusModel):
    """The buckets of one challenger, in which it grows."""

    arm: str = Field(description="Name of the arm.")
    start: int = Field(description="Its first bucket.")
    size: int = Field(description="How many buckets there are.")


class AssignmentStatus(StatusModel):
    """What of the assignment is frozen: by it anybody can compute the arm of a unit again."""

    salt: str = Field(description="What is mixed with units.")
    holdout: int = Field(default=0, description="Percentage of units that are held out.")
    slots: list[Slot] = Field(
        max_length=9,
        description="Buckets of the challengers, of 10,000. None of a Bandit, whose weights go to and fro: there a new "
        "unit's arm follows the weights, and who was given an arm before keeps it.",
        json_schema_extra=ATOMIC_LIST,
    )
