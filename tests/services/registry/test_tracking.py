"""Experiments and runs: what is kept of them, what is refused, and that nothing is kept by halves."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from millrace_services.registry.database import Database
from millrace_services.registry.mlflow.errors import MlflowError
from millrace_services.registry.mlflow.searching import Page
from millrace_services.registry.tracking import points
from millrace_services.registry.tracking.experiments import Experiments
from millrace_services.registry.tracking.points import Point
from millrace_services.registry.tracking.run_log import Batch, DatasetInput
from millrace_services.registry.tracking.runs import Change
from tests.services.registry.tracking import Tracking

NAN = float("nan")


@pytest.fixture
def tracking(database: Database) -> Tracking:
    return Tracking(database)


def metrics_of(tracking: Tracking, run_id: str) -> dict[str, object]:
    return {each["key"]: each["value"] for each in tracking.runs.get(run_id)["data"].get("metrics", [])}


def history_of(tracking: Tracking, run_id: str, key: str) -> list[tuple[int, float]]:
    rows = tracking.log.history(run_id, key, 10**6, 0)
    return [(row.step, math.nan if row.is_nan else row.value) for row in rows]


def test_there_is_an_experiment_for_runs_that_name_none_and_it_is_made_once(tracking: Tracking) -> None:
    assert tracking.experiments.get("0")["name"] == "Default"
    tracking.experiments.delete("0")
    Experiments(tracking.database, lambda: 5).ensure_default()
    assert tracking.experiments.get("0")["lifecycle_stage"] == "deleted"


def test_a_place_of_files_that_is_too_long_is_refused_before_its_percent_codes_are_undone(tracking: Tracking) -> None:
    with pytest.raises(MlflowError, match="maximum length of 2000"):
        tracking.experiments.create("long", "s3://bucket/%" + "25" * 10**6, {})


def test_files_of_an_experiment_go_through_the_server_unless_it_says_where(tracking: Tracking) -> None:
    own = tracking.experiments.create("own", "s3://bucket/own/", {})
    proxied = tracking.experiments.create("proxied", "", {"team": "growth"})
    assert tracking.experiments.get(own)["artifact_location"] == "s3://bucket/own"
    assert tracking.experiments.get(proxied)["artifact_location"] == f"mlflow-artifacts:/{proxied}"
    assert tracking.experiments.get(proxied)["tags"] == [{"key": "team", "value": "growth"}]
    run = tracking.runs.get(tracking.run(experiment=own))
    assert run["info"]["artifact_uri"] == f"s3://bucket/own/{run['info']['run_id']}/artifacts"


@pytest.mark.parametrize(
    "location", ["s3://b/../x", "mlflow-artifacts:/%2e%2e/x", "s3://b/x#y", "runs:/a/b", "s3://b/\x00", "a\\..\\b"]
)
def test_a_place_that_leads_elsewhere_is_refused(tracking: Tracking, location: str) -> None:
    with pytest.raises(MlflowError) as caught:
        tracking.experiments.create("x", location, {})
    assert (caught.value.code, caught.value.status) == ("INVALID_PARAMETER_VALUE", 400)


def test_the_name_of_a_deleted_experiment_is_taken_until_it_is_renamed(tracking: Tracking) -> None:
    first = tracking.experiments.create("churn", "", {})
    tracking.experiments.delete(first)
    with pytest.raises(MlflowError, match=r"Experiment\(name=churn\) already exists in deleted state") as caught:
        tracking.experiments.create("churn", "", {})
    assert caught.value.code == "RESOURCE_ALREADY_EXISTS"
    with pytest.raises(MlflowError, match="must be in the 'active' state"):
        tracking.experiments.rename(first, "old")
    tracking.experiments.restore(first)
    tracking.experiments.rename(first, "old")
    assert tracking.experiments.create("churn", "", {}) != first


def test_runs_go_and_come_with_their_experiment(tracking: Tracking) -> None:
    experiment = tracking.experiments.create("e", "", {})
    run_id = tracking.run("r", experiment)
    tracking.experiments.delete(experiment)
    assert tracking.found("", experiments=(experiment,)) == []
    assert tracking.found("", experiments=(experiment,), view="DELETED_ONLY") == ["r"]
    with pytest.raises(MlflowError, match="must be in the 'active' state"):
        tracking.run("r2", experiment)
    with pytest.raises(MlflowError, match="must be in the 'active' state"):
        tracking.metric(run_id, "m", 1.0)
    tracking.experiments.restore(experiment)
    assert tracking.found("", experiments=(experiment,)) == ["r"]


def test_a_runs_name_is_its_tag_whichever_of_them_is_changed(tracking: Tracking) -> None:
    run_id = tracking.run(**{"mlflow.runName": "by tag"})
    assert tracking.runs.get(run_id)["info"]["run_name"] == "by tag"
    tracking.runs.update(run_id, Change(name="by name"))
    assert {"key": "mlflow.runName", "value": "by name"} in tracking.runs.get(run_id)["data"]["tags"]
    tracking.log.log(run_id, Batch(tags={"mlflow.runName": "again"}))
    assert tracking.runs.get(run_id)["info"]["run_name"] == "again"
    with pytest.raises(MlflowError, match="with different values"):
        tracking.run("one", **{"mlflow.runName": "other"})


def test_an_update_changes_what_it_names_and_nothing_else(tracking: Tracking) -> None:
    run_id = tracking.run("r")
    tracking.runs.update(run_id, Change(status="FINISHED", end_time=7))
    after = tracking.runs.update(run_id, Change())
    assert (after["status"], after["end_time"], after["run_name"]) == ("FINISHED", 7, "r")


def test_a_run_shows_the_last_value_of_each_metric_and_the_history_all(tracking: Tracking) -> None:
    run_id = tracking.run()
    tracking.log.log(run_id, Batch([Point("loss", 0.5, 10, 2), Point("loss", 0.9, 30, 1), Point("acc", 0.1, 5, 0)]))
    tracking.log.log(run_id, Batch([Point("loss", 0.7, 20, 1), Point("acc", 0.2, 5, 1)]))
    assert metrics_of(tracking, run_id) == {"loss": 0.5, "acc": 0.2}
    assert history_of(tracking, run_id, "loss") == [(1, 0.7), (1, 0.9), (2, 0.5)]
    assert history_of(tracking, run_id, "other") == []


def test_of_points_of_one_step_and_moment_the_greatest_is_the_last(tracking: Tracking) -> None:
    run_id = tracking.run()
    for value in (2.0, 3.0, NAN, 1.0):
        tracking.log.log(run_id, Batch([Point("loss", value, 10, 0)]))
    assert metrics_of(tracking, run_id) == {"loss": 3.0}


def test_a_batch_that_is_sent_again_adds_nothing(tracking: Tracking) -> None:
    run_id = tracking.run()
    batch = Batch([Point("loss", value, 10, 0) for value in (1.0, 2.0, NAN, math.inf)], {"a": "1"}, {"t": "x"})
    tracking.log.log(run_id, batch)
    tracking.log.log(run_id, batch)
    assert len(history_of(tracking, run_id, "loss")) == 4


def test_numbers_that_json_has_not_are_kept_as_they_are(tracking: Tracking) -> None:
    run_id = tracking.run()
    for name, value in (("nan", NAN), ("inf", math.inf), ("least", -math.inf)):
        tracking.metric(run_id, name, 1.0, value)
    assert metrics_of(tracking, run_id) == {"nan": "NaN", "inf": "Infinity", "least": "-Infinity"}
    assert math.isnan(history_of(tracking, run_id, "nan")[1][1])
    tracking.log.log(run_id, Batch([Point("nan", 3.0, 101, 1)]))
    assert metrics_of(tracking, run_id)["nan"] == 3.0


def test_a_parameter_is_never_changed_and_a_batch_that_would_change_one_writes_nothing(tracking: Tracking) -> None:
    run_id = tracking.run()
    tracking.log.log(run_id, Batch(params={"lr": "0.1"}))
    with pytest.raises(MlflowError, match=r"Changing param values is not allowed.*'old_value': '0.1'"):
        tracking.log.log(run_id, Batch([Point("m", 1.0, 1, 1)], {"lr": "0.2", "new": "1"}, {"t": "x"}))
    assert tracking.runs.get(run_id)["data"].keys() == {"params", "tags"}
    assert tracking.runs.get(run_id)["data"]["params"] == [{"key": "lr", "value": "0.1"}]
    assert history_of(tracking, run_id, "m") == []


def test_a_thousand_metrics_of_a_batch_are_a_thousand_metrics(tracking: Tracking) -> None:
    run_id = tracking.run()
    for value in (1.0, 2.0):
        tracking.log.log(run_id, Batch([Point(f"m{at}", value, 1, int(value)) for at in range(1000)]))
    assert set(metrics_of(tracking, run_id).values()) == {2.0}
    assert len(metrics_of(tracking, run_id)) == 1000


def test_a_tag_that_is_not_there_cannot_be_deleted(tracking: Tracking) -> None:
    run_id = tracking.run(team="a")
    tracking.log.delete_tag(run_id, "team")
    with pytest.raises(MlflowError, match="No tag with name: team in run with id") as caught:
        tracking.log.delete_tag(run_id, "team")
    assert caught.value.status == 404


def test_inputs_and_outputs_are_shown_with_their_run(tracking: Tracking) -> None:
    run_id = tracking.run()
    fields = {"name": "d", "digest": "1", "source_type": "local", "source": "{}", "schema": "", "profile": ""}
    for _ in range(2):
        tracking.log.log_inputs(run_id, [DatasetInput(fields, {"mlflow.data.context": "train"})], ["m-1"])
        tracking.log.log_outputs(run_id, [("m-2", 3)])
    run = tracking.runs.get(run_id)
    [dataset] = run["inputs"]["dataset_inputs"]
    assert dataset["tags"] == [{"key": "mlflow.data.context", "value": "train"}]
    assert dataset["dataset"] == {"name": "d", "digest": "1", "source_type": "local", "source": "{}"}
    assert run["inputs"]["model_inputs"] == [{"model_id": "m-1"}]
    assert run["outputs"] == {"model_outputs": [{"model_id": "m-2", "step": 3}]}
    summary = {"experiment_id": "0", "name": "d", "digest": "1", "context": "train"}
    assert tracking.log.datasets(["0"]) == [summary]
    assert tracking.log.datasets(["1"]) == []


def test_a_long_history_is_sampled_evenly_with_its_ends_and_a_short_one_is_whole(tracking: Tracking) -> None:
    long, short = tracking.run(), tracking.run()
    for start in range(0, 5000, 1000):
        tracking.log.log(long, Batch([Point("loss", float(step), step, step) for step in range(start, start + 1000)]))
    tracking.metric(short, "loss", *(float(step) for step in range(50)))
    steps = [row.step for _, row in tracking.log.sampled([long], "loss", (None, None), 100)]
    assert (steps[0], steps[-1], len(steps)) == (0, 4999, 101)
    assert max(after - before for before, after in pairwise(steps)) <= 51
    within = [row.step for _, row in tracking.log.sampled([long], "loss", (100, 149), 100)]
    assert within == list(range(100, 150))
    found = tracking.log.sampled([short], "loss", (None, None), 100)
    assert [row.value for _, row in found] == [float(step) for step in range(50)]


def test_steps_that_lie_far_apart_are_sampled_too(tracking: Tracking) -> None:
    run_id = tracking.run()
    steps = [*range(-100, 100), 2**62]
    tracking.log.log(run_id, Batch([Point("loss", 1.0, 1, step) for step in steps]))
    found = [row.step for _, row in tracking.log.sampled([run_id], "loss", (None, None), 10)]
    assert {*found} <= {*steps}
    assert (found[0], found[-1]) == (-100, 2**62)


def test_pages_of_a_history_are_the_whole_of_it_once(tracking: Tracking) -> None:
    run_id = tracking.run()
    tracking.metric(run_id, "loss", *(float(step) for step in range(25)))
    pages = [tracking.log.history(run_id, "loss", 10, offset) for offset in (0, 10, 20)]
    assert [row.value for page in pages for row in page] == [float(step) for step in range(25)]


@pytest.mark.parametrize(
    "item",
    [
        {"value": 1.0, "timestamp": 1},
        {"key": "", "value": 1.0, "timestamp": 1},
        {"key": "a/../b", "value": 1.0, "timestamp": 1},
        {"key": "a" * 251, "value": 1.0, "timestamp": 1},
        {"key": 5, "value": 1.0, "timestamp": 1},
        {"key": ["a"], "value": 1.0, "timestamp": 1},
        {"key": "a", "value": [1.0], "timestamp": {}},
        {"key": "a", "timestamp": 1},
        {"key": "a", "value": "x", "timestamp": 1},
        {"key": "a", "value": True, "timestamp": 1},
        {"key": "a", "value": 10**400, "timestamp": 1},
        {"key": "a", "value": 1.0},
        {"key": "a", "value": 1.0, "timestamp": -1},
        {"key": "a", "value": 1.0, "timestamp": 2**63},
        {"key": "a", "value": 1.0, "timestamp": 1, "step": 2**63},
        {"key": "a", "value": 1.0, "timestamp": 1, "step": "x"},
        "text",
    ],
)
def test_what_is_no_point_is_refused(item: object) -> None:
    with pytest.raises(MlflowError) as caught:
        points.parsed([item])
    assert caught.value.status == 400


def test_numbers_may_be_texts_as_in_protobufs_json() -> None:
    item = {"key": "a", "value": "NaN", "timestamp": "17", "step": "-3"}
    [point] = points.parsed([item])
    assert math.isnan(point.value)
    assert (point.timestamp, point.step) == (17, -3)


def test_experiments_are_searched_by_name_tag_and_moment(tracking: Tracking) -> None:
    for name in ("churn", "Fraud", "other"):
        last = tracking.experiments.create(name, "", {"team": name[0]})
    tracking.experiments.delete(last)

    def found(text: str, *order_by: str, view: str = "ACTIVE_ONLY") -> list[str]:
        documents, _ = tracking.experiments.search(text, order_by, view, Page(10, 0))
        return [each["name"] for each in documents]

    assert found("") == ["Fraud", "churn", "Default"]
    assert found("", "name") == ["Default", "Fraud", "churn"]
    assert found("name ILIKE 'F%'") == ["Fraud"]
    assert found("tags.team = 'c'") == ["churn"]
    assert found("creation_time >= 0 AND tags.`team` != 'c'") == ["Fraud"]
    assert found("", view="DELETED_ONLY") == ["other"]
    assert len(found("", view="ALL")) == 4
    first, token = tracking.experiments.search("", ["name"], "ALL", Page(3, 0))
    second, none = tracking.experiments.search("", ["name"], "ALL", Page.of(3, token))
    assert (len(first), [each["name"] for each in second], none) == (3, ["other"], "")
