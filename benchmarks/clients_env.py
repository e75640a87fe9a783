"""Stock clients of the Open Inference Protocol, in environments of their own: ``python -m benchmarks.clients_env``.

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
# Apart from the others: no version of it has requirements that go with theirs.
MLSERVER_FOLDER: Final = ROOT / ".bench" / "mlserver"
MLSERVER: Final = "mlserver==1.7.1"
REQUIREMENTS: Final = Path(__file__).with_name("clients_requirements.txt")
# Wheels that hold a model; what their code depends on is not needed.
MODELS: Final = ("magika==1.0.3", "rapidocr-onnxruntime==1.4.4", "silero-vad==6.2.3")


def main() -> None:
    """Creates the environments where they are missing or of other versions."""
    make(FOLDER, ("--requirement", str(REQUIREMENTS)), ("--no-deps", *MODELS), made=REQUIREMENTS.read_text())
    make(MLSERVER_FOLDER, (MLSERVER,))


def make(folder: Path, *installs: tuple[str, ...], made: str = "") -> None:
    wanted = "\n".join(" ".join(each) for each in installs) + made
    note, python = folder / "made", folder / "bin" / "python"
    if note.exists() and note.read_text() == wanted:
        return
    uv = shutil.which("uv")
    if uv:
        _run(uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder))
        install = (uv, "pip", "install", "--quiet", "--python", str(python))
    else:
        _run(sys.executable, "-m", "venv", "--clear", str(folder))
        install = (str(python), "-m", "pip", "install", "--quiet")
    for each in installs:
        _run(*install, *each)
    note.write_text(wanted)


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
