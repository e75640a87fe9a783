"""Libraries that a process does without, although they are installed."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec


class _Hidden:
    def __init__(self, names: frozenset[str]) -> None:
        self._names = names

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:  # noqa: ARG002
        if name in self._names:
            raise ModuleNotFoundError(f"{name} is of no use here", name=name)
        return None


def hide(*names: str) -> None:
    """Makes imports of these libraries fail in this process: Arrow would import pandas, for two seconds, if it is
    there. To be called by programs only, at their start."""
    sys.meta_path.insert(0, _Hidden(frozenset(names)))
