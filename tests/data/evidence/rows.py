"""Small rows of predictions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from millrace_core.evidence import rows
from millrace_core.evidence.gathered import Gathered, gathered
from millrace_core.evidence.record import Origin, PredictionRecord

HOUR = 3600 * 1_000_000
BEGIN = 482_000 * HOUR  # 2024-12-26T08:00:00Z
ORIGIN = Origin("shop", "ranker", "ranker-v1", "0badcafe", "sha256:" + "0" * 64)


def record(identity: str, at: int = BEGIN, *, name: str = "x") -> PredictionRecord:
    values = {name: np.ones((1, 2), np.float32)}
    return PredictionRecord(identity, at, 200, (0.0, 0.0, 0.0, 0.001), inputs=values)


def lot(*records: PredictionRecord, size: int = 10) -> Gathered:
    """Predictions of one shape that came together, of ``size`` bytes in all."""
    (group,) = gathered(records)
    group.size = size
    return group


def convert(groups: Sequence[Gathered]) -> pa.Table:
    return rows.table_of(groups, ORIGIN)


def table(*identities: str, at: int = BEGIN, name: str = "x") -> pa.Table:
    return convert(gathered(record(identity, at + n, name=name) for n, identity in enumerate(identities)))
