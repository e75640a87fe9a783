"""A short run of each fuzz target; ``make fuzz`` runs one as long as one likes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests import warm_process
from tests.examples import examples
from tests.fuzz.targets import TARGETS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
# Of a parser alone, and of a whole process's routes.
_SHARE = {False: 5, True: 1}


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_that_comes_ends_the_parser(target: str, tmp_path: Path) -> None:
    # In a process of its own, because a finding may be a signal.
    command = (
        "-m",
        "tests.fuzz",
        target,
        "--examples",
        str(examples(_SHARE[TARGETS[target].whole])),
        "--last",
        str(tmp_path / "last"),
    )
    log = tmp_path / "log"
    run = warm_process.start(command, os.environ, ROOT, log)
    assert run.wait(170) == 0, (run.returncode, log.read_text()[-6000:], tmp_path / "last")
