"""What a person sees of a source that changes while it is read: right values, or one clear error."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from millrace import FeatureStore
from millrace.sdk import embedded
from millrace_core.base import destinations
from millrace_core.base.errors import SourceChangedError
from millrace_core.features.history.history import TimeRange
from millrace_data.sources import parquet
from millrace_services.materialize.main import main
from tests.client.conftest import NOON, Lake

USERS = 50
Attempt = Callable[[Lake], dict[int, Any]]


class Reordered:
    """A source whose file is replaced, before its scan of that number, by one whose rows stand the other way round."""

    def __init__(self, source: Any, path: Path, scan: int) -> None:
        self.columns = source.columns
        self._source = source
        self._path = path
        self._scan = scan

    def scan(self, columns: Sequence[str], time_range: TimeRange) -> Iterator[pa.RecordBatch]:
        if self._scan == 0:
            other = self._path.with_suffix(".tmp")
            table = pq.read_table(self._path)
            pq.write_table(table.take(list(range(table.num_rows))[::-1]), other)
            other.replace(self._path)
        self._scan -= 1
        yield from self._source.scan(columns, time_range)


@pytest.fixture
def changes(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Each opened source takes one number: the scan before which its file is replaced; none when there is none left."""
    for path in (lake.folder / "events").iterdir():
        path.unlink()
    lake.add(*((user, NOON, float(user), user) for user in range(USERS)))
    (path,) = (lake.folder / "events").iterdir()
    numbers: list[int] = []
    original = parquet.open_source

    def opened(*arguments: Any) -> Any:
        source, schema = original(*arguments)
        return (Reordered(source, path, numbers.pop(0)) if numbers else source), schema

    monkeypatch.setattr(parquet, "open_source", opened)
    return numbers


def _store(lake: Lake, name: str = "stats") -> FeatureStore:
    return FeatureStore.from_files([lake.write(lake.view(name))], online=lake.online)


def framed(lake: Lake) -> dict[int, Any]:
    frame = pa.table({"user_id": range(USERS), "event_timestamp": [NOON] * USERS})
    table = _store(lake).get_historical_features(frame, ["stats:amount"]).table
    return dict(zip(table["user_id"].to_pylist(), table["amount"].to_pylist(), strict=True))


def everyone(lake: Lake) -> dict[int, Any]:
    table = _store(lake).get_historical_features(features=["stats:amount"], entities="all", end=NOON).table
    return dict(zip(table["user_id"].to_pylist(), table["amount"].to_pylist(), strict=True))


def _online(store: FeatureStore, name: str) -> dict[int, Any]:
    read = store.get_online_features([f"{name}:amount"], [{"user_id": user} for user in range(USERS)])
    return dict(enumerate(read.to_dict()["amount"]))


def materialized(lake: Lake) -> dict[int, Any]:
    store = _store(lake, "by-sdk")
    store.materialize("by-sdk", end=NOON + timedelta(days=1))
    return _online(store, "by-sdk")


def by_a_job(lake: Lake) -> dict[int, Any]:
    store, log = _store(lake, "by-job"), lake.folder / "log"
    document = lake.view("by-job").build()
    code = main(
        ["run"],
        {
            "MILLRACE_FEATURE_VIEW": json.dumps({"metadata": document["metadata"], "spec": document["spec"]}),
            "MILLRACE_STORE_URL": embedded.resolve(lake.online)(),
            "MILLRACE_TERMINATION_LOG": str(log),
            "MILLRACE_SPILL_DIR": str(lake.folder),
            destinations.VARIABLE: destinations.OPEN.as_json(),
        },
    )
    result = json.loads(log.read_text())
    if code:
        raise SourceChangedError(result["error"]["message"])
    return _online(store, "by-job")


@pytest.mark.parametrize("attempt", [framed, everyone, materialized, by_a_job])
@pytest.mark.parametrize("scan", [0, 1])
def test_values_are_right_although_the_source_is_replaced_while_it_is_read(
    lake: Lake, changes: list[int], attempt: Attempt, scan: int
) -> None:
    changes.append(scan)
    assert attempt(lake) == {user: float(user) for user in range(USERS)}
    assert not changes


@pytest.mark.parametrize("attempt", [framed, everyone, materialized, by_a_job])
def test_a_source_that_is_replaced_again_and_again_is_an_error(
    lake: Lake, changes: list[int], attempt: Attempt
) -> None:
    changes += [1, 1, 1]
    with pytest.raises(SourceChangedError, match=r"was replaced, written over or deleted while it was read"):
        attempt(lake)
    assert changes == [1], "it is read twice"


def test_verify_sees_no_skew_in_a_source_that_is_replaced_while_it_is_read(lake: Lake, changes: list[int]) -> None:
    store = _store(lake, "verified")
    store.materialize("verified", end=NOON + timedelta(days=1))
    changes.append(1)
    report = store.verify("verified", sample=USERS)
    assert (report.clean, report.rows) == (True, USERS)
    assert not changes
