"""``millrace predictions compare``: two deployments over the same requests, out of the lake."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from millrace.cli.main import run
from millrace_core.evidence import layout, rows
from millrace_core.evidence.record import Origin, PredictionRecord
from millrace_data.evidence.lake import Lake
from tests.data.evidence.rows import BEGIN

OPTIONS = ("--start", "2024-12-26", "--end", "2024-12-27", "-n", "shop")


def predicted(identity: str, value: float, *, status: int = 200, took: float = 0.002) -> PredictionRecord:
    outputs = {"score": np.full((1, 1), value, np.float32), "label": np.array([value > 0.5], np.int64)}
    return PredictionRecord(
        identity, BEGIN, status, (0.0, 0.0, 0.0, took), outputs=outputs if status == 200 else {}, shadow=took > 0.002
    )


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """``v1`` answered a, b, c and d; ``v2`` has copies of b, c and d, failed one, and has one that ``v1`` lost."""
    made = Lake((tmp_path / "lake").as_uri(), {})
    folder = layout.hour_of("shop", "ranker", BEGIN).folder

    def write(number: int, deployment: str, records: Sequence[PredictionRecord]) -> None:
        origin = Origin("shop", "ranker", deployment, "0badcafe", "sha256:" + "0" * 64)
        pq.write_table(rows.table(records, origin), tmp_path / "rows.parquet")
        made.put(f"{folder}/{layout.file_name('0a', number)}", tmp_path / "rows.parquet")

    write(1, "v1", [predicted("a", 0.1), predicted("b", 0.2), predicted("c", 0.4), predicted("d", 0.9)])
    copies = [predicted("b", 0.2, took=0.004), predicted("c", 0.6, took=0.004), predicted("e", 0.5, took=0.004)]
    write(2, "v2", [*copies, predicted("d", 0.0, status=500, took=0.1)])
    return tmp_path / "lake"


def called(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        run(["predictions", "compare", "ranker", *map(str, arguments)])
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


def test_the_same_requests_are_held_against_each_other(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = called(capsys, "v1", "v2", "--lake", lake, *OPTIONS, "-o", "json")
    found = json.loads(out)
    assert (code, found["requests"], found["rows"], found["alone"]) == (0, 3, 2, 1)
    assert found["shadow"] == {"deployment": "v2", "failed": pytest.approx(1 / 3), "p50Ms": 4.0, "p99Ms": 4.0}
    assert (found["control"]["failed"], found["control"]["p50Ms"]) == (0.0, 2.0)
    outputs = {each["name"]: each for each in found["outputs"]}
    assert [outputs[name]["agreement"] for name in ("score", "label")] == [0.5, 0.5]
    assert outputs["score"]["wasserstein"] == pytest.approx(0.1)
    assert outputs["label"]["wasserstein"] is None


def test_a_table_says_it_for_people(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = called(capsys, "v1", "v2", "--lake", lake, *OPTIONS, "--tolerance", "0.3")
    assert code == 0
    assert "3 requests that both have, 2 rows that both answered; 1 more of v2 alone" in out
    assert "33.33%" in out


def test_deployments_without_a_request_in_common_are_told_what_each_has(
    lake: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, said = called(capsys, "v1", "v3", "--lake", lake, *OPTIONS)
    assert code == 2
    assert "'v1' (4 requests) and 'v3' (0)" in said
    code, _, said = called(capsys, "v1", "v1", "--lake", lake, *OPTIONS)
    assert "two different ModelDeployments" in said


def test_an_export_and_a_list_have_a_mirrored_request_of_both(
    lake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = tmp_path / "all.parquet"
    wanted = ("--columns", "id,deployment,output.*")
    with pytest.raises(SystemExit):
        run(["predictions", "export", "ranker", str(written), "--lake", str(lake), *OPTIONS, *wanted])
    capsys.readouterr()
    table = pq.read_table(written)
    assert table.column_names == ["id", "deployment", "output.score", "output.label"]
    found = sorted((row["id"], row["deployment"]) for row in table.to_pylist())
    assert found == [*((each, "v1") for each in "a"), *((each, f"v{n}") for each in "bcd" for n in (1, 2)), ("e", "v2")]
