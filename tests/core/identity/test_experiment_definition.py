"""What an experiment's results compare."""

from __future__ import annotations

from typing import Any

import pytest

from millrace_core.api.experiment import Experiment
from millrace_core.identity.experiment_definition import experiment_definition
from tests import builders

AB = builders.experiment("ab", "ranking", "v1", "v2")
ARMS = AB.build()["spec"]["arms"]


def definition(built: builders.Built) -> str:
    return experiment_definition(Experiment.model_validate(built.build()).spec)


def changed(index: int, **fields: Any) -> builders.Built:
    return AB.having("spec.arms", [{**arm, **(fields if at == index else {})} for at, arm in enumerate(ARMS)])


@pytest.mark.parametrize(
    "other",
    [
        changed(1, weight=7),
        AB.having("spec.arms", list(reversed(ARMS))),
        AB.having("spec.overrides", [{"header": "x", "value": "y", "arm": ARMS[1]["name"]}]),
        AB.having("metadata.name", "another"),
    ],
    ids=["weights", "order", "overrides", "name"],
)
def test_what_only_leads_traffic_to_the_arms_does_not_change_it(other: builders.Built) -> None:
    assert definition(other) == definition(AB)


@pytest.mark.parametrize(
    "other",
    [
        changed(1, deployment="v3"),
        changed(1, name="third"),
        AB.having("spec.arms", [*ARMS, {"name": "c", "deployment": "v3", "weight": 5}]),
        AB.having("spec.service", "search"),
        AB.having(
            "spec.arms",
            [
                {**ARMS[0], "control": False, "weight": 5},
                {"name": ARMS[1]["name"], "deployment": "v2", "control": True},
            ],
        ),
    ],
    ids=["a deployment", "a name", "an arm more", "the service", "the control"],
)
def test_what_is_compared_changes_it(other: builders.Built) -> None:
    assert definition(other) != definition(AB)
