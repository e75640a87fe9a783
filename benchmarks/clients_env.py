"""Stock clients of the Open Inference Protocol, in an environment of their own: ``python -m benchmarks.clients_env``.

tritonclient, KServe's and MLServer's, and small models that others made and publish in wheels of theirs; tests run the
first against our server, which serves the second.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from benchmarks.figures import ROOT

FOLDER: Final = ROOT / ".bench" / "clients"
REQUIREMENTS: Final = Path(__file__).with_name("clients_requirements.txt")
# Wheels that hold a model; what their code depends on is not needed.
MODELS: Final = ("magika==0.6.2", "rapidocr-onnxruntime==1.4.4", "silero-vad==5.1.2")


def main() -> None:
    """Creates the environment where it is missing or of other versions."""
    wanted = REQUIREMENTS.read_text() + "\n".join(MODELS)
    made, python = FOLDER / "made", FOLDER / "bin" / "python"
    if made.exists() and made.read_text() == wanted:
        return
    uv = shutil.which("uv")
    if uv:
        _run(uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(FOLDER))
        install = (uv, "pip", "install", "--quiet", "--python", str(python))
    else:
        _run(sys.executable, "-m", "venv", "--clear", str(FOLDER))
        install = (str(python), "-m", "pip", "install", "--quiet")
    _run(*install, "--requirement", str(REQUIREMENTS))
    _run(*install, "--no-deps", *MODELS)
    made.write_text(wanted)


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
