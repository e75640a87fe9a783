"""Libraries that a process does without, although they are installed."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from typing import Final

# What libraries import wherever it is installed, and no program of ours uses: Arrow pandas, which takes two seconds,
# httpx its command line, with rich and Pygments, and FastAPI the models of pydantic 1.
UNUSED: Final = ("pandas", "httpx._main", "pydantic.v1")


class _Blocker:
    def __init__(self, names: frozenset[str]) -> None:
        self._names = names

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:  # noqa: ARG002
        if name in self._names:
            raise ModuleNotFoundError(f"{name} is not used by this process, and its import is blocked", name=name)
        return None


def block_imports(*names: str) -> None:
    """Makes imports of these modules fail in this process.

    Only programs call it, at their start, before they import what would import these.
    """
    sys.meta_path.insert(0, _Blocker(frozenset(names)))
