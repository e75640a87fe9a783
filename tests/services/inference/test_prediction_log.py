"""The log of predictions, as a server writes it: what it has, what it never costs, what it survives."""

from __future__ import annotations

import json
import signal
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pyarrow as pa
import pytest

from millrace_core.base.errors import NotFoundError
from millrace_core.evidence.record import FeatureValues, PredictionRecord
from millrace_data.evidence import reading, spool
from millrace_data.evidence.lake import Lake
from millrace_data.evidence.reading import Question
from millrace_services.inference import bfloat16
from millrace_services.inference.note import Note
from millrace_services.inference.prediction import Timings
from millrace_services.inference.prediction_log import PredictionLog
from millrace_services.inference.settings import LogSettings
from millrace_services.web.hot import Call

pytestmark = pytest.mark.slow

UID = "6f1c2a7b-1111"
SUM = {"inputs": [{"name": "features", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}]}


def environment(folder: Path, **log: Any) -> dict[str, str]:
    told = {"uri": (folder / "lake").as_uri(), "spool": str(folder / "spool"), **log}
    return {
        "MILLRACE_LOG": json.dumps(told),
        "MILLRACE_POD_UID": UID,
        "MILLRACE_PROJECT": "shop",
        "MILLRACE_OUTGOING": '{"open": true}',
    }


def logged(folder: Path, **more: Any) -> pa.Table:
    now = datetime.now(UTC)
    lake = Lake((folder / "lake").as_uri(), {})
    asked = {"start": now - timedelta(days=1), "end": now + timedelta(days=1), **more}
    return reading.read(lake, Question("shop", "m", **asked))


def test_each_answer_says_its_id_and_is_in_the_lake_when_the_server_has_ended(
    serve: Callable[..., Any], models: dict[str, Path], tmp_path: Path
) -> None:
    server = serve(models["sum"], **environment(tmp_path))
    with httpx.Client(base_url=server.url, headers={"x-millrace-arm": "v2", "x-millrace-unit": "u7"}) as client:
        infer = "/v2/models/m/infer"
        mine = client.post(infer, json={**SUM, "id": "in-the-body"}, headers={"x-request-id": "mine"})
        body = client.post(infer, json={**SUM, "id": "in-the-body"})
        made = client.post("/predict", json={"request": {"features": [[1, 2, 3], [4, 5, 6]]}})
        bad = client.post(infer, json={"inputs": []}, headers={"x-request-id": "bad", "host": "m-shadow:80"})
    ids = [each.headers["x-millrace-prediction-id"] for each in (mine, body, made, bad)]
    assert (ids[0], ids[1], ids[3]) == ("mine", "in-the-body", "bad")
    assert uuid.UUID(ids[2]).version == 7
    assert made.json()["id"] == ids[2]
    assert bad.status_code == 400
    server.terminate()
    assert server.exit_code() == 0
    rows = logged(tmp_path).to_pylist()
    assert [(row["id"], row["row"], row["status"], row["output.total"]) for row in rows] == [
        ("mine", 0, 200, 6.0),
        ("in-the-body", 0, 200, 6.0),
        (ids[2], 0, 200, 6.0),
        (ids[2], 1, 200, 15.0),
        ("bad", 0, 400, None),
    ]
    assert rows[3]["input.features"] == [4.0, 5.0, 6.0]
    assert {(row["arm"], row["unit"], row["deployment"], row["service"]) for row in rows} == {("v2", "u7", "m-v7", "m")}
    assert [row["shadow"] for row in rows] == [False] * 4 + [True]
    assert all(row["total_us"] >= row["queue_us"] + row["compute_us"] for row in rows[:4])
    assert list((tmp_path / "spool").glob("*.spool")) == []


def test_a_redaction_of_what_the_model_does_not_have_stops_the_start(
    start_service: Callable[..., Any], models: dict[str, Path], tmp_path: Path
) -> None:
    settings = environment(tmp_path, redact=[{"column": "input.featrues", "how": "drop"}])
    settings |= {"MILLRACE_MODEL_NAME": "m", "MILLRACE_MODEL_PATH": str(models["sum"]), "MILLRACE_DEVICE": "cpu"}
    server = start_service("-m", "millrace_services.inference", "serve", listening=False, **settings)
    assert server.exit_code() != 0
    assert "the log has no column 'input.featrues'" in server.log()
    assert "input.features" in server.log()


def test_a_server_that_is_killed_under_load_loses_what_was_not_on_disk_and_has_nothing_twice(
    serve: Callable[..., Any], models: dict[str, Path], tmp_path: Path
) -> None:
    server = serve(models["sum"], **environment(tmp_path))
    answered: list[str] = []
    killed = threading.Event()

    def load() -> None:
        with httpx.Client(base_url=server.url) as client:
            while not killed.is_set():
                try:
                    answer = client.post("/v2/models/m/infer", json=SUM)
                    answered.append(answer.headers["x-millrace-prediction-id"])
                except httpx.HTTPError:
                    return

    loading = threading.Thread(target=load)
    loading.start()
    on_disk: set[str] = set()
    while not on_disk:  # at least one second's were written
        on_disk = {
            identity
            for path in (tmp_path / "spool").glob("*.spool")
            for block in spool.read(path)
            for identity in block.column("id").to_pylist()
        }
    for child in psutil.Process(server.process.pid).children():
        child.send_signal(signal.SIGKILL)
    loading.join()
    killed.set()
    while True:  # the next process takes its place, and finds the spool
        try:
            again = httpx.post(f"{server.url}/v2/models/m/infer", json=SUM, headers={"x-request-id": "again"})
            break
        except httpx.TransportError:
            continue
    assert again.status_code == 200
    server.terminate()
    assert server.exit_code() == 0
    ids = logged(tmp_path, columns=["id"]).column("id").to_pylist()
    assert len(ids) == len(set(ids))
    assert on_disk | {"again"} <= set(ids)
    assert set(ids) <= {*answered, "again"} | on_disk
    missing = [identity for identity in answered if identity not in set(ids)]
    assert missing == answered[len(answered) - len(missing) :]  # the last ones alone


