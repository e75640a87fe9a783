"""Memory, threads and disk that a computation may take, from the environment: of a Job's pod, or of the SDK's user."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pydantic import Field

from millrace_core.base.settings import Settings
from millrace_core.features.evaluation.engine import Engine

MIB: Final = 2**20
# What Python, Arrow and one batch take beside the engine, and the least that the engine can work with.
_BESIDE: Final = 256 * MIB
_LEAST: Final = 64 * MIB
_CGROUP: Final = Path("/sys/fs/cgroup/memory.max")


class EngineSettings(Settings):
    """Memory and disk of the query engine."""

    spill_dir: Path = Field(
        Path(tempfile.gettempdir()), alias="MILLRACE_SPILL_DIR", description="Directory for what exceeds memory"
    )
    spill_bytes: int | None = Field(
        None, alias="MILLRACE_SPILL_BYTES", ge=0, description="Most bytes spilled; absent: nearly all that is free"
    )
    engine_bytes: int = Field(
        128 * MIB,
        alias="MILLRACE_ENGINE_BYTES",
        ge=_LEAST,
        description="Memory of the query engine before it spills; less is taken where the container's limit is low",
    )

    @contextmanager
    def engine(self, name: str) -> Iterator[Engine]:
        """An engine that spills to a directory of its own, which is gone afterwards; ``name`` is part of its name."""
        spill = str(self.spill_dir / f"millrace-{name}-{time.time_ns()}")
        try:
            yield Engine(spill, self.engine_memory(), disk=self.spill_bytes)
        finally:
            shutil.rmtree(spill, ignore_errors=True)

    def engine_memory(self) -> int:
        """Bytes for the engine: as set, or what the container's limit leaves."""
        try:
            limit = int(_CGROUP.read_text())
        except (OSError, ValueError):  # no cgroup of version 2, or no limit
            return self.engine_bytes
        return max(_LEAST, min(self.engine_bytes, limit - _BESIDE))
