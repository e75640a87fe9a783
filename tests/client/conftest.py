"""An embedded store for all tests of a module, a lake of events for one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis
import yaml

from millrace.sdk import embedded
from tests.builders import Built, feature_view
from tests.running_service import start_service

__all__ = ["start_service"]

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


class Lake:
    """A folder of Parquet files, and the YAML of views over it."""

    def __init__(self, folder: Path, online: str) -> None:
        self.folder = folder
        self.online = online
        self._files = 0
        (folder / "events").mkdir()

    @property
    def uri(self) -> str:
        return f"file://{self.folder}/events/"

    def add(self, *rows: tuple[int, datetime, float | None, int | None], created: datetime | None = None) -> None:
        """Writes one more file of (user, event time, amount, visits)."""
        users, moments, amounts, visits = zip(*rows, strict=True)
        columns: dict[str, Any] = {
            "user_id": pa.array(users, pa.int64()),
            "event_timestamp": pa.array(moments, pa.timestamp("us", "UTC")),
            "amount": pa.array(amounts, pa.float64()),
            "visits": pa.array(visits, pa.int64()),
            "created": pa.array([created or moment for moment in moments], pa.timestamp("us", "UTC")),
        }
        self._files += 1
        pq.write_table(pa.table(columns), self.folder / "events" / f"{self._files}.parquet")

    def view(self, name: str = "stats") -> Built:
        return feature_view(name, self.uri)

    def write(self, *views: Built) -> Path:
        path = self.folder / "views.yaml"
        path.write_text(yaml.safe_dump_all([view.build() for view in views or (self.view(),)], sort_keys=False))
        return path


@pytest.fixture(scope="module")
def store_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("store")
    yield folder
    running = embedded._running.pop(folder, None)
    if running is not None:
        running.stop()


@pytest.fixture
def online(store_folder: Path) -> str:
    """An embedded store, empty."""
    name = f"embedded:{store_folder}"
    redis.Redis.from_url(embedded.resolve(name)()).flushall()
    return name


@pytest.fixture
def lake(tmp_path: Path, online: str) -> Lake:
    """Three events of two users."""
    made = Lake(tmp_path, online)
    made.add((1, NOON, 1.0, 10), (1, NOON + DAY, 2.0, 20), (2, NOON, 3.0, 30))
    return made
