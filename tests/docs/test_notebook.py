"""docs/notebook.py runs from an empty folder as it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebook.py"


@pytest.mark.slow
def test_the_notebook_runs_from_an_empty_folder_and_finds_no_skew(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, str(NOTEBOOK)], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert "100 users, 100 written" in ran.stdout
    assert "300 values compared, 0 differ" in ran.stdout
