"""The gate process judges a model as its pods would run it, and leaves the judgement as termination message."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from millrace_services.gate import main as gate
from tests.onnx_models import write_linear, write_scores

ROWS = 400
RANDOM = np.random.default_rng(5)
X = RANDOM.normal(size=(ROWS, 2)).astype(np.float32)
LABEL = (X.sum(axis=1) + RANDOM.normal(scale=0.4, size=ROWS) > 0).astype(np.int64)

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def holdout(tmp_path: Path) -> Path:
    return write(tmp_path / "holdout.parquet", a=X[:, 0], b=X[:, 1], target=LABEL)


def write(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path, row_group_size=150)
    return path


@pytest.fixture
def run(tmp_path: Path, holdout: Path) -> Run:
    """Runs the process's main on a model and rules; what it left behind, with the exit code under ``code``."""

    def judged(*rules: dict[str, Any], model: Path | None = None, **settings: Any) -> dict[str, Any]:
        stated = {"uri": f"file://{settings.pop('rows', holdout)}", "label": "target", **settings.pop("holdout", {})}
        log = tmp_path / "termination.json"
        gates = {"rules": rules} if settings.pop("alone", False) else {"holdout": stated, "rules": rules}
        environ = {
            "MILLRACE_GATES": json.dumps(gates),
            "MILLRACE_MODEL_PATH": str(model or write_scores(tmp_path / "good.onnx")),
            "MILLRACE_TERMINATION_LOG": str(log),
            "MILLRACE_DEVICE": "cpu",
            "MILLRACE_LATENCY_SECONDS": "30",
            "MILLRACE_OUTGOING": json.dumps({"folders": [str(tmp_path)]}),
            **settings,
        }
        code = gate.main(environ)
        assert log.stat().st_size <= 4096
        return {**json.loads(log.read_text()), "code": code}

    return judged


def verdicts(found: dict[str, Any]) -> list[str]:
    return [rule["verdict"] for rule in found["rules"]]


def test_a_good_model_passes_and_its_digest_is_told(run: Run, tmp_path: Path) -> None:
    found = run(
        {"metric": "auc", "min": 0.9},
        {"metric": "brier", "max": 0.2},
        {"output": "probabilities", "min": 0.0, "max": 1.0},
        {"latencyP99": "10m"},
        {"latencyP50": "10m", "rows": 64},
        {"maxSize": "1Mi"},
    )
    model = (tmp_path / "good.onnx").read_bytes()
    assert (found["code"], found["verdict"], found["rows"]) == (0, "Pass", ROWS)
    assert verdicts(found) == ["Pass"] * 6
    assert found["digest"] == f"sha256:{hashlib.sha256(model).hexdigest()}"
    assert found["bytes"] == len(model)
    assert found["champion"] is None


def test_a_model_that_inverts_the_labels_fails_with_value_and_bound(run: Run, tmp_path: Path) -> None:
    inverted = write_scores(tmp_path / "bad.onnx", factor=-4.0)
    found = run({"metric": "auc", "min": 0.9}, {"maxSize": "1Mi"}, model=inverted)
    assert (found["code"], found["verdict"], verdicts(found)) == (0, "Fail", ["Fail", "Pass"])
    [auc, _] = found["rules"]
    assert auc["value"] < 0.1
    assert auc["bound"] == 0.9
    assert f"{ROWS} rows); at least 0.9 is asked for" in auc["message"]


def test_the_champion_is_run_on_the_same_rows(run: Run, tmp_path: Path) -> None:
    rule = {"metric": "auc", "notWorseThan": "champion", "margin": 0.01}
    good, bad = write_scores(tmp_path / "1.onnx"), write_scores(tmp_path / "2.onnx", factor=-4.0)
    assert run(rule, model=good, MILLRACE_CHAMPION_PATH=str(bad))["verdict"] == "Pass"
    found = run(rule, model=bad, MILLRACE_CHAMPION_PATH=str(good))
    assert found["verdict"] == "Fail"
    assert "the champion's is 0.9" in found["rules"][0]["message"]
    same = run(rule, model=bad, MILLRACE_CHAMPION_PATH=str(bad))
    assert (same["verdict"], same["rules"][0]["message"][:33]) == ("Pass", "the champion is this very model, ")
    assert run(rule, model=bad)["rules"][0]["message"].startswith("the service has no champion yet")


