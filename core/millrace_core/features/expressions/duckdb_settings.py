"""Settings of every DuckDB connection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

# By default DuckDB downloads extensions by itself.
NO_DOWNLOADS: Final[Mapping[str, Any]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}
# Of connections that compute expressions: a batch is far smaller, and nothing of it goes to disk.
IN_MEMORY: Final[Mapping[str, Any]] = {"memory_limit": "512MiB", "temp_directory": ""}

# The optimizer moves a common subexpression out of its try(), and computes constants before it: one row on which it
# fails, or none, would then fail the query. And its time grows with the cube of an expression's depth.
ROW_BY_ROW: Final = (
    "set global disabled_optimizers = 'common_subexpressions,expression_rewriter,statistics_propagation'"
)
