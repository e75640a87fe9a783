"""Settings of every DuckDB connection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

# By default DuckDB downloads extensions by itself.
NO_DOWNLOADS: Final[Mapping[str, Any]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}