def test_features_of_the_spec_name_the_columns_and_have_to_fit_the_model(run: Run, tmp_path: Path) -> None:
    swapped = write(tmp_path / "refs.parquet", target=LABEL, stats__b=X[:, 1], extra=X[:, 0], a=X[:, 0])
    features = json.dumps({"refs": ["stats:a", "stats:b"]})
    found = run({"metric": "auc", "min": 0.9}, rows=swapped, MILLRACE_FEATURES=features)
    assert [rule["rule"] for rule in found["rules"]] == ["signature", "auc min 0.9"]
    assert found["verdict"] == "Pass"
    three = json.dumps({"refs": ["stats:a", "stats:b", "stats:extra"]})
    found = run({"maxSize": "1Mi"}, rows=swapped, MILLRACE_FEATURES=three)
    assert (found["verdict"], verdicts(found)) == ("Fail", ["Fail", "Pass"])
    assert "takes [-1, 2]" in found["rules"][0]["message"]


def test_a_named_output_is_judged_by_its_mean(run: Run, tmp_path: Path) -> None:
    model = write_linear(tmp_path / "linear.onnx")
    mean = float(X.sum(axis=1).mean())
    found = run({"output": "output", "min": mean - 1e-4, "max": mean + 1e-4}, model=model)
    assert found["verdict"] == "Pass"
    assert found["rules"][0]["value"] == pytest.approx(mean, abs=1e-4)


def test_latency_and_size_need_no_holdout_and_a_shared_run_counts_too(run: Run) -> None:
    found = run({"latencyP50": "10m"}, {"latencyP99": "1ms", "rows": 4096}, alone=True, MILLRACE_BATCH_MAX_ROWS="16")
    assert (found["rows"], verdicts(found)[0]) == (None, "Pass")
    assert found["rules"][0]["rule"] in ("latencyP50 10m rows 1", "latencyP50 10m rows 16")
    assert found["rules"][1]["message"].startswith("p99 of the latency of 4096 rows is ")


def of_rows(**columns: Any) -> dict[str, Any]:
    return {"a": X[:, 0], "b": X[:, 1], "target": LABEL, **columns}


NOTHING_SAID: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "one class": (of_rows(target=np.ones(ROWS, dtype=np.int64)), {}, "all 400 labels are 1"),
    "a label is null": (of_rows(target=[None, *LABEL[1:].tolist()]), {}, "1 of 400 labels are null"),
    "outputs are NaN": (of_rows(a=np.where(np.arange(ROWS) < 3, np.nan, X[:, 0])), {}, "NaN or infinity for 3 of 400"),
    "no column": ({"a": X[:, 0], "target": LABEL}, {"features": ["a", "b"]}, "has no column 'b'"),
    "no label": ({"a": X[:, 0], "b": X[:, 1]}, {"features": ["a", "b"]}, "has no column 'target'"),
    "texts": (of_rows(a=["x"] * ROWS), {}, "columns a, b do not fit"),
    "too few": ({name: values[:20] for name, values in of_rows().items()}, {}, "has 20 rows, 100 are the fewest"),
    "too wide": (of_rows(c=X[:, 0]), {}, "3 values a row came, input 'features' takes [-1, 2]"),
    "no such output": (of_rows(), {"output": "none"}, "the model has no output 'none'"),
}


@pytest.mark.parametrize("case", NOTHING_SAID)
def test_what_the_rows_do_not_say_never_passes(run: Run, tmp_path: Path, case: str) -> None:
    columns, stated, words = NOTHING_SAID[case]
    found = run({"metric": "auc", "min": 0.0}, rows=write(tmp_path / "rows.parquet", **columns), holdout=stated)
    assert (found["code"], found["verdict"]) == (0, "Inconclusive")
    assert words in found["rules"][0]["message"]
    assert "value" not in found["rules"][0]


def test_a_holdout_that_is_not_there_or_no_parquet_settles_nothing_but_what_needs_none(
    run: Run, tmp_path: Path
) -> None:
    other = tmp_path / "other.parquet"
    for content, words in ((None, "No such file"), (b"no parquet", "cannot be read as Parquet")):
        if content is not None:
            other.write_bytes(content)
        found = run({"metric": "auc", "min": 0.5}, {"maxSize": "1Mi"}, rows=other)
        assert (found["code"], found["verdict"]) == (0, "Inconclusive")
        assert verdicts(found) == ["Inconclusive", "Pass"]
        assert words in found["rules"][0]["message"]
        assert "spec.gates.holdout.uri" in found["rules"][0]["message"]


