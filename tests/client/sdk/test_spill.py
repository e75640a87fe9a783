"""Computations larger than the memory that they may use: they go to disk, and come to the same."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from millrace import FeatureStore
from millrace_core.base.errors import ReportError
from tests.builders import feature_view

EVENTS, ENTITIES = 1_500_000, 50_000
MIB = 2**20
WINDOWS = [
    {"name": "last_word", "type": "string", "aggregate": {"function": "last", "column": "word", "window": "1h"}},
    {"name": "spent", "type": "float64", "aggregate": {"function": "sum", "column": "amount", "window": "1h"}},
    {"name": "orders", "type": "int64", "aggregate": {"function": "count", "window": "1h"}},
]


@pytest.fixture(scope="module")
def joined(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], pa.Table]:
    """A training set of aggregates over events that take some 100 MiB."""
    folder = tmp_path_factory.mktemp("lake")
    random = np.random.default_rng(0)
    micros = pa.array(random.integers(0, 3 * 3_600_000_000, EVENTS))
    events = {
        "user_id": random.integers(0, ENTITIES, EVENTS),
        "event_timestamp": micros.cast(pa.timestamp("us")),
        "amount": random.random(EVENTS),
        "word": pa.array(np.char.add("some-word-of-some-length-", (np.arange(EVENTS) % 1000).astype(str))),
    }
    pq.write_table(pa.table(events), folder / "events.parquet")
    view = feature_view("stats", f"file://{folder}/events.parquet").having("spec.features", WINDOWS).build()
    (folder / "views.yaml").write_text(yaml.safe_dump(view))
    frame = pa.table(
        {
            "user_id": random.integers(0, ENTITIES, 2 * ENTITIES),
            "event_timestamp": pa.array(
                [datetime(1970, 1, 1, 2, tzinfo=UTC), datetime(1970, 1, 1, 3, tzinfo=UTC)]
            ).take(pa.array(np.arange(2 * ENTITIES) % 2)),
        }
    )
    store = FeatureStore.from_files([folder / "views.yaml"])
    refs = [f"stats:{each['name']}" for each in WINDOWS]
    return lambda: store.get_historical_features(frame, refs).to_arrow()


def limited(monkeypatch: pytest.MonkeyPatch, spill: Path, **more: Any) -> None:
    for name, value in {"ENGINE_BYTES": 64 * MIB, "SPILL_DIR": spill, **more}.items():
        monkeypatch.setenv(f"MILLRACE_{name}", str(value))


@pytest.mark.slow
def test_a_join_larger_than_its_memory_spills_and_comes_to_the_same(
    joined: Callable[[], pa.Table], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    limited(monkeypatch, tmp_path, ENGINE_BYTES=2048 * MIB)
    ample = joined()
    limited(monkeypatch, tmp_path)
    assert joined().equals(ample)
    assert list(tmp_path.iterdir()) == []
    limited(monkeypatch, tmp_path, SPILL_BYTES=MIB)
    with pytest.raises(
        ReportError, match=f"there is no free disk to spill to {tmp_path}.*MILLRACE_SPILL_DIR"
    ) as caught:
        joined()
    assert caught.value.reason == "NoDiskSpace"
    (tmp_path / "file").write_text("nothing can be made below this")
    limited(monkeypatch, tmp_path / "file")
    with pytest.raises(ReportError, match=f"there is no way to spill to {tmp_path}/file"):
        joined()
