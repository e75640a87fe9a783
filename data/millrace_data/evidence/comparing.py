"""Two deployments over the same requests, as the lake has both: what a shadow said beside what was answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace_core.base.errors import NotFoundError, RejectError
from millrace_core.experiments.shadow import OutputComparison, compare_output
from millrace_data.evidence import reading
from millrace_data.evidence.lake import Lake
from millrace_data.evidence.reading import Question

_READ: Final = ("id", "row", "deployment", "status", "total_us")
_OUTPUT: Final = "output."
_ANSWERED: Final = 200
_FAILED: Final = 500
_NAMES: Final = {"psi": "psi", "jensen_shannon": "jensenShannon", "mean_difference": "meanDifference"}


class Pair(NamedTuple):
    """Two ModelDeployments of one service."""

    namespace: str
    service: str
    control: str
    shadow: str


@dataclass(frozen=True)
class Side:
    """What one of both did with the requests that both got.

    Attributes:
        failed: the share of requests that it answered with 500 or more.
        p50_ms, p99_ms: how long requests took in its pods; None where it answered none.
    """

    deployment: str
    failed: float
    p50_ms: float | None
    p99_ms: float | None

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"deployment": self.deployment, "failed": self.failed, "p50Ms": self.p50_ms, "p99Ms": self.p99_ms}


@dataclass(frozen=True)
class Comparison:
    """Two deployments over the same requests.

    Attributes:
        requests: that both have in the log.
        alone: requests of the shadow that the control has not; those of a sample, or of a pod that was killed.
        rows: that both answered.
    """

    requests: int
    alone: int
    rows: int
    control: Side
    shadow: Side
    outputs: tuple[OutputComparison, ...]

    def document(self) -> dict[str, Any]:
        """As JSON has it; ``millrace_core.experiments.compared`` reads it."""
        return {
            "requests": self.requests,
            "rows": self.rows,
            "alone": self.alone,
            "control": self.control.document(),
            "shadow": self.shadow.document(),
            "outputs": [{_NAMES.get(key, key): value for key, value in asdict(each).items()} for each in self.outputs],
        }


def compare(
    lake: Lake, pair: Pair, start: datetime, end: datetime, *, tolerance: float, limit: int | None = None
) -> Comparison:
    """Compares what two ModelDeployments predicted for the requests of the same ids.

    Args:
        start, end: of the predictions' times.
        tolerance: how far apart floats may be and agree, absolute below 1 and relative above.
        limit: at most so many of the service's rows are read, the newest; None: all.

    Raises:
        NotFoundError: no request has predictions of both. RejectError: of a field. RetryError: no lake answers.
    """
    if pair.control == pair.shadow:
        raise RejectError("two different ModelDeployments are expected", field="shadow")
    columns = [*_READ, f"{_OUTPUT}*"]
    found = reading.read(lake, Question(pair.namespace, pair.service, start, end, columns, limit=limit))
    sides = {name: found.filter(pc.equal(found.column("deployment"), name)) for name in (pair.control, pair.shadow)}
    ids = {name: set(table.column("id").to_pylist()) for name, table in sides.items()}
    both = ids[pair.control] & ids[pair.shadow]
    if not both:
        raise _apart(pair, ids)
    tables = [sides[name].filter(pc.is_in(sides[name].column("id"), pa.array(sorted(both)))) for name in sides]
    before, after = (_answered(table) for table in tables)
    rows = [key for key in before if key in after]
    ours, theirs = (
        table.take(pa.array([places[key] for key in rows], pa.int64()))
        for table, places in zip(tables, (before, after), strict=True)
    )
    outputs = [name for name in found.column_names if name.startswith(_OUTPUT)]
    return Comparison(
        requests=len(both),
        alone=len(ids[pair.shadow] - both),
        rows=len(rows),
        control=_side(pair.control, tables[0]),
        shadow=_side(pair.shadow, tables[1]),
        outputs=tuple(each for name in outputs if (each := _output(name, ours, theirs, tolerance)) is not None),
    )


def _apart(pair: Pair, ids: Mapping[str, set[str]]) -> NotFoundError:
    return NotFoundError(
        f"no request has predictions of both {pair.control!r} ({len(ids[pair.control]):,} requests) and "
        f"{pair.shadow!r} ({len(ids[pair.shadow]):,})",
        hint="Both have to log (spec.inference.log) to one lake, with one sample, and one has to get copies of the "
        "other's requests; a prediction takes up to a minute into the lake",
        field="shadow",
    )


def _answered(table: pa.Table) -> dict[tuple[str, int], int]:
    """Where each row stands that was answered."""
    keys = zip(*(table.column(name).to_pylist() for name in ("id", "row", "status")), strict=True)
    return {(identity, row): at for at, (identity, row, status) in enumerate(keys) if status == _ANSWERED}


def _side(deployment: str, table: pa.Table) -> Side:
    requests = table.filter(pc.equal(table.column("row"), 0))
    statuses = np.asarray(requests.column("status").to_numpy(zero_copy_only=False))
    took = np.asarray(requests.column("total_us").to_numpy(zero_copy_only=False))[statuses == _ANSWERED] / 1e3
    p50, p99 = np.percentile(took, [50, 99]).tolist() if len(took) else (None, None)
    return Side(deployment, float((statuses >= _FAILED).mean()) if len(statuses) else 0.0, p50, p99)


def _output(name: str, control: pa.Table, shadow: pa.Table, tolerance: float) -> OutputComparison | None:
    """None of one that no row has."""
    before, after = control.column(name).to_pylist(), shadow.column(name).to_pylist()
    pairs = [(one, other) for one, other in zip(before, after, strict=True) if one is not None or other is not None]
    if not pairs:
        return None
    ours, theirs = ([pair[side] for pair in pairs] for side in (0, 1))
    return compare_output(name.removeprefix(_OUTPUT), ours, theirs, tolerance)
