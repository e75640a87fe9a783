"""``state.json``: what the supervisor runs, for everybody else to read.

One JSON object, replaced as a whole at every change::

    {"version": "0.1.0", "phase": "ready", "error": "", "supervisor": {"pid": 1, "started": 2}, "ports": {…},
     "components": {"store": {"pid": 3, "started": 4, "port": 16379, "restarts": 0, "health": "ready", "message": ""}}}

``started`` is the process's start time in clock ticks since boot: a process id alone may belong to another by now.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

Health = Literal["waiting", "starting", "ready", "unhealthy", "restarting", "stopped"]
Phase = Literal["starting", "ready", "failed", "stopping", "stopped"]


@dataclass(frozen=True)
class Process:
    """A process by its id and start time; id 0 for none."""

    pid: int = 0
    started: int = 0


@dataclass(frozen=True)
class ComponentState:
    """One component: its process, the port it serves, how often it was started again, and how it is."""

    process: Process = Process()
    port: int = 0
    restarts: int = 0
    health: Health = "waiting"
    message: str = ""


@dataclass(frozen=True)
class State:
    """The whole of ``state.json``."""

    version: str = ""
    phase: Phase = "stopped"
    error: str = ""
    supervisor: Process = Process()
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
                process=Process(one["pid"], one["started"]),
                port=one["port"],
                restarts=one["restarts"],
                health=one["health"],
                message=one["message"],
            )
            for name, one in document["components"].items()
        }
        return cls(**{**document, "supervisor": Process(**document["supervisor"]), "components": components})


def read(path: Path) -> State:
    """The state at ``path``; a stopped one without ports if there is none or it cannot be read."""
    try:
        return State.from_json(json.loads(path.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError):
        return State()


def write(path: Path, state: State) -> None:
    """Replaces the state.

    Raises:
        OSError: it cannot be written.
    """
    replace_whole(path, json.dumps(state.to_json(), indent=1))


def replace_whole(path: Path, text: str) -> None:
    """Writes a file by renaming, so that readers see all of it or none."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(text)
    part.replace(path)
