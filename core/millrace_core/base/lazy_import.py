"""Modules that are imported when they are first used, so that a program starts without what it may not need."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any


class _LazyModule:
    def __init__(self, name: str) -> None:
        self._name = name
        self._module: ModuleType | None = None

    def __getattr__(self, attribute: str) -> Any:
        if self._module is None:
            self._module = importlib.import_module(self._name)
        return getattr(self._module, attribute)


def lazy_import(name: str) -> Any:
    """Stands for the module of that name, and imports it when an attribute of it is first read.

    For type checkers write the import itself, under ``TYPE_CHECKING``.
    """
    return _LazyModule(name)
