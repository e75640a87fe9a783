"""``state.json``: what the supervisor runs, for everybody else to read.

One JSON object, replaced as a whole at every change::

    {"version": "0.1.0", "phase": "ready", "error": "", "supervisor": {"pid": 1, "started": 2}, "ports": {…},
     "components": {"store": {"pid": 3, "started": 4, "port": 16379, "restarts": 0, "health": "ready", "message": ""}}}

``started`` is the process's start time in clock ticks since boot: by now the id alone may be that of another process.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from millrace_local.atomic_file import write_atomically

Health = Literal["waiting", "starting", "ready", "unhealthy", "restarting", "stopped"]
Phase = Literal["starting", "ready", "degraded", "failed", "stopping", "stopped"]


@dataclass(frozen=True)
class ProcessIdentity:
    """A process by its id and start time; id 0 for none."""

    pid: int = 0
    started: int = 0


@dataclass(frozen=True)
class ComponentState:
    """One component: its process, its port, the number of its restarts, and its health."""

    process: ProcessIdentity = ProcessIdentity()
    port: int = 0
    restarts: int = 0
    health: Health = "waiting"
    message: str = ""


@dataclass(frozen=True)
class StackState:
    """The content of ``state.json``."""

    version: str = ""
    phase: Phase = "stopped"
    error: str = ""
    supervisor: ProcessIdentity = ProcessIdentity()
    ports: Mapping[str, int] = field(default_factory=dict)
    components: Mapping[str, ComponentState] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The state as plain JSON values."""
        components = {
            name: {**asdict(component), **asdict(component.process)} for name, component in self.components.items()
        }
        for component in components.values():
            del component["process"]
        return {**asdict(self), "components": components}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """The state that ``to_json`` wrote."""
        components = {
            name: ComponentState(
                process=ProcessIdentity(one["pid"], one["started"]),
                port=one["port"],
                restarts=one["restarts"],
                health=one["health"],
                message=one["message"],
            )
            for name, one in document["components"].items()
        }
        return cls(**{**document, "supervisor": ProcessIdentity(**document["supervisor"]), "components": components})


def read(path: Path) -> StackState:
    """The state at ``path``; a stopped one without ports if it does not exist or cannot be read."""
    try:
        return StackState.from_json(json.loads(path.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError):
        return StackState()


def write(path: Path, state: StackState) -> None:
    """Replaces the state.

    Raises:
        OSError: it cannot be written.
    """
    write_atomically(path, json.dumps(state.to_json(), indent=1))
