"""Settings of every DuckDB connection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

# DuckDB downloads extensions by itself where it is not told otherwise.
NO_DOWNLOADS: Final[Mapping[str, Any]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}