@pytest.mark.parametrize("twice", ["a", "target"])
def test_a_holdout_with_two_columns_of_one_name_is_refused_by_that_name(run: Run, tmp_path: Path, twice: str) -> None:
    columns = [*of_rows().items(), (twice, LABEL)]
    rows = pa.Table.from_arrays([pa.array(values) for _, values in columns], names=[name for name, _ in columns])
    pq.write_table(rows, tmp_path / "twice.parquet")
    found = run({"metric": "auc", "min": 0.5}, rows=tmp_path / "twice.parquet")
    assert (found["code"], found["verdict"]) == (0, "Inconclusive")
    assert f"has more than one column {twice!r}" in found["rules"][0]["message"]


def test_a_file_that_is_too_large_is_not_read(run: Run) -> None:
    found = run({"metric": "auc", "min": 0.5}, MILLRACE_HOLDOUT_MAX_BYTES="1000")
    assert found["verdict"] == "Inconclusive"
    assert "1000 are the most" in found["rules"][0]["message"]


def test_rows_beyond_the_most_are_left_out(run: Run) -> None:
    assert run({"metric": "auc", "min": 0.5}, holdout={"maxRows": 200})["rows"] == 200


def test_a_closed_door_lets_no_holdout_in(run: Run) -> None:
    found = run({"metric": "auc", "min": 0.5}, MILLRACE_OUTGOING="")
    assert found["verdict"] == "Inconclusive"
    assert "is not within a folder whose files may be read" in found["rules"][0]["message"]


def test_a_model_that_does_not_load_is_a_failure_of_the_job_and_no_judgement(run: Run, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    # The fetch before it refuses such a file; what it cannot see is a device that is not there.
    found = run({"maxSize": "1Mi"}, model=broken)
    assert found["code"] == 2
    assert found["error"]["reason"] == "BadModel"


def test_the_judgement_of_many_rules_fits_into_a_termination_message(run: Run) -> None:
    found = run(*({"metric": "auc", "min": 0.5 + number / 1000} for number in range(16)))
    assert len(found["rules"]) == 16


def test_infinite_labels_are_no_truth(run: Run, tmp_path: Path) -> None:
    labels = LABEL.astype(np.float64)
    labels[3] = np.inf
    found = run({"metric": "rmse", "max": 1}, rows=write(tmp_path / "x.parquet", a=X[:, 0], b=X[:, 1], target=labels))
    assert verdicts(found) == ["Inconclusive"]
    assert f"1 of {ROWS} labels are infinite" in found["rules"][0]["message"]


@pytest.mark.parametrize(
    ("name", "limit", "said"),
    [
        ("BATCH_BYTES", 900, "has a row, the 3th, of 1016 bytes, 900 are the most"),
        ("LABEL_BYTES", 3000, "bytes in the column 'target', 3000 are the most"),
        ("GROUP_BYTES", 100, "bytes in the columns that are read of a row group, 100 are the most"),
    ],
)
def test_texts_that_are_large_once_they_are_read_are_named_in_the_condition(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, limit: int, said: str
) -> None:
    monkeypatch.setattr(f"millrace_services.gate.holdout.{name}", limit)
    target = ["a", "b", *["c" * 1000] * (ROWS - 2)]
    found = run(
        {"metric": "accuracy", "min": 0}, rows=write(tmp_path / "x.parquet", a=X[:, 0], b=X[:, 1], target=target)
    )
    assert verdicts(found) == ["Inconclusive"]
    assert said in found["rules"][0]["message"]


def test_rows_that_are_large_together_are_judged_in_parts(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("millrace_services.gate.holdout.BATCH_BYTES", 1024)
    rows = write(tmp_path / "x.parquet", a=X[:, 0], b=X[:, 1], target=LABEL.astype(str))
    found = run({"metric": "auc", "min": 0.9}, rows=rows)
    assert (found["verdict"], found["rows"]) == ("Pass", ROWS)
