"""The key of a view without entities as an Arrow column, for the parts that have none for it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from millrace_core.features.definition.definition import GLOBAL_VALUE


def global_key(rows: int) -> pa.Array:
    """``GLOBAL``'s values for so many rows; int64."""
    return pa.array(np.full(rows, GLOBAL_VALUE, np.int64))
