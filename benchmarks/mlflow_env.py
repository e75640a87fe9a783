"""MLflow's clients and its server, each in an environment of its own: ``python -m benchmarks.mlflow_env`` creates them.

The oldest client that is proven, and the newest with its server, against which the registry's answers are compared.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from benchmarks.figures import ROOT

REQUIREMENTS: Final = {"3.1.0": "mlflow==3.1.0", "3.17.2": "mlflow==3.17.2"}


def folder(version: str) -> Path:
    """Where the environment of a version is."""
    return ROOT / ".bench" / f"mlflow-{version}"


def main() -> None:
    """Creates the environments that are missing."""
    for version, requirement in REQUIREMENTS.items():
        python = folder(version) / "bin" / "python"
        if (folder(version) / "made").exists():
            continue
        uv = shutil.which("uv")
        if uv:
            _run(uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder(version)))
            _run(uv, "pip", "install", "--quiet", "--python", str(python), requirement)
        else:
            _run(sys.executable, "-m", "venv", "--clear", str(folder(version)))
            _run(str(python), "-m", "pip", "install", "--quiet", requirement)
        (folder(version) / "made").touch()


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
