"""The Python servers of MLServer and KServe, each in an environment of its own: ``python -m benchmarks.serving_env``.

``benchmarks/inference.py`` measures beside them, where they are there: the same ONNX files, by a small runtime each.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.clients_env import MLSERVER, REQUIREMENTS, make
from benchmarks.figures import ROOT

ONNX_RUNTIME: Final = "onnxruntime==1.31.1"
HERE: Final = Path(__file__).parent


class Peer(NamedTuple):
    """A server of somebody else's: its environment, the script that starts it, and on how many ports it listens."""

    folder: Path
    script: Path
    ports: int

    @property
    def python(self) -> Path:
        """The interpreter of its environment; there is none before that is made."""
        return self.folder / "bin" / "python"


PEERS: Final = {
    "MLServer": Peer(ROOT / ".bench" / "serving-mlserver", HERE / "mlserver_inference.py", 3),
    "KServe": Peer(ROOT / ".bench" / "serving-kserve", HERE / "kserve_inference.py", 1),
}


def main() -> None:
    """Creates the environments where they are missing or of other versions."""
    make(PEERS["MLServer"].folder, (MLSERVER, ONNX_RUNTIME))
    make(
        PEERS["KServe"].folder,
        ("--requirement", str(REQUIREMENTS)),
        (ONNX_RUNTIME,),
        made=REQUIREMENTS.read_text(),
    )


if __name__ == "__main__":
    main()
