"""A shadow beside what was answered, out of the evidence lake: the same requests, predicted by two deployments."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace.sdk import predictions
from millrace.sdk.time_arguments import TimeArgument
from millrace_core.base.errors import NotFoundError, RejectError
from millrace_core.experiments.shadow import OutputComparison, compare_output

_READ = ("id", "row", "deployment", "status", "total_us")
_OUTPUT = "output."
_ANSWERED = 200
_FAILED = 500


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


@dataclass(frozen=True)
class ShadowComparison:
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


def compare(
    service: str,
    control: str,
    shadow: str,
    *,
    namespace: str,
    start: TimeArgument | None = None,
    end: TimeArgument | None = None,
    lake: str | os.PathLike[str] | None = None,
    tolerance: float = 1e-6,
) -> ShadowComparison:
    """Compares what two ModelDeployments predicted for the requests of the same ids.

    Args:
        service: that both serve behind.
        control, shadow: names of the ModelDeployments.
        start, end: of the predictions' times; absent: the last day.
        tolerance: how far apart floats may be and agree, absolute below 1 and relative above.

    Raises:
        NotFoundError: no request has predictions of both. RejectError: of a field. RetryError: no lake answers.
    """
    if control == shadow:
        raise RejectError("two different ModelDeployments are expected", field="shadow")
    columns = [*_READ, f"{_OUTPUT}*"]
    found = predictions.read(service, namespace=namespace, start=start, end=end, columns=columns, lake=lake).table
    outputs = [name for name in found.column_names if name.startswith(_OUTPUT)]
    sides = {name: found.filter(pc.equal(found.column("deployment"), name)) for name in (control, shadow)}
    ids = {name: _ids(table) for name, table in sides.items()}
    both = ids[control] & ids[shadow]
    if not both:
        raise NotFoundError(
            f"no request has predictions of both {control!r} ({len(ids[control]):,} requests) and {shadow!r} "
            f"({len(ids[shadow]):,})",
            hint="Both have to log (spec.inference.log), with one sample, and one has to get copies of the other's "
            "requests; a prediction takes up to a minute into the lake",
            field="shadow",
        )
    tables = [sides[name].filter(pc.is_in(sides[name].column("id"), pa.array(sorted(both)))) for name in sides]
    before, after = (_answered(table) for table in tables)
    rows = [key for key in before if key in after]
    ours, theirs = (
        table.take(pa.array([places[key] for key in rows], pa.int64()))
        for table, places in zip(tables, (before, after), strict=True)
    )
    return ShadowComparison(
        requests=len(both),
        alone=len(ids[shadow] - both),
        rows=len(rows),
        control=_side(control, tables[0]),
        shadow=_side(shadow, tables[1]),
        outputs=tuple(each for name in outputs if (each := _output(name, ours, theirs, tolerance)) is not None),
    )


def _ids(table: pa.Table) -> set[str]:
    return set(table.column("id").to_pylist())


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
