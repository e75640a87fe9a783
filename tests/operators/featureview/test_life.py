"""Whole lives of a view, step by step, with a clock that the tests move."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.api import conditions
from millrace_kube.resources import annotations_of
from millrace_operators.featureview import runs
from millrace_operators.featureview.emptied import StoreRecord
from millrace_operators.featureview.intervals import BEGINNING, Interval
from tests.builders import Built, feature_view
from tests.operators.featureview.life import PLATFORM, Life, moment


def clicks(**more: object) -> Built:
    view = feature_view("clicks").having("spec.materialization.schedule", "*/15 * * * *")
    for path, value in more.items():
        view = view.having(f"spec.materialization.{path}", value)
    return view


def test_a_new_view_is_materialized_at_once_without_waiting_for_its_schedule() -> None:
    life = Life(clicks(lag="5m"), "12:01")
    planned = life.look()
    assert planned.job is not None
    assert planned.job.interval == Interval(BEGINNING, moment("11:56"))
    assert planned.suspended, "one Job at a time: the schedule waits for the first run"
    assert life.condition("Materialized")[:2] == ("Unknown", "Running")
    life.succeed()
    planned = life.look()
    assert planned.job is None
    assert not planned.suspended
    assert life.view["status"]["watermark"] == "2026-11-20T11:56:00Z"
    assert life.view["status"]["lastRun"]["rows"] == 5
    assert life.view["status"]["online"] == {"keys": 3}
    assert [life.holds(kind) for kind in ("Accepted", "Materialized", "Fresh", "Ready")] == ["True"] * 4


def test_a_settled_view_changes_nothing_however_often_it_is_looked_at() -> None:
    life = Life(clicks())
    life.look()
    life.succeed()
    life.look()
    writes, status = life.writes, json.dumps(life.view["status"])
    for _ in range(3):
        life.look()
    assert (life.writes, json.dumps(life.view["status"])) == (writes, status)
    assert len(life.made) == 1


def test_start_from_says_where_the_backfill_begins_and_an_earlier_one_adds_what_is_missing() -> None:
    life = Life(clicks(startFrom="2026-11-01T00:00:00Z"))
    life.look()
    assert life.made[0].interval == Interval(moment("2026-11-01T00:00:00Z"), moment("12:00"))
    life.succeed()
    life.look()
    life.edit("materialization.startFrom", "2026-10-01T00:00:00Z")
    life.look()
    assert life.made[1].interval == Interval(moment("2026-10-01T00:00:00Z"), moment("2026-11-01T00:00:00Z"))
    assert life.holds("Materialized") == "Unknown"
    life.succeed()
    life.look()
    assert life.view["status"]["intervals"] == [{"start": "2026-10-01T00:00:00Z", "end": "2026-11-20T12:00:00Z"}]
    assert life.holds("Materialized") == "True"


def test_scheduled_runs_move_the_watermark() -> None:
    life = Life(clicks())
    life.look()
    life.succeed()
    life.look()
    life.pass_until("12:15")
    life.tick()
    life.look()
    life.succeed(start="12:00", end="12:15")
    life.look()
    assert life.view["status"]["watermark"] == "2026-11-20T12:15:00Z"
    assert len(life.view["status"]["intervals"]) == 1


def test_runs_that_nobody_saw_leave_no_gap() -> None:
    """The operator was away: the Jobs of 12:15 to 12:45 are gone, that of 13:00 began where the store stood."""
    life = Life(clicks())
    life.look()
    life.succeed()
    life.look()
    life.now = moment("13:00")
    job = life.tick()
    life.succeed(job, start="12:45", end="13:00")
    life.look()
    assert life.view["status"]["intervals"] == [{"end": "2026-11-20T13:00:00Z"}]
    assert len(life.made) == 1


def test_a_view_stops_being_fresh_exactly_when_the_run_before_last_is_missing() -> None:
    life = Life(clicks(lag="5m"), "12:05")
    life.look()
    life.succeed()
    planned = life.look()
    # The watermark is 12:00. The run of 12:15 brings it to 12:10, and has until 12:30 to do so.
    assert planned.wake == moment("12:30")
    life.now = moment("2026-11-20T12:29:59Z")
    life.look()
    assert life.holds("Fresh") == "True"
    life.now = moment("12:30")
    life.look()
    assert life.condition("Fresh")[:2] == ("False", "WatermarkBehind")
    assert life.holds("Ready") == "False"
    life.tick()
    life.succeed(end="12:25")
    life.look()
    assert life.holds("Fresh") == "True"


def test_the_watermark_may_lie_on_the_boundary_and_is_still_fresh() -> None:
    life = Life(clicks(), "12:15")
    life.look()
    life.succeed()
    life.look()
    assert life.pass_until("2026-11-20T12:44:59Z").stale_at == moment("12:45")
    assert life.holds("Fresh") == "True"
    life.pass_until("12:45")
    assert life.holds("Fresh") == "False"


def test_a_failed_run_says_so_in_the_jobs_own_words_and_is_tried_again() -> None:
    life = Life(clicks(schedule="0 * * * *"), "12:10")
    life.look()
    life.fail(message=json.dumps({"error": {"reason": "StoreDown", "message": "no answer", "field": ""}}))
    planned = life.look()
    status, reason, message = life.condition("Materialized")
    assert (status, reason) == ("False", "StoreDown")
    assert "no answer" in message
    assert planned.job is None
    assert planned.wake == moment("12:15")
    assert not planned.suspended, "a failing backfill must not keep new rows out"
    life.pass_until("12:15")
    assert len(life.made) == 2
    assert life.made[0].name != life.made[1].name
    assert life.holds("Materialized") == "False", "until a run succeeds"
    life.succeed()
    life.look()
    assert life.condition("Materialized") == ("True", "Covered", "nothing is missing since the beginning of the source")


def test_wrong_data_is_not_tried_before_the_next_scheduled_time() -> None:
    life = Life(clicks(schedule="0 * * * *"), "12:10")
    life.look()
    life.fail(code=2, message="", field="")
    assert life.look().wake == moment("13:00")
    life.pass_until("2026-11-20T12:59:59Z")
    assert len(life.made) == 1
    life.pass_until("13:00")
    assert len(life.made) == 2


@pytest.mark.parametrize("reason", ["ExpressionTooSlow", "ExpressionTooLarge", "QueryTooSlow"])
def test_a_run_that_was_stopped_for_its_limit_says_which_and_is_not_tried_at_once(reason: str) -> None:
    life = Life(clicks(schedule="0 * * * *"), "12:10")
    life.look()
    error = {"reason": reason, "message": "a, b took too long for 100 rows, and was stopped", "field": "spec.features"}
    life.fail(code=2, message=json.dumps({"error": error}))
    assert life.look().wake == moment("13:00")
    status, said, message = life.condition("Materialized")
    assert (status, said) == ("False", reason)
    assert "spec.features: a, b took too long" in message


def test_a_changed_spec_is_tried_at_once() -> None:
    life = Life(clicks(schedule="0 * * * *"), "12:10")
    life.look()
    life.fail(code=2, field="spec.source.parquet.uri", message=None)
    life.look()
    life.edit("source.parquet.uri", "file:///elsewhere/")
    assert life.look().job is not None
    assert len(life.made) == 2


def test_the_failure_stays_known_when_its_job_is_gone() -> None:
    life = Life(clicks(schedule="0 * * * *"), "12:10")
    life.look()
    life.fail(code=2, field="spec.features[0].column")
    life.look()
    before = life.view["status"]["conditions"]
    life.jobs.clear()
    life.pods.clear()
    life.now = moment("12:11")
    life.look()
    assert life.view["status"]["conditions"] == before


def test_a_crash_without_a_message_is_told_by_the_end_of_its_log() -> None:
    life = Life(clicks())
    life.look()
    life.fail(message="Traceback (most recent call last):\nModuleNotFoundError: no module named duckdb")
    life.look()
    assert "no module named duckdb" in life.condition("Materialized")[2]
    assert life.condition("Materialized")[1] == conditions.RUN_FAILED


def test_a_signal_that_ended_a_run_is_named() -> None:
    life = Life(clicks())
    life.look()
    life.fail(message="", code=139)
    life.look()
    assert "ended by SIGSEGV (an access to memory that is not there" in life.condition("Materialized")[2]


def test_a_run_that_was_killed_for_want_of_memory_tells_its_limit() -> None:
    life = Life(clicks())
    life.look()
    life.fail(message="", code=137)
    [pod] = life.pods
    pod["status"]["containerStatuses"][0]["state"]["terminated"]["reason"] = "OOMKilled"
    life.look()
    assert life.condition("Materialized")[1] == "OutOfMemory"
    assert "its limit of 2Gi was reached; raise spec.materialization.resources" in life.condition("Materialized")[2]


def test_a_finished_job_whose_pod_is_gone_counts_for_nothing_and_is_run_again() -> None:
    life = Life(clicks())
    life.look()
    [first] = life.jobs
    life.succeed(pod=False)
    assert life.look().active is not None, "the pod may still be on its way"
    life.now += runs.GRACE
    assert [run.name for run in life.look().void_runs] == [first]
    assert not life.jobs
    life.look()
    assert list(life.jobs) == [first], "the same run under the same name"
    life.succeed()
    life.look()
    assert life.holds("Materialized") == "True"


def test_another_definition_starts_anew_and_stops_the_runs_of_the_old_one() -> None:
    life = Life(clicks())
    life.look()
    old = life.active()
    life.now = moment("12:03")
    life.edit("features", [{"name": "amount", "type": "int64"}])
    assert [run.name for run in life.look().void_runs] == [old]
    life.look()
    assert life.made[1].interval == Interval(BEGINNING, moment("12:03"))
    life.succeed()
    life.look()
    assert life.view["status"]["watermark"] == "2026-11-20T12:03:00Z"


def test_going_back_to_an_earlier_definition_does_not_count_its_old_runs() -> None:
    life = Life(clicks())
    life.look()
    life.succeed()
    life.look()
    features = life.view["spec"]["features"]
    life.now = moment("12:05")
    life.edit("features", [{"name": "amount", "type": "int64"}])
    life.look()
    life.succeed()
    life.look()
    life.now = moment("12:09")
    life.edit("features", features)
    life.look()
    assert "watermark" not in life.view["status"]
    assert life.made[-1].interval == Interval(BEGINNING, moment("12:09"))


def test_suspended_views_wait_and_say_so() -> None:
    life = Life(clicks(suspend=True))
    planned = life.look()
    assert planned.suspended
    assert planned.job is None
    assert life.condition("Materialized")[:2] == ("Unknown", "Suspended")
    assert life.holds("Ready") == "Unknown"
    life.now = moment("18:00")
    life.look()
    assert life.condition("Fresh")[:2] == ("Unknown", "Suspended")
    life.edit("materialization.suspend", False)
    assert life.look().job is not None


def test_commands_work_once_and_also_while_suspended() -> None:
    life = Life(clicks(suspend=True))
    life.look()
    life.command("7:materialize")
    life.look()
    assert life.made[0].purpose == runs.COMMAND
    assert life.made[0].interval is None
    assert life.view["status"]["handledCommand"] == "7:materialize"
    assert life.view["status"]["commandResult"] == f"Job {life.active()} was made"
    life.succeed(end="12:00")
    life.look()
    life.look()
    assert len(life.made) == 1
    assert life.view["status"]["watermark"] == "2026-11-20T12:00:00Z"


def test_the_result_of_a_command_is_what_came_of_its_job_whoever_runs_after_it() -> None:
    life = Life(clicks())
    life.look()
    life.succeed()
    life.command("1:materialize full")
    life.look()
    job = life.active()
    life.wait(timedelta(minutes=1))
    life.succeed(removed=1200)
    life.look()
    said = f"Job {job} succeeded: 5 rows read, 4 rows written, 1,200 rows removed"
    assert life.view["status"]["commandResult"] == said
    assert life.view["status"]["lastRun"]["removed"] == 1200
    life.wait(timedelta(minutes=1))
    life.succeed(life.tick())
    life.look()
    assert life.view["status"]["commandResult"] == said
    assert "removed" not in life.view["status"]["lastRun"]


def test_a_command_whose_job_fails_or_is_made_again_says_so() -> None:
    life = Life(clicks())
    life.look()
    life.succeed()
    life.command("1:materialize")
    life.look()
    life.pods.append(pod_of(life.active(), conditions=[UNSCHEDULABLE]))
    life.look()
    MENDED["resources"](life)
    life.look()
    job = life.active()
    assert life.view["status"]["commandResult"] == f"Job {job} was made"
    life.fail(message='{"error": {"reason": "NoSuchColumn", "message": "it is not there"}}')
    life.look()
    assert life.view["status"]["commandResult"] == f"Job {job} failed: NoSuchColumn: it is not there"


def test_a_command_that_is_taken_away_again_is_no_new_one() -> None:
    life = Life(clicks())
    life.look()
    life.succeed()
    life.command("1:materialize")
    life.look()
    life.succeed()
    life.command("")
    planned = life.look()
    assert (planned.job, planned.refused, planned.handled) == (None, None, "1:materialize")


def test_an_id_with_another_argument_is_another_command() -> None:
    life = Life(clicks())
    life.look()
    life.succeed()
    for text in ("1:materialize", "1:materialize full"):
        life.command(text)
        life.look()
        life.succeed()
        life.look()
    assert [run.full for run in life.made[1:]] == [False, True]
    assert life.view["status"]["handledCommand"] == "1:materialize full"


def test_a_command_with_an_interval_covers_it() -> None:
    life = Life(clicks())
    life.look()
    life.succeed()
    life.look()
    life.command("a:materialize 2026-11-20T12:00:00Z 2026-11-20T12:05:00Z")
    life.look()
    assert life.made[1].interval == Interval(moment("12:00"), moment("12:05"))
    life.succeed()
    life.look()
    assert life.view["status"]["watermark"] == "2026-11-20T12:05:00Z"


def test_a_command_with_an_end_beyond_now_covers_what_its_run_covered() -> None:
    life = Life(clicks())
    life.look()
    life.succeed()
    life.look()
    life.command("a:materialize 2026-11-20T12:00:00Z 2027-01-01T00:00:00Z")
    life.look()
    life.succeed(interval={"start": "2026-11-20T12:00:00Z", "end": "2026-11-20T12:03:00Z"})
    life.look()
    assert life.view["status"]["intervals"] == [{"end": "2026-11-20T12:03:00Z"}]
    assert life.view["status"]["watermark"] == "2026-11-20T12:03:00Z"


def test_a_command_waits_for_the_run_at_work() -> None:
    life = Life(clicks())
    life.look()
    life.command("1:materialize")
    life.look()
    assert len(life.made) == 1
    assert "handledCommand" not in life.view["status"]
    life.succeed()
    life.look()
    assert life.made[1].purpose == runs.COMMAND


def test_everything_can_be_asked_for_again() -> None:
    life = Life(clicks(startFrom="2026-11-01T00:00:00Z"))
    life.look()
    life.succeed()
    life.look()
    life.command("b:materialize full")
    life.look()
    assert (life.made[1].interval, life.made[1].full) == (None, True)
    container = life.jobs[life.active()]["spec"]["template"]["spec"]["containers"][0]
    assert container["args"] == ["run", "--full"]


def test_shares_of_a_run_are_one_run() -> None:
    life = Life(clicks(parallelism=3))
    life.look()
    job = life.active()
    figures = {"rows": 5, "written": 4, "keys": 15, "seconds": 1.5}
    life.succeed_in_shards(job, figures, figures)
    assert life.look().active is not None, "the last shard's pod may still be on its way"
    life.succeed_in_shards(job, figures | {"seconds": 2.5, "keys": 7}, figures, figures | {"complete": True})
    life.pods.insert(0, life.pods[-3])  # a shard that was done twice
    life.look()
    last = life.view["status"]["lastRun"]
    assert (last["rows"], last["written"], last["seconds"]) == (15, 12, 2.5)
    assert life.view["status"]["online"] == {"keys": 15}
    assert life.holds("Ready") == "True"


def test_a_run_whose_shares_the_store_has_lost_counts_for_nothing_and_is_run_again() -> None:
    life = Life(clicks(parallelism=2))
    life.look()
    job = life.active()
    life.succeed_in_shards(job, {"rows": 5}, {"rows": 5})
    assert [run.name for run in life.look().void_runs] == [job]
    assert "watermark" not in life.view["status"]
    life.pods.clear()
    life.look()
    assert list(life.jobs) == [job]


def test_a_bad_command_is_refused_once_and_harms_nothing() -> None:
    life = Life(clicks())
    life.command("1:dance")
    planned = life.look()
    assert planned.refused is not None
    assert "materialize <start> <end>" in life.view["status"]["commandResult"]
    assert life.look().refused is None
    assert len(life.made) == 1, "the backfill"
    life.command("2:materialize 2026-02-01T00:00:00Z 2026-01-01T00:00:00Z")
    assert "is empty" in str(life.look().refused)


def test_a_view_without_an_online_part_is_ready_without_any_job() -> None:
    life = Life(clicks().having("spec.online.enabled", False))
    planned = life.look()
    assert not planned.scheduled
    assert not life.jobs
    assert life.holds("Ready") == "True"
    life.command("1:materialize")
    assert life.look().refused is not None


def test_switching_the_online_part_off_ends_what_runs() -> None:
    life = Life(clicks())
    life.look()
    life.edit("online.enabled", False)
    planned = life.look()
    assert not planned.scheduled
    assert not life.jobs


def test_finished_jobs_are_cleared_away_but_the_last_one() -> None:
    life = Life(clicks())
    life.look()
    life.succeed()
    life.look()
    for number in range(3):
        life.now = moment(f"12:0{number + 1}")
        life.command(f"{number}:materialize")
        life.look()
        life.succeed(end=f"12:0{number + 1}")
        life.look()
    assert len(life.jobs) == 1
    assert life.view["status"]["lastRun"]["name"] in life.jobs


def test_every_job_says_which_definition_and_interval_it_is_for() -> None:
    life = Life(clicks(startFrom="2026-11-01T00:00:00Z"))
    life.look()
    marks = annotations_of(life.jobs[life.active()])
    assert marks["millrace.dev/run"] == "backfill"
    assert marks["millrace.dev/interval"] == "2026-11-01T00:00:00Z/2026-11-20T12:00:00Z"
    assert marks["millrace.dev/definition"].endswith("@2026-11-20T12:00:00Z")


POSITIVE = {"column": "amount", "min": 0}


def result(name: str, *, passed: bool, severity: str = "block") -> dict[str, object]:
    message = f"{0 if passed else 3} of 10 values are less than 0"
    return {"name": name, "severity": severity, "passed": passed, "message": message, "checked": 10, "failing": 3}


def block(life: Life, *results: dict[str, object]) -> None:
    error = {"reason": "QualityBlocked", "message": "1 of 1 quality checks block the run", "field": "spec.quality"}
    life.fail(code=2, message=json.dumps({"error": error, "quality": results}))


def test_a_blocked_run_is_told_with_its_counts_and_what_was_reached_stays() -> None:
    life = Life(clicks().having("spec.quality", [POSITIVE]))
    life.look()
    assert life.condition("QualityOK")[:2] == ("Unknown", "NotRunYet")
    life.succeed(quality=[result("amount.range", passed=True)])
    life.look()
    assert life.condition("QualityOK")[:2] == ("True", "QualityPassed")
    life.command("1:materialize")
    life.look()
    life.now = moment("12:01")
    block(life, result("amount.range", passed=False))
    life.look()
    assert life.condition("QualityOK") == (
        "False",
        "QualityBlocked",
        "the last good values stay; amount.range: 3 of 10 values are less than 0",
    )
    assert life.condition("Materialized")[:2] == ("False", "QualityBlocked")
    assert life.condition("Ready")[:2] == ("False", "QualityBlocked")
    assert life.view["status"]["watermark"] == "2026-11-20T12:00:00Z"
    assert life.view["status"]["quality"] == [result("amount.range", passed=False)]
    life.jobs.clear()
    life.command("2:materialize")
    life.look()
    life.now = moment("12:02")
    life.fail(message=json.dumps({"error": {"reason": "StoreUnavailable", "message": "away"}}))
    life.look()
    assert life.condition("QualityOK")[1] == "QualityBlocked", "until a run has checked anew"
    life.edit("quality", None)
    life.look()
    assert life.condition("QualityOK")[:2] == ("True", "NoRules")
    assert "quality" not in life.view["status"]


def test_a_warning_is_reported_and_the_view_stays_ready() -> None:
    life = Life(clicks().having("spec.quality", [POSITIVE | {"severity": "warn"}]))
    life.look()
    life.succeed(quality=[result("amount.range", passed=False, severity="warn")])
    life.look()
    assert life.condition("QualityOK") == (
        "True",
        "QualityWarnings",
        "amount.range: 3 of 10 values are less than 0",
    )
    assert life.holds("Ready") == "True"


COUNTED = [
    {"name": "amount", "type": "float64"},
    {"name": "small", "type": "int32", "expression": "amount::tinyint"},
]


def test_expressions_that_fail_are_told_without_any_rule_until_a_run_in_which_none_does() -> None:
    life = Life(clicks(parallelism=2).having("spec.features", COUNTED))
    life.look()
    shards: list[dict[str, Any]] = [
        {"rows": 6, "expressionErrors": {"small": 1}},
        {"rows": 4, "expressionErrors": {"small": 2}},
    ]
    life.succeed_in_shards(life.active(), shards[0], {**shards[1], "complete": True})
    life.look()
    assert life.view["status"]["lastRun"]["expressionErrors"] == {"small": 3}
    status, reason, said = life.condition("QualityOK")
    assert (status, reason) == ("True", "QualityWarnings")
    assert said == "small.maxErrorRate: the expression of small fails for 3 of 10 rows, whose value is null"
    assert life.view["status"]["quality"][0]["failing"] == 3
    assert life.holds("Ready") == "True"
    before = life.writes
    life.look()
    assert life.writes == before
    life.now = moment("12:16")
    life.succeed_in_shards(life.tick(), {"rows": 5}, {"rows": 5, "complete": True})
    life.look()
    assert life.condition("QualityOK")[:2] == ("True", "NoRules")
    assert "quality" not in life.view["status"]
    assert "expressionErrors" not in life.view["status"]["lastRun"]


def test_a_rule_that_warns_is_judged_by_the_rows_of_all_shards() -> None:
    rule = {"maxErrorRate": 0.3, "severity": "warn"}
    view = clicks(parallelism=2).having("spec.features", COUNTED).having("spec.quality", [rule, POSITIVE])
    life = Life(view)
    life.look()
    shards = [{"rows": 1, "expressionErrors": {"small": 1}}, {"rows": 9, "expressionErrors": {"small": 2}}]
    told = {"complete": True, "quality": [result("amount.range", passed=True)]}
    life.succeed_in_shards(life.active(), shards[0], {**shards[1], **told})
    life.look()
    assert life.condition("QualityOK")[:2] == ("True", "QualityPassed")
    names = {each["name"]: each["passed"] for each in life.view["status"]["quality"]}
    assert names == {"amount.range": True, "small.maxErrorRate": True}


@pytest.mark.parametrize("rules", [None, [POSITIVE]], ids=["no rules", "a rule"])
def test_rows_later_than_now_are_a_warning_without_any_rule(rules: list[Any] | None) -> None:
    life = Life(clicks(parallelism=2).having("spec.quality", rules))
    life.look()
    checked = {"quality": [result("amount.range", passed=True)]} if rules else {}
    life.succeed_in_shards(life.active(), {"later": 1, **checked}, {"later": 2, "complete": True, **checked})
    life.look()
    assert life.view["status"]["lastRun"]["later"] == 3
    kind, reason, message = life.condition("QualityOK")
    assert (kind, reason) == ("True", "QualityWarnings")
    assert message.startswith("3 rows of the source are later than now")
    assert life.holds("Ready") == "True"
    life.command("1:materialize")
    life.look()
    life.wait(timedelta(minutes=1))
    life.succeed_in_shards(life.active(), {"later": 0, **checked}, {"later": 0, "complete": True, **checked})
    life.look()
    assert life.condition("QualityOK")[1] == ("QualityPassed" if rules else "NoRules")


def test_a_source_whose_column_is_gone_is_a_matter_of_quality_without_any_rule() -> None:
    life = Life(clicks())
    life.look()
    assert life.condition("QualityOK")[:2] == ("True", "NoRules")
    message = {"error": {"reason": "ColumnNotFound", "message": "there is no column 'amount'", "field": "spec.x"}}
    life.fail(code=2, message=json.dumps(message))
    life.look()
    status, reason, said = life.condition("QualityOK")
    assert (status, reason) == ("False", "ColumnNotFound")
    assert "there is no column 'amount'" in said


def test_a_pod_that_cannot_start_is_told_of_while_it_waits() -> None:
    life = Life(clicks())
    life.look()
    waiting = {"reason": "CreateContainerConfigError", "message": 'secret "lake" not found'}
    life.pods.append(
        {
            "metadata": {"name": "p", "labels": {runs.JOB_NAME: life.active()}},
            "status": {"containerStatuses": [{"name": "materialize", "state": {"waiting": waiting}}]},
        }
    )
    life.look()
    assert life.condition("Materialized")[:2] == ("False", "CreateContainerConfigError")
    assert 'secret "lake" not found' in life.condition("Materialized")[2]


def pod_of(job: str, **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p", "labels": {runs.JOB_NAME: job}}, "status": status}


UNSCHEDULABLE = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/3 nodes are available: 3 Insufficient memory.",
}


def test_a_pod_that_cannot_be_scheduled_is_told_of_in_the_schedulers_words() -> None:
    life = Life(clicks())
    life.look()
    life.pods.append(pod_of(life.active(), conditions=[UNSCHEDULABLE]))
    life.look()
    status, reason, said = life.condition("Materialized")
    assert (status, reason) == ("False", "Unschedulable")
    assert "0/3 nodes are available: 3 Insufficient memory." in said


def test_a_run_that_is_tried_again_says_why_and_is_still_at_work() -> None:
    life = Life(clicks())
    life.look()
    job = life.active()
    life.jobs[job]["status"] = {"failed": 2, "active": 1}
    end = {"exitCode": 1, "message": json.dumps({"error": {"reason": "StoreDown", "message": "no answer"}})}
    life.pods.append(pod_of(job, containerStatuses=[{"name": "materialize", "state": {"terminated": end}}]))
    life.look()
    status, reason, said = life.condition("Materialized")
    assert (status, reason) == ("Unknown", "Running")
    assert "pods that failed: 2" in said
    assert "no answer" in said


def test_a_run_without_pods_says_so_after_a_while_and_is_looked_at_then() -> None:
    life = Life(clicks())
    life.look()
    job = life.active()
    life.jobs[job]["metadata"]["creationTimestamp"] = "2026-11-20T12:00:00Z"
    planned = life.look()
    assert life.condition("Materialized")[1] == "Running"
    assert planned.wake == moment("12:00") + runs.GRACE
    life.now = planned.wake
    life.look()
    assert life.condition("Materialized")[:2] == ("False", "NoPods")
    life.jobs[job]["status"] = {"active": 1}
    life.look()
    assert life.condition("Materialized")[1] == "Running"


@pytest.mark.parametrize("stopped", [{"suspend": True}, {"parallelism": 0}])
def test_a_run_that_somebody_stopped_says_so(stopped: dict[str, Any]) -> None:
    life = Life(clicks())
    life.look()
    life.jobs[life.active()]["spec"] |= stopped
    life.look()
    assert life.condition("Materialized")[:2] == ("False", "JobSuspended")


MENDED: dict[str, Callable[[Life], None]] = {
    "resources": lambda life: life.edit("materialization.resources", {"requests": {"memory": "1Gi"}}),
    "parallelism": lambda life: life.edit("materialization.parallelism", 2),
    "lag": lambda life: life.edit("materialization.lag", "1h"),
    "secret": lambda life: life.edit("source.credentialsSecretRef", {"name": "lake"}),
    "store": lambda life: setattr(life, "platform", replace(PLATFORM, store_url="redis://:other@store:6379")),
    "image": lambda life: setattr(life, "platform", replace(PLATFORM, materialize_image="millrace/materialize:new")),
}


@pytest.mark.parametrize("field", MENDED)
@pytest.mark.parametrize("command", ["", "1:materialize full"])
def test_mending_a_view_replaces_its_stuck_run_at_once_whatever_was_mended(field: str, command: str) -> None:
    life = Life(clicks())
    if command:
        life.look()
        life.succeed()
        life.command(command)
    life.look()
    stuck = life.active()
    arguments = life.jobs[stuck]["spec"]["template"]["spec"]["containers"][0]["args"]
    life.pods.append(pod_of(stuck, conditions=[UNSCHEDULABLE]))
    life.look()
    assert life.active() == stuck, "nothing was mended yet"
    MENDED[field](life)
    planned = life.look()
    assert life.active() != stuck
    again = life.jobs[life.active()]
    assert "got nowhere (Unschedulable)" in planned.reason
    assert again["spec"]["template"]["spec"]["containers"][0]["args"] == arguments
    assert life.condition("Materialized")[1] != "Unschedulable"
    life.look()
    assert life.made[-1].name == life.active(), "it is replaced once"


def test_a_scheduled_run_that_is_stuck_is_made_again_for_what_is_new() -> None:
    life = Life(clicks())
    life.look()
    life.succeed()
    life.look()
    stuck = life.tick()
    life.pods.append(pod_of(stuck, conditions=[UNSCHEDULABLE]))
    life.look()
    MENDED["resources"](life)
    planned = life.look()
    assert stuck not in life.jobs
    assert planned.job is not None
    assert (planned.job.interval, planned.job.full) == (None, False)


def test_a_run_that_gets_on_is_not_disturbed_by_a_change() -> None:
    life = Life(clicks())
    life.look()
    job = life.active()
    life.jobs[job]["status"] = {"active": 1}
    MENDED["resources"](life)
    life.look()
    assert life.active() == job


@pytest.mark.parametrize("stopped", [{"suspend": True}, {"parallelism": 0}])
def test_a_job_of_the_cron_job_that_somebody_stopped_is_replaced_by_one_of_ours_once(stopped: dict[str, Any]) -> None:
    life = Life(clicks())
    life.look()
    life.succeed()
    life.look()
    name = life.tick()
    assert life.look().void_runs == ()
    life.jobs[name]["spec"] = {**life.jobs[name]["spec"], **stopped}
    planned = life.look()
    assert [run.name for run in planned.void_runs] == [name]
    assert planned.job is not None
    assert (planned.job.purpose, planned.suspended) == (runs.BACKFILL, True)
    made = len(life.made)
    planned = life.look()
    assert (planned.void_runs, len(life.made)) == ((), made)


def test_a_stuck_run_of_a_suspended_view_goes_and_none_is_made() -> None:
    life = Life(clicks())
    life.look()
    life.pods.append(pod_of(life.active(), conditions=[UNSCHEDULABLE]))
    life.edit("materialization.suspend", True)
    life.look()
    assert life.at_work() == []
    assert life.look().job is None


def test_a_start_in_the_future_leaves_nothing_to_backfill_and_is_told_until_it_comes() -> None:
    life = Life(clicks(startFrom="2026-11-20T12:40:00Z"))
    assert life.look().job is None
    assert life.condition("Materialized") == (
        "Unknown",
        "Pending",
        "nothing is materialized before spec.materialization.startFrom, 2026-11-20T12:40:00Z",
    )
    life.now = moment("12:40")
    life.look()
    assert life.holds("Materialized") == "True"


def test_a_store_that_was_emptied_is_told_and_the_view_is_written_anew_in_one_run() -> None:
    life = Life(clicks(startFrom="2026-11-01T00:00:00Z"))
    life.look()
    life.succeed()
    life.look()
    assert life.holds("Ready") == "True"
    life.wait(timedelta(minutes=6))
    life.stored = StoreRecord.GONE
    planned = life.look()
    job = life.active()
    assert (planned.job.interval, planned.job.full) == (None, False)
    lost = "the online store has no record of the view any more"
    assert life.condition("Materialized") == ("False", "StoreEmptied", f"{lost}; Job {job} writes the view anew")
    assert life.condition("Fresh") == ("False", "StoreEmptied", lost)
    assert life.holds("Ready") == "False"
    assert life.view["status"]["online"] == {"keys": 0}
    assert not life.view["status"].keys() & {"watermark", "intervals"}
    writes = life.writes
    assert life.look().job is None
    assert life.writes == writes
    life.stored = StoreRecord.THERE
    life.succeed(start="12:00")
    life.look()
    assert life.holds("Ready") == "True"
    assert life.view["status"]["online"] == {"keys": 3}
    assert life.look().job is None


def test_a_store_that_loses_what_each_run_writes_is_not_filled_without_a_pause() -> None:
    life = Life(clicks())
    life.look()
    life.succeed()
    life.stored = StoreRecord.GONE
    planned = life.look()
    assert planned.job is None
    assert "it is written anew at 2026-11-20T12:05:00Z" in life.condition("Materialized")[2]
    assert planned.wake == moment("12:05")
    life.now = moment("12:05")
    assert life.look().job is not None


def test_nothing_is_begun_while_it_is_not_known_what_the_store_has() -> None:
    life = Life(clicks())
    life.look()
    life.succeed()
    life.look()
    life.wait(timedelta(minutes=6))
    life.stored = StoreRecord.GONE
    life.look()
    life.succeed()
    life.stored = StoreRecord.UNKNOWN
    assert life.look().job is None
    assert life.condition("Materialized")[1] == "StoreEmptied"
    life.stored = StoreRecord.THERE
    life.look()
    assert life.holds("Ready") == "True"


def test_a_suspended_view_is_not_written_anew_and_says_so() -> None:
    life = Life(clicks())
    life.look()
    life.succeed()
    life.look()
    life.wait(timedelta(minutes=6))
    life.edit("materialization.suspend", True)
    life.stored = StoreRecord.GONE
    assert life.look().job is None
    assert life.condition("Materialized")[2].endswith("is not written anew: spec.materialization.suspend is true")


HAPPENINGS: dict[str, Callable[[Life, int], object]] = {
    "look": lambda life, _: life.look(),
    "wait": lambda life, _: life.wait(timedelta(minutes=7)),
    "tick": lambda life, _: "status" in life.view and life.tick(),
    "succeed": lambda life, _: [life.succeed(job) for job in life.at_work()],
    "lose": lambda life, _: [life.succeed(job, pod=False) for job in life.at_work()],
    "fail": lambda life, _: [life.fail(job) for job in life.at_work()],
    "reject": lambda life, _: [life.fail(job, code=2) for job in life.at_work()],
    "retype": lambda life, number: life.edit("features", [{"name": "amount", "type": f"int{32 << number % 2}"}]),
    "earlier": lambda life, number: life.edit("materialization.startFrom", f"2026-10-{10 + number}T00:00:00Z"),
    "suspend": lambda life, number: life.edit("materialization.suspend", bool(number % 2)),
    "command": lambda life, number: life.command(f"{number}:materialize"),
}


@given(st.lists(st.sampled_from(sorted(HAPPENINGS)), max_size=20))
def test_whatever_happens_the_view_settles_once_runs_succeed(happenings: list[str]) -> None:
    life = Life(clicks())
    for number, happening in enumerate(happenings):
        HAPPENINGS[happening](life, number)
    life.edit("materialization.suspend", False)
    for _ in range(12):
        life.look()
        HAPPENINGS["succeed"](life, 0)
        life.wait(timedelta(minutes=1))
    life.tick()
    HAPPENINGS["succeed"](life, 0)
    planned = life.look()
    assert planned.gaps == ()
    assert planned.job is None
    assert not planned.suspended
    assert life.holds("Ready") == "True"
    writes = life.writes
    life.look()
    assert life.writes == writes


@given(st.lists(st.sampled_from(sorted(HAPPENINGS)), max_size=20))
def test_one_shot_jobs_never_run_two_at_a_time(happenings: list[str]) -> None:
    life = Life(clicks())
    for number, happening in enumerate(happenings):
        HAPPENINGS[happening](life, number)
        one_shot = {job.name for job in life.made}
        assert len([job for job in life.at_work() if job in one_shot]) <= 1
