"""A real store, and views over Parquet files that a test writes."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from millrace_core.base import destinations
from millrace_core.features.definition.definition import Definition
from millrace_core.features.online import keys
from millrace_core.features.online.row import Layout, Row
from millrace_data.online.store import Store
from millrace_services.materialize.settings import JobSettings
from tests import builders, warm_process


@dataclass
class Lake:
    """A folder of Parquet files and the view over it; moments are microseconds."""

    folder: Path
    built: builders.Built
    files: int = 0
    environment: dict[str, str] = field(default_factory=dict)

    def add(self, *rows: tuple[int, int, float], created: int | None = None) -> None:
        """Writes one more file of (user, event time, amount), all created at one time."""
        users, moments, amounts = zip(*rows, strict=True)
        self.files += 1
        pq.write_table(
            pa.table(
                {
                    "user_id": pa.array(users, pa.int64()),
                    "event_timestamp": pa.array(moments, pa.timestamp("us")),
                    "amount": pa.array(amounts, pa.float64()),
                    "visits": pa.array(users, pa.int64()),
                    "created_timestamp": pa.array([created] * len(users), pa.timestamp("us")),
                }
            ),
            self.folder / f"{self.files}.parquet",
        )

    def replace(self, *rows: tuple[int, int, float]) -> None:
        """Writes these rows in place of all that is there."""
        for file in self.folder.glob("*.parquet"):
            file.unlink()
        self.add(*rows)

    def having(self, path: str, value: Any) -> None:
        self.built = self.built.having(path, value)

    @property
    def definition(self) -> Definition:
        return self.settings().definition()

    def settings(self) -> JobSettings:
        return JobSettings.load({"MILLRACE_STORE_URL": "redis://nowhere", **self.environ()})

    def read(self, store: Store, user: int) -> Row | None:
        (key,) = keys.store_keys(self.definition, {"user_id": [user]})
        found: Any = store.client.get(key or b"")
        return None if found is None else Layout.of(self.definition).decode(found)

    def job(self, *arguments: str, **environment: str) -> tuple[int, dict[str, Any], str]:
        """Runs the real process: exit code, termination log, output."""
        log = self.folder.parent / "termination-log"
        log.unlink(missing_ok=True)
        variables = {"MILLRACE_TERMINATION_LOG": str(log), **self.environ(), **self.environment, **environment}
        words = ("-m", "millrace_services.materialize", *arguments)
        output = self.folder.parent / "output"
        code = warm_process.start(words, {**os.environ, **variables}, self.folder.parent, output).wait(60)
        return code, json.loads(log.read_bytes()) if log.exists() else {}, output.read_text()

    def environ(self) -> dict[str, str]:
        """The view, as a Job is told it."""
        document = self.built.build()
        metadata = {**document["metadata"], "namespace": "shop"}
        return {"MILLRACE_FEATURE_VIEW": json.dumps({"metadata": metadata, "spec": document["spec"]})}


@pytest.fixture
def lake(tmp_path: Path, server: Any) -> Lake:
    folder = tmp_path / "lake"
    folder.mkdir()
    built = builders.feature_view("user-stats", f"file://{folder}/")
    environment = {
        "MILLRACE_STORE_URL": f"redis://127.0.0.1:{server.port}/0",
        destinations.VARIABLE: destinations.OPEN.as_json(),
    }
    return Lake(folder, built, environment=environment)