def test_predictions_go_on_while_the_lake_is_away_and_the_rest_stays_in_the_spool(
    serve: Callable[..., Any], models: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "lake").write_text("no folder")
    server = serve(models["sum"], **environment(tmp_path))
    assert httpx.post(f"{server.url}/v2/models/m/infer", json=SUM).status_code == 200
    server.terminate()
    assert server.exit_code() == 0
    assert "left in the spool" in server.log()
    (tmp_path / "lake").unlink()
    again = serve(models["sum"], **environment(tmp_path))
    again.terminate()
    assert again.exit_code() == 0
    assert logged(tmp_path).num_rows == 1


def test_without_a_log_nothing_is_written_and_the_id_is_answered(
    serve: Callable[..., Any], models: dict[str, Path], tmp_path: Path
) -> None:
    server = serve(models["sum"])
    answer = httpx.post(f"{server.url}/v2/models/m/infer", json=SUM, headers={"x-request-id": "mine"})
    assert answer.headers["x-millrace-prediction-id"] == "mine"
    with pytest.raises(NotFoundError):
        logged(tmp_path)


def taken(
    headers: dict[bytes, bytes], noted: Note | None = None, status: int = 200, **settings: Any
) -> list[PredictionRecord]:
    found: list[PredictionRecord] = []

    async def gone() -> bool:
        return False

    log = PredictionLog(
        LogSettings(uri="file:///x", spool=Path("/x"), **settings), "ranker", lambda record, _: found.append(record)
    )
    note = noted or Note("mine")
    note.timings = Timings(1.0, 2.0, 3.0)
    log.take(Call({"headers": list(headers.items())}, b"", gone), note, status, 0)
    return found


@pytest.mark.parametrize(
    ("host", "shadow"),
    [
        (b"ranker.shop.svc-shadow", True),
        (b"ranker.shop.svc-shadow:8080", True),
        (b"ranker", False),
        (b"ranker.shop.svc:80", False),
    ],
)
def test_a_mirrored_request_is_known_by_its_host(host: bytes, shadow: bool) -> None:
    (record,) = taken({b"host": host})
    assert record.shadow is shadow


@pytest.mark.parametrize(("said", "cached"), [("", False), ("miss", False), ("hit", True), ("shared", True)])
def test_what_no_run_was_made_for_is_known_as_cached(said: str, cached: bool) -> None:
    note = Note(None)
    note.cache = said
    (record,) = taken({}, note)
    assert record.cached is cached


def test_arm_experiment_and_unit_come_from_headers_of_which_one_is_configured() -> None:
    headers = {b"x-millrace-arm": b"v2", b"x-millrace-experiment": b"e", b"x-user-id": b"7"}
    (record,) = taken(headers, unitHeader="X-User-Id")
    assert (record.arm, record.experiment, record.unit, record.seconds[:3]) == ("v2", "e", "7", (1.0, 2.0, 3.0))


@pytest.mark.parametrize(("status", "kept"), [(200, True), (404, True), (503, True), (400, False), (413, False)])
def test_of_a_request_that_is_a_mistake_nothing_is_kept_as_its_names_have_no_rule_of_redaction(
    status: int, kept: bool
) -> None:
    note = Note("mine")
    note.entities = note.fields = {"patient": [1009]}
    note.inputs = {"x": np.array([1.0])}
    note.features = FeatureValues({}, {}, {})
    (record,) = taken({}, note, status)
    assert (record.id, record.status) == ("mine", status)
    assert [bool(each) for each in (record.entities, record.fields, record.inputs)] == [kept] * 3
    assert (record.features is not None) is kept


def test_an_id_that_the_sample_has_not_is_not_taken() -> None:
    assert taken({}, sample=1e-6) == []


def test_numbers_of_bf16_are_logged_as_numbers_and_not_as_their_bits() -> None:
    found: list[PredictionRecord] = []

    async def gone() -> bool:
        return False

    settings = LogSettings(uri="file:///x", spool=Path("/x"))
    log = PredictionLog(settings, "ranker", lambda record, _: found.append(record), ["x"])
    note = Note("mine")
    note.inputs = {"x": bfloat16.from_float32(np.array([1.5, -2.0], np.float32)), "y": np.array([7], np.uint16)}
    log.take(Call({"headers": []}, b"", gone), note, 200, 0)
    (record,) = found
    assert {name: values.tolist() for name, values in record.inputs.items()} == {"x": [1.5, -2.0], "y": [7]}
