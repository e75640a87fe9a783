"""The demo's data: scikit-learn's bundled breast-cancer measurements as timestamped events in Parquet.

The bundled set has one measurement a patient. Each becomes the last of three visits; the two earlier visits are smaller
readings derived from it, and every tenth last visit was first recorded with a wrong value and corrected an hour later
(equal event time, later recording time). A join that ignores time, or the correction, trains on wrong numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

FIRST_VISIT = datetime(2025, 1, 6, 9, tzinfo=UTC)
VISITS = 3
MICROSECOND = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class DemoData:
    """The entity frame (patient_id, event_timestamp, malignant), and the numbers of patients and events."""

    entities: pa.Table
    patients: int
    events: int


def column_name(label: str) -> str:
    """scikit-learn's label as a column name: ``mean concave points`` → ``mean_concave_points``."""
    return label.replace(" ", "_")


def write(folder: Path) -> DemoData:
    """Writes ``cell-means/`` and ``cell-worst/`` below ``folder``; returns the patients to diagnose and when."""
    from sklearn.datasets import load_breast_cancer  # noqa: PLC0415 — slow to import, needed only here

    bunch = load_breast_cancer()
    names = [column_name(str(label)) for label in bunch.feature_names]
    measured = np.asarray(bunch.data, dtype=np.float64)
    patients = np.arange(len(measured), dtype=np.int64) + 1001
    table = _events(patients, measured, names)
    keys = ["patient_id", "measured_at", "recorded_at"]
    worst = [name for name in names if name.startswith("worst_")]
    means = [name for name in names if not name.startswith("worst_")]
    for view, columns in (("cell-means", means), ("cell-worst", worst)):
        target = folder / view
        target.mkdir(parents=True, exist_ok=True)
        pq.write_table(table.select(keys + columns), target / "events.parquet")
    diagnosed = [_visit(index, VISITS - 1) + timedelta(days=2) for index in range(len(patients))]
    entities = pa.table(
        {
            "patient_id": patients,
            "event_timestamp": pa.array(diagnosed, MICROSECOND),
            "malignant": np.asarray(bunch.target == 0, dtype=np.int64),
        }
    )
    return DemoData(entities, len(patients), table.num_rows)


def _visit(patient: int, visit: int) -> datetime:
    return FIRST_VISIT + timedelta(days=patient % 180 + 60 * visit, minutes=patient)


def _events(patients: np.ndarray, measured: np.ndarray, names: list[str]) -> pa.Table:
    ids, times, recorded, values = [], [], [], []
    for index, patient in enumerate(patients):
        for visit in range(VISITS):
            moment = _visit(index, visit)
            last = visit == VISITS - 1
            if last and index % 10 == 0:
                ids.append(patient)
                times.append(moment)
                recorded.append(moment + timedelta(minutes=5))
                values.append(measured[index] * 10)
            ids.append(patient)
            times.append(moment)
            recorded.append(moment + timedelta(hours=1))
            values.append(measured[index] * (1 - 0.1 * (VISITS - 1 - visit)))
    columns = np.asarray(values)
    return pa.table(
        {
            "patient_id": pa.array(ids, pa.int64()),
            "measured_at": pa.array(times, MICROSECOND),
            "recorded_at": pa.array(recorded, MICROSECOND),
            **{name: columns[:, index] for index, name in enumerate(names)},
        }
    )
