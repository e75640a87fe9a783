"""Experiment types: one object each, and nothing else that knows their names."""

from __future__ import annotations

import subprocess
from pathlib import Path

import millrace_operators
from millrace_core.api import experiment_types
from millrace_operators.experiment.types import TYPES
from tests import builders
from tests.operators.experiment.life import Life

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
