"""Logged predictions as people read them: by the SDK, and by ``millrace predictions``."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from millrace import FeatureStore, Predictions, RejectError
from millrace.cli.main import run
from millrace.sdk import predictions
from millrace_core.evidence import layout
from millrace_data.evidence.lake import Lake
from tests.data.evidence.rows import BEGIN, table

PERIOD = {"start": "2024-12-26", "end": "2024-12-27"}
OPTIONS = ("--start", "2024-12-26", "--end", "2024-12-27", "-n", "shop")


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """A lake with three predictions of ``shop/ranker``."""
    pq.write_table(table("a", "b", "c"), tmp_path / "rows.parquet")
    folder = layout.hour_of("shop", "ranker", BEGIN).folder
    made = Lake((tmp_path / "lake").as_uri(), {})
    made.put(f"{folder}/{layout.file_name('0a', 1)}", tmp_path / "rows.parquet")
    return tmp_path / "lake"


def called(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        run(["predictions", *map(str, arguments)])
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


def test_predictions_come_in_every_form_that_training_sets_have(lake: Path) -> None:
    found = FeatureStore.from_files([], project="shop").predictions("ranker", lake=lake, columns=["id"], **PERIOD)
    assert isinstance(found, Predictions)
    assert found.to_arrow().column("id").to_pylist() == ["a", "b", "c"]
    assert list(found.to_pandas()["id"]) == ["a", "b", "c"]
    assert found.to_polars()["id"].to_list() == ["a", "b", "c"]
    assert found.to_duckdb().filter("id > 'a'").fetchall() == [("b",), ("c",)]


def test_the_lake_may_be_said_by_the_environment(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_LAKE_URI", lake.as_uri())
    assert predictions.read("ranker", namespace="shop", limit=1, **PERIOD).table.num_rows == 1
    monkeypatch.delenv("MILLRACE_LAKE_URI")
    with pytest.raises(RejectError, match="no evidence lake is named"):
        predictions.read("ranker", namespace="shop")


def test_a_list_is_a_table_for_people_and_all_columns_as_json(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = called(capsys, "list", "ranker", "--lake", lake, *OPTIONS, "--limit", "2")
    assert code == 0
    assert "2024-12-26T08:00:00.000002Z" in out
    assert "input.x" not in out
    _, out, _ = called(capsys, "list", "ranker", "--lake", lake, *OPTIONS, "--limit", "2", "-o", "json")
    assert [(row["id"], row["input.x"]) for row in json.loads(out)] == [("b", [1, 1]), ("c", [1, 1])]


def test_one_prediction_is_shown_with_all_that_is_known_of_it(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = called(capsys, "show", "ranker", "b", "--lake", lake, *OPTIONS)
    assert code == 0
    assert "ranker-v1" in out
    assert "input.x" in out
    code, out, said = called(capsys, "show", "ranker", "nope", "--lake", lake, *OPTIONS)
    assert (code, out) == (2, "")
    assert "there is no prediction 'nope' in that time" in said


def test_an_export_is_one_parquet_file_of_the_columns_asked_for(
    lake: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "out.parquet"
    code, _, said = called(capsys, "export", "ranker", target, "--lake", lake, *OPTIONS, "--columns", "id, status")
    assert code == 0
    assert "3 rows are in" in said
    assert duckdb.sql(f"select id, status from '{target}'").fetchall() == [("a", 200), ("b", 200), ("c", 200)]


def test_an_empty_list_says_where_else_to_look(lake: Path, capsys: pytest.CaptureFixture[str]) -> None:
    later = ("--lake", str(lake), "-n", "shop", "--start", "2024-12-28", "--end", "2024-12-29")
    code, _, said = called(capsys, "list", "ranker", *later)
    assert code == 0
    assert "nothing of shop/ranker was predicted in that time; give --start and --end, or wait" in said
    with pytest.raises(SystemExit) as ended:
        run(["outcomes", "list", "ab", *later])
    assert not ended.value.code
    assert "nothing of shop/ab was received in that time; give --start and --end" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("list", "rnaker"), "has no predictions of the service 'rnaker'"),
        (("list", "ranker", "--columns", "outptu"), "there is no column 'outptu'"),
    ],
)
def test_what_is_not_there_is_one_clear_sentence(
    lake: Path, arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = called(capsys, *arguments, "--lake", lake, *OPTIONS)
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err


def test_an_export_has_each_row_once_of_all_hours_and_columns_though_files_and_schemas_differ(tmp_path: Path) -> None:
    lake = Lake((tmp_path / "lake").as_uri(), {})
    hour = 3600 * 1_000_000
    parts = [
        (BEGIN, "0a", table("a", "b")),
        (BEGIN, "0b", table("b", "c", name="y")),
        (BEGIN + hour, "0a", table("d", at=BEGIN + hour)),
    ]
    for at, writer, rows in parts:
        pq.write_table(rows, tmp_path / "rows.parquet", row_group_size=1)
        folder = layout.hour_of("shop", "ranker", at).folder
        lake.put(f"{folder}/{layout.file_name(writer, 1)}", tmp_path / "rows.parquet")
    target = tmp_path / "all.parquet"
    assert predictions.export("ranker", target, namespace="shop", lake=tmp_path / "lake", **PERIOD) == 4
    found = pq.read_table(target)
    assert found.column("id").to_pylist() == ["a", "b", "c", "d"]
    read = predictions.read("ranker", namespace="shop", lake=tmp_path / "lake", **PERIOD).table
    assert found.column_names == read.column_names
    predictions.export("ranker", target, namespace="shop", lake=tmp_path / "lake", columns=["input.y"], **PERIOD)
    [values] = pq.read_table(target).to_pydict().values()
    assert [each is None for each in values] == [True, True, False, True]
    with pytest.raises(RejectError, match="there is no column 'nothing'"):
        predictions.export("ranker", target, namespace="shop", lake=tmp_path / "lake", columns=["nothing"], **PERIOD)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["all.parquet", "lake", "rows.parquet"]
