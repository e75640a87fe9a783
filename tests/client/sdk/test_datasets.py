"""Datasets: named by their content, never changed, verified when loaded, recorded in the registry."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import boto3
import httpx
import pyarrow as pa
import pytest

from millrace import Dataset, FeatureStore, TrainingSet
from millrace.sdk.registry import Registry
from millrace_core.base.errors import NotFoundError, RejectError
from tests.client.conftest import DAY, NOON, Lake
from tests.running_service import RunningService, StartService
from tests.s3 import s3_server
from tests.told_registry import tell


def training_set(store: FeatureStore) -> TrainingSet:
    frame = pa.table({"user_id": [2, 1], "event_timestamp": [NOON, NOON + DAY], "label": [0, 1]})
    return store.get_historical_features(frame, ["stats:amount"], "event_timestamp", True)


def test_a_saved_dataset_is_loaded_as_it_was_with_all_that_it_came_from(lake: Lake, tmp_path: Path) -> None:
    store = FeatureStore.from_files(
        [lake.write(lake.view().having("spec.source.createdTimestampField", "created"))], online=lake.online
    )
    store.materialize("stats", NOON + DAY)
    made = training_set(store)
    saved = made.save(tmp_path / "sets")
    assert Path(saved.uri.removeprefix("file://")).name == saved.id.removeprefix("sha256:")
    loaded = Dataset.load(saved.uri)
    assert loaded.to_arrow().equals(made.to_arrow())
    assert loaded.to_pandas()["amount"].tolist() == [3.0, 2.0]
    manifest = loaded.manifest
    assert manifest["query"] == {
        "features": ["stats:amount"],
        "timestampColumn": "event_timestamp",
        "createdCutoff": True,
        "fullFeatureNames": False,
    }
    assert manifest["views"] == [
        {
            "project": "default",
            "name": "stats",
            "schemaHash": store.definition("stats").schema_hash,
            "features": ["amount"],
            "source": {
                "parquet": {"uri": lake.uri},
                "timestampField": "event_timestamp",
                "createdTimestampField": "created",
            },
            "watermark": "2026-01-02T12:00:00Z",
        }
    ]
    assert manifest["entityFrame"]["columns"] == ["user_id", "event_timestamp", "label"]
    assert manifest["code"]["millrace"]


def test_saving_the_same_again_changes_nothing(lake: Lake, tmp_path: Path) -> None:
    store = FeatureStore.from_files([lake.write()])
    first = training_set(store).save(tmp_path / "sets")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "sets").rglob("*")}
    second = training_set(store).save(f"file://{tmp_path}/sets/")
    assert (second.uri, second.manifest) == (first.uri, first.manifest)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "sets").rglob("*")} == before


@pytest.mark.parametrize("part", ["data", "truncated", "id", "frame", "manifest"])
def test_a_damaged_dataset_is_refused(part: str, lake: Lake, tmp_path: Path) -> None:
    saved = training_set(FeatureStore.from_files([lake.write()])).save(tmp_path / "sets")
    folder = Path(saved.uri.removeprefix("file://"))
    data, manifest = folder / "data.parquet", folder / "manifest.json"
    document = json.loads(manifest.read_text())
    match part:
        case "data":
            other = saved.table.set_column(3, "amount", pa.array([3.0, 2.5]))
            pa.parquet.write_table(other, data)
        case "truncated":
            data.write_bytes(data.read_bytes()[:-9])
        case "id":
            manifest.write_text(json.dumps({**document, "id": "sha256:0"}))
        case "frame":
            frame = {**document["entityFrame"], "digest": "sha256:0"}
            manifest.write_text(json.dumps({**document, "entityFrame": frame}))
        case _:
            manifest.write_text("{")
    with pytest.raises(RejectError, match="is damaged"):
        Dataset.load(folder)


def test_what_is_no_dataset_is_said_to_be_none(lake: Lake, tmp_path: Path) -> None:
    saved = training_set(FeatureStore.from_files([lake.write()])).save(tmp_path / "sets")
    (Path(saved.uri.removeprefix("file://")) / "manifest.json").unlink()
    for uri in (saved.uri, str(tmp_path / "nothing")):
        with pytest.raises(NotFoundError, match="there is no dataset"):
            Dataset.load(uri)
    with pytest.raises(RejectError, match="a path, file:///path or s3://bucket/path is expected"):
        Dataset.load("gs://lake/x")


@pytest.fixture(scope="module")
def registry(start_service: StartService, tmp_path_factory: pytest.TempPathFactory) -> RunningService:
    database = tmp_path_factory.mktemp("registry") / "registry.db"
    return start_service("-m", "millrace_services.registry", MILLRACE_DATABASE_URL=f"sqlite:///{database}")


def test_a_connected_store_records_what_it_saves(registry: RunningService, lake: Lake, tmp_path: Path) -> None:
    view = lake.view().having("metadata.namespace", "default").build()
    tell(registry.url, view)
    store = FeatureStore.connect(registry.url)
    saved = training_set(store).save(tmp_path / "sets")
    [found] = httpx.get(f"{registry.url}/v1/datasets", params={"view": "stats"}).json()["items"]
    assert (found["id"], found["uri"]) == (saved.id, saved.uri)
    assert httpx.get(f"{registry.url}/v1/feature-views/default/stats/lineage").json()["datasets"][0]["id"] == saved.id


def test_a_registry_that_is_gone_is_a_warning(lake: Lake, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = training_set(FeatureStore.from_files([lake.write()]))
    with caplog.at_level(logging.WARNING):
        saved = TrainingSet(made.table, made.origin, Registry("http://127.0.0.1:1")).save(tmp_path / "sets")
    assert "is saved but not in the registry" in caplog.text
    assert Dataset.load(saved.uri).id == saved.id


def test_datasets_lie_in_s3_as_well(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    made = training_set(FeatureStore.from_files([lake.write()]))
    with s3_server() as endpoint:
        keys = {"AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "s", "AWS_ENDPOINT_URL": endpoint}
        for name, value in keys.items():
            monkeypatch.setenv(name, value)
        client: Any = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
        client.create_bucket(Bucket="lake")
        saved = made.save("s3://lake/sets")
        assert made.save("s3://lake/sets/").uri == saved.uri
        assert Dataset.load(saved.uri).to_arrow().equals(made.to_arrow())
        place = saved.uri.removeprefix("s3://lake/")
        client.delete_object(Bucket="lake", Key=f"{place}/manifest.json")
        with pytest.raises(NotFoundError, match="there is no dataset s3://lake/sets"):
            Dataset.load(saved.uri)
        with pytest.raises(NotFoundError, match="s3://nowhere"):
            made.save("s3://nowhere/sets")
