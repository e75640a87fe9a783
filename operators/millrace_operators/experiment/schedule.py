"""When the next step of a ramp is due, and when to look at an Experiment again although nothing happens."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from millrace_core.base import duration
from millrace_operators.experiment.observation import ENDING, PENDING, RUNNING, Observation
from millrace_operators.experiment.types import type_of

# How soon a fact that could not be had is asked for again.
ASK_AGAIN: Final = timedelta(seconds=10)
# How soon it is looked again whether there is a mesh, while an Experiment waits for one: nothing tells of new kinds.
LOOK_FOR_MESH: Final = timedelta(seconds=10)


def next_step_at(observation: Observation) -> datetime | None:
    """When the next step, or what follows the last, is due; None where nothing is."""
    if observation.phase != RUNNING or observation.unready:
        return None
    due = _hold_over_at(observation)
    last = (observation.status.step_index or 0) + 1 >= len(observation.status.steps or [])
    if last and type_of(observation.spec.type).after_ramp(observation) is None:
        return None
    return due


def times_to_look(observation: Observation) -> list[datetime]:
    """When to look again although nothing happens; what is due already stands among them."""
    applied = observation.applied_at()
    times = [
        observation.now + ASK_AGAIN if observation.missing else None,
        observation.now + LOOK_FOR_MESH if not observation.mesh and observation.phase == PENDING else None,
        applied + observation.settle if applied and observation.phase in ENDING else None,
        next_step_at(observation),
        type_of(observation.spec.type).next_look(observation),
    ]
    return [time for time in times if time is not None]


def hold_began_at(observation: Observation) -> datetime | None:
    """Since when the current step has been in force, settling included; None while the route is being changed."""
    applied, taken = observation.applied_at(), observation.status.step_started_at
    return max(applied, taken) if applied is not None and taken is not None else None


def _hold_over_at(observation: Observation) -> datetime | None:
    """When the current step's settle and hold are over; None without steps or while the route is being changed."""
    began, steps = hold_began_at(observation), observation.status.steps or []
    if began is None or not steps:
        return None
    hold = steps[observation.status.step_index or 0].hold
    return began + observation.settle + timedelta(seconds=duration.seconds(hold))
