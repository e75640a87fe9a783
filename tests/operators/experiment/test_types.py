"""Experiment types: one object each, and nothing else that knows their names."""

from __future__ import annotations

import asyncio
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

import millrace_operators
from millrace_core.api import experiment_types
from millrace_operators.experiment.types import TYPES
from millrace_operators.facts.gathering import FactGatherer
from tests import builders
from tests.operators.experiment.life import Life
from tests.operators.experiment.toy_type import Lift, Lifts, Toy

ROOT = Path(millrace_operators.__path__[0]) / "experiment"


def test_the_api_and_the_operator_know_the_same_types() -> None:
    assert tuple(TYPES) == experiment_types.NAMES


def test_no_file_but_a_types_own_and_the_registry_names_it() -> None:
    pattern = "|".join(f"[\"']{name}[\"']" for name in TYPES)
    found = subprocess.run(
        ["grep", "-rlE", "--include=*.py", pattern, str(ROOT)], capture_output=True, text=True, check=False
    )
    assert [Path(line).relative_to(ROOT).as_posix() for line in found.stdout.split()] == ["types/__init__.py"]


def test_a_type_that_this_release_does_not_know_is_refused_before_it_starts() -> None:
    life = Life(builders.experiment("new", "shop", "v1", "v2").having("spec.type", "Quantum").build())
    life.run(60)
    assert (life.phase, life.condition("Accepted"), life.routed) == ("Pending", "False UnknownType", "v1:100")


def test_a_running_experiment_whose_type_is_not_known_any_more_holds_its_weights_and_obeys_commands() -> None:
    life = Life(builders.experiment("old", "shop", "v1", "v2").build())
    life.run(60)
    life.document["spec"]["type"] = "Quantum"
    life.run(86400)
    assert (life.phase, life.routed) == ("Running", "v1:80 v2:20")
    life.command = "1:abort"
    life.run(60)
    assert life.phase == "Failed"


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Life:
    """The one line that a new type needs, and an experiment of it that runs."""
    monkeypatch.setitem(TYPES, "Toy", Toy())
    life = Life(builders.experiment("try", "shop", "v1", "v2").having("spec.type", "Toy").build())
    life.run(30)
    assert (life.phase, life.routed) == ("Running", "v1:80 v2:20")
    return life


def learn(life: Life, lift: float, *, age: timedelta = timedelta()) -> None:
    """One turn's facts: what the type asks for is asked of its source, which was added by its own line."""
    gatherer = FactGatherer([Lifts(lift, life.now - age)], clock=lambda: life.now)
    life.facts = asyncio.run(gatherer.gather([Lift("try")]))


@pytest.mark.parametrize(
    ("lift", "phase", "champion", "reason"),
    [(0.3, "Succeeded", "v2", "Better"), (-0.3, "Failed", "v1", "Worse"), (0.01, "Running", "v1", "Running")],
)
def test_a_type_added_by_one_file_and_one_line_decides_by_the_fact_it_needs(
    toy: Life, lift: float, phase: str, champion: str, reason: str
) -> None:
    learn(toy, lift)
    toy.run(30)
    assert (toy.phase, toy.champion) == (phase, champion)
    assert reason in toy.moves


def test_what_a_type_needs_and_nobody_knows_decides_nothing_and_is_told(toy: Life) -> None:
    toy.run(30)
    assert (toy.phase, toy.moves[-1]) == ("Running", "NoLift")
    assert toy.condition("FactsAvailable") == "False FactsMissing"
    toy.rest()
    assert toy.wakes_after == timedelta(seconds=10), "sooner than the type itself would look"
    learn(toy, 0.01)
    toy.run(30)
    assert toy.condition("FactsAvailable") == "True AllKnown"
    learn(toy, 0.9, age=timedelta(minutes=2))
    toy.run(30)
    assert (toy.phase, toy.condition("FactsAvailable")) == ("Running", "False FactsMissing")
    assert "what the outcomes has is older than 60 s" in toy.message("FactsAvailable")


@pytest.mark.parametrize(("arm", "moved"), [("v1", "v1:80 v2:20"), ("v2", "v1:100")])
def test_a_types_verdict_moves_no_traffic_while_the_control_is_not_ready(toy: Life, arm: str, moved: str) -> None:
    toy.ready(arm, False)
    learn(toy, -0.9)
    toy.run(30)
    assert toy.routed == moved
    assert toy.phase == ("Running" if arm == "v1" else "Failed")


def test_a_command_ends_an_experiment_of_any_type_whatever_its_facts_are(toy: Life) -> None:
    toy.command = "1:abort"
    toy.run(30)
    assert (toy.phase, toy.routed) == ("Failed", "v1:100")


def test_a_step_that_a_types_verdict_holds_back_causes_no_turns_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TYPES, "Toy", Toy())
    steps = [{"weight": 10, "hold": "1m"}, {"weight": 50, "hold": "1m"}]
    life = Life(builders.canary("try", "shop", "v1", "v2", steps).having("spec.type", "Toy").build())
    life.run(3600)
    assert (life.phase, life.moves[-1], life.routed) == ("Running", "NoLift", "v1:90 v2:10")
    assert life.wakes_after == timedelta(seconds=10)
