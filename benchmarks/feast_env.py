"""Feast in an environment of its own, as a peer for benchmarks: ``python -m benchmarks.feast_env`` creates it.

Its packages are pinned in ``feast_requirements.txt`` and are separate from ours.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.figures import ROOT

REQUIREMENTS = Path(__file__).with_name("feast_requirements.txt")
FOLDER = ROOT / ".bench" / "feast"


def interpreter() -> str:
    """Feast's Python; creates the environment if it is missing or has other packages than the pinned ones."""
    python, made_of = FOLDER / "bin" / "python", FOLDER / "requirements.txt"
    if not made_of.exists() or made_of.read_text() != REQUIREMENTS.read_text():
        uv = shutil.which("uv")
        if uv:
            _run(uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(FOLDER))
            _run(uv, "pip", "install", "--quiet", "--python", str(python), "--requirement", str(REQUIREMENTS))
        else:
            _run(sys.executable, "-m", "venv", "--clear", str(FOLDER))
            _run(str(python), "-m", "pip", "install", "--quiet", "--requirement", str(REQUIREMENTS))
        shutil.copy(REQUIREMENTS, made_of)
    return str(python)


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    print(interpreter())
