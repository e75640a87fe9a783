"""A short run of each fuzz target; ``make fuzz`` runs one as long as one likes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_that_comes_ends_the_parser(target: str) -> None:
    # In a process of its own, because a finding may be a signal.
    command = [sys.executable, "-m", "tests.fuzz", target, "--examples", "200"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=170, check=False)
    assert run.returncode == 0, (run.returncode, run.stdout[-3000:], run.stderr[-3000:])
