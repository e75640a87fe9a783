"""CronJobs: when a Job is started, and when not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from millrace_kube.resources import CRON_JOBS, JOBS
from millrace_kube.times import stamp
from millrace_local.controllers.cronjob.plan import plan
from millrace_local.controllers.job.ending import Ending
from tests.local.controllers.objects import Obj, cron_job
from tests.local.controllers.world import START, World


def world_with(schedule: str = "*/10 * * * *", **spec: Any) -> World:
    world = World()
    world.add(CRON_JOBS, cron_job(schedule, **spec))
    return world


def step(world: World) -> float | None:
    cron = world.get(CRON_JOBS, "nightly")
    planned = plan(cron, world.all(JOBS, cron), world.now)
    world.apply(planned)
    return planned.again


def end(world: World, job: Obj, *, succeeded: bool = True) -> None:
    kind = Ending(succeeded, "", "").final
    done = {"type": kind, "status": "True", "lastTransitionTime": stamp(world.now)}
    more = {"completionTime": stamp(world.now)} if succeeded else {}
    world.set_status(JOBS, job["metadata"]["name"], conditions=[done], **more)


def names(world: World) -> list[str]:
    return [job["metadata"]["name"] for job in world.all(JOBS)]


def test_a_job_starts_at_its_minute_once_and_is_named_after_it() -> None:
    world = world_with()
    assert step(world) == 600
    assert names(world) == []
    world.now += timedelta(minutes=10, seconds=3)
    assert step(world) == 597
    minutes = int((START + timedelta(minutes=10)).timestamp()) // 60
    assert names(world) == [f"nightly-{minutes}"]
    step(world)
    step(world)
    assert len(names(world)) == 1
    status = world.get(CRON_JOBS, "nightly")["status"]
    assert status["lastScheduleTime"] == "2026-11-20T12:10:00Z"
    assert [reference["name"] for reference in status["active"]] == names(world)


def test_a_controller_killed_between_job_and_status_starts_no_second_job() -> None:
    world = world_with()
    world.now += timedelta(minutes=10)
    cron = world.get(CRON_JOBS, "nightly")
    world.apply(plan(cron, [], world.now), limit=1)
    assert len(names(world)) == 1
    assert "lastScheduleTime" not in world.get(CRON_JOBS, "nightly").get("status", {})
    step(world)
    assert len(names(world)) == 1
    assert world.get(CRON_JOBS, "nightly")["status"]["lastScheduleTime"] == "2026-11-20T12:10:00Z"


def test_of_many_missed_times_only_the_latest_is_made_up_for() -> None:
    world = world_with()
    world.now += timedelta(hours=5, minutes=1)
    step(world)
    assert names(world) == [f"nightly-{int((START + timedelta(hours=5)).timestamp()) // 60}"]


def test_very_many_missed_times_are_worth_a_warning() -> None:
    world = world_with("* * * * *")
    world.now += timedelta(hours=2)
    step(world)
    assert any("too many missed start times" in message for message in world.told)
    assert len(names(world)) == 1


def test_a_time_past_its_starting_deadline_is_let_go() -> None:
    world = world_with("0 * * * *", startingDeadlineSeconds=60)
    world.now += timedelta(hours=1, seconds=61)
    step(world)
    assert names(world) == []
    assert world.told == ["Missed scheduled time to start a job: 2026-11-20T13:00:00Z"]


def test_forbid_waits_for_the_running_job_and_starts_then() -> None:
    world = world_with(concurrencyPolicy="Forbid")
    world.now += timedelta(minutes=10)
    step(world)
    world.now += timedelta(minutes=11)
    step(world)
    assert len(names(world)) == 1
    end(world, world.all(JOBS)[0])
    step(world)
    assert len(names(world)) == 2


def test_replace_ends_the_running_job() -> None:
    world = world_with(concurrencyPolicy="Replace")
    world.now += timedelta(minutes=10)
    step(world)
    first = names(world)
    world.now += timedelta(minutes=10)
    step(world)
    assert len(names(world)) == 1
    assert names(world) != first


def test_allow_runs_them_side_by_side() -> None:
    world = world_with()
    for _ in range(3):
        world.now += timedelta(minutes=10)
        step(world)
    assert len(names(world)) == 3


def test_a_suspended_one_starts_nothing() -> None:
    world = world_with(suspend=True)
    world.now += timedelta(hours=1)
    assert step(world) is None
    assert names(world) == []


def test_old_jobs_are_removed_beyond_the_history_limits() -> None:
    world = world_with(successfulJobsHistoryLimit=2, failedJobsHistoryLimit=1)
    for number in range(6):
        world.now += timedelta(minutes=10)
        step(world)
        end(world, world.all(JOBS)[-1], succeeded=number % 2 == 0)
        step(world)
    kinds = [job["status"]["conditions"][0]["type"] for job in world.all(JOBS)]
    assert sorted(kinds) == ["Complete", "Complete", "Failed"]
    status = world.get(CRON_JOBS, "nightly")["status"]
    assert status["lastSuccessfulTime"] == "2026-11-20T12:50:00Z"
    assert "active" not in status


def test_the_schedule_follows_its_time_zone() -> None:
    world = world_with("0 9 * * *", timeZone="America/New_York")
    world.now = datetime(2026, 11, 21, 14, 0, 30, tzinfo=UTC)
    step(world)
    assert world.get(CRON_JOBS, "nightly")["status"]["lastScheduleTime"] == "2026-11-21T14:00:00Z"


def test_a_wrong_schedule_or_zone_is_told_and_waits_for_its_author() -> None:
    for world in (world_with("at noon please"), world_with(timeZone="Mars/Olympus")):
        assert step(world) is None
        assert "spec.schedule" in world.told[0] or "spec.timeZone" in world.told[0]
