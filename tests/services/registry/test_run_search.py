"""Runs are found by what they are and by what they logged."""

from __future__ import annotations

import math

import pytest

from millrace_core.base.errors import RejectError
from millrace_services.registry.database import Database
from millrace_services.registry.mlflow.searching import Page
from millrace_services.registry.tracking import run_search
from millrace_services.registry.tracking.run_log import Batch, DatasetInput
from millrace_services.registry.tracking.runs import Change
from tests.services.registry.tracking import Tracking

LONG = "x" * 200


@pytest.fixture
def tracking(database: Database) -> Tracking:
    """Four runs: each later one has a higher accuracy but the last, which has none."""
    made = Tracking(database)
    for name, accuracy in (("a", 0.1), ("b", 0.5), ("c", math.nan), ("d", None)):
        run_id = made.run(name, team=name.upper())
        made.log.log(run_id, Batch(params={"lr": name * 2, "long": LONG + name}))
        if accuracy is not None:
            made.metric(run_id, "acc", 0.0, accuracy)
            made.metric(run_id, "val loss/all", 1.0)
    return made


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "dcba"),
        ("metrics.acc > 0.1", "b"),
        ("metrics.acc >= 0.1", "ba"),
        ("metric.acc != 0.5", "a"),
        ("metrics.`val loss/all` = 1", "cba"),
        ('metrics."val loss/all" = 1 and metrics.acc < 0.3', "a"),
        ("params.lr = 'aa'", "a"),
        ("parameters.lr != 'aa'", "dcb"),
        ("params.lr LIKE 'b%'", "b"),
        ("params.lr ILIKE 'B_'", "b"),
        (f"params.long = '{LONG}c'", "c"),
        (f"params.long = '{LONG}'", ""),
        ("tags.team = 'D'", "d"),
        ("tag.`mlflow.runName` = 'b'", "b"),
        ("tags.nothing IS NULL", "dcba"),
        ("tags.team IS NOT NULL AND params.lr = 'cc'", "c"),
        ("attributes.run_name IN ('a', 'c')", "ca"),
        ("run_name NOT IN ('a', 'c')", "db"),
        ("attributes.`Run name` = 'a'", "a"),
        ("status = 'RUNNING'", "dcba"),
        ("status = 'FINISHED'", ""),
        ("user_id = 'ann' AND start_time > 0", "dcba"),
        ("end_time > 0", ""),
        ("params.lr = \"aa' OR ''='\"", ""),
    ],
)
@pytest.mark.parametrize("few", [-1, 2000])
def test_a_filter_finds_those_that_it_says(
    tracking: Tracking, text: str, expected: str, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_search, "_FEW", few)
    assert "".join(tracking.found(text)) == expected


@pytest.mark.parametrize(
    ("order_by", "expected"),
    [
        (["metrics.acc"], "abcd"),
        (["metrics.acc DESC"], "bacd"),
        (["params.lr DESC"], "dcba"),
        (["attributes.start_time ASC"], "abcd"),
        (["tags.team ASC"], "abcd"),
        (["end_time DESC", "run_name"], "abcd"),
        (["metrics.`val loss/all` ASC", "metrics.acc DESC"], "bacd"),
        (["metrics.unknown DESC"], "dcba"),
    ],
)
def test_runs_that_lack_what_they_are_ordered_by_come_last(
    tracking: Tracking, order_by: list[str], expected: str
) -> None:
    assert "".join(tracking.found("", *order_by)) == expected


@pytest.mark.parametrize("order_by", [[], ["metrics.acc DESC"], ["metrics.acc"], ["params.lr"]])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_pages_are_the_whole_result_once(tracking: Tracking, order_by: list[str], size: int) -> None:
    whole = tracking.found("", *order_by)
    found, token = [], ""
    while True:
        runs, token = tracking.runs.search(["0"], "", order_by, "ACTIVE_ONLY", Page.of(size, token))
        found += [run["info"]["run_name"] for run in runs]
        if not token:
            break
    assert found == whole


def test_runs_of_other_experiments_and_deleted_ones_are_not_found(tracking: Tracking) -> None:
    other = tracking.experiments.create("other", "", {})
    tracking.run("o", other)
    tracking.runs.delete(tracking.run("gone"))
    assert "".join(tracking.found("")) == "dcba"
    assert tracking.found("", view="DELETED_ONLY") == ["gone"]
    assert tracking.found("", experiments=(other,)) == ["o"]
    assert tracking.found("", experiments=()) == []


def test_runs_are_found_by_the_datasets_that_they_read(tracking: Tracking) -> None:
    run_id = tracking.run("reader")
    fields = {"name": "d", "digest": "1", "source_type": "local", "source": "{}", "schema": "", "profile": ""}
    tracking.log.log_inputs(run_id, [DatasetInput(fields, {"mlflow.data.context": "train"})], [])
    assert tracking.found("dataset.name = 'd' AND dataset.context = 'train'") == ["reader"]
    assert tracking.found("datasets.digest = '2'") == []


def test_an_end_that_there_is_not_comes_after_those_that_there_are(tracking: Tracking) -> None:
    ended = tracking.run("ended")
    tracking.runs.update(ended, Change(status="FINISHED", end_time=5))
    assert tracking.found("", "end_time DESC")[0] == "ended"
    assert tracking.found("end_time < 9") == ["ended"]


@pytest.mark.parametrize(
    ("text", "order_by"),
    [
        ("owner = 'x'", []),
        ("metrics.acc = 'x'", []),
        ("metrics.acc LIKE 1", []),
        ("params.lr > 'a'", []),
        ("params.lr = 1", []),
        ("start_time = 'x'", []),
        ("things.x = 1", []),
        ("metrics.acc > 1 OR metrics.acc < 0", []),
        ("", ["owner"]),
        ("", ["things.x"]),
        ("", ["metrics.acc", "metrics.acc DESC"]),
        ("", [f"metrics.m{number}" for number in range(17)]),
    ],
)
def test_what_cannot_be_asked_is_refused(tracking: Tracking, text: str, order_by: list[str]) -> None:
    with pytest.raises(RejectError):
        tracking.runs.search(["0"], text, order_by, "ACTIVE_ONLY", Page(10, 0))


def test_as_much_as_may_be_asked_at_once_is_answered(tracking: Tracking) -> None:
    conditions = ("metrics.acc >= 0", "params.lr != 'x'", "tags.team IS NOT NULL")
    text = " AND ".join([*conditions * 33, conditions[0]])
    order_by = [f"{entity}.m{number}" for number in range(8) for entity in ("metrics", "params")]
    assert "".join(tracking.found(text, *order_by)) == "ba"
