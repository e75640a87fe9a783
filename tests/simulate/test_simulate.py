"""The simulation of the statistics keeps its limits, on a twentieth of the experiments."""

from __future__ import annotations

import pytest

from tests.simulate.__main__ import main


@pytest.mark.slow
def test_peeked_experiments_keep_alpha_power_and_coverage(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["--quick"])
    printed = capsys.readouterr().out
    assert code == 0, printed
    assert printed.count("at most") == 14
    assert printed.count("at least") == 14
