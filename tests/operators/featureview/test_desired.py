"""The children of a view, as golden files and against Kubernetes' own schemas."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from millrace_core.api import names
from millrace_core.api.featureview import MAX_NAME
from millrace_kube.resources import Object
from millrace_local.controllers.scheduler.resources import amounts, requested
from millrace_local.node.registration import machine_resources
from millrace_local.node.settings import NodeSettings
from millrace_operators.featureview import desired, runs
from millrace_operators.featureview.intervals import BEGINNING, Interval
from millrace_operators.featureview.next_job import JobRequest
from tests.builders import Built, feature_view
from tests.operators import golden
from tests.operators.featureview.life import PLATFORM, moment

GOLDEN = Path(__file__).parent / "golden"
DEFINITION = "sha256:abc@2026-11-20T12:00:00Z"


def rich() -> Built:
    return (
        feature_view("user-stats")
        .having("metadata.namespace", "shop")
        .having("metadata.uid", "uid-1")
        .having("spec.source.parquet.uri", "s3://lake/events/")
        .having("spec.source.credentialsSecretRef", {"name": "lake"})
        .having("spec.materialization.schedule", "*/15 * * * *")
        .having("spec.materialization.resources", {"requests": {"cpu": "500m", "memory": "1Gi"}})
    )


def backfill(view: Object, interval: Interval | None) -> Object:
    request = JobRequest(names.one_shot_job("user-stats", "x"), runs.BACKFILL, interval)
    return desired.one_shot_job(view, PLATFORM, DEFINITION, request)


def children() -> dict[str, list[Object]]:
    view = rich().build()
    secret = replace(PLATFORM, store_url="redis://:hunter2@store:6379")
    interval = Interval(moment("2026-11-01T00:00:00Z"), moment("12:00"))
    return {
        "cron_job": [desired.cron_job(view, PLATFORM, DEFINITION, suspended=False)],
        "backfill": [backfill(view, interval)],
        "shared": [
            desired.cron_job(
                rich().having("spec.materialization.parallelism", 4).build(), PLATFORM, DEFINITION, suspended=False
            )
        ],
        "purge": [desired.purge_job(view, PLATFORM, 0)],
        "with_password": [
            desired.store_secret([view], secret.store_url),
            desired.cron_job(view, secret, DEFINITION, suspended=True),
        ],
    }


def test_a_run_whose_view_states_no_resources_requests_some_so_that_few_of_a_tick_start_at_once() -> None:
    plain = feature_view("user-stats").having("metadata.uid", "uid-1").build()
    runs_of_a_tick = desired.cron_job(plain, PLATFORM, DEFINITION, suspended=False)["spec"]["jobTemplate"]["spec"]
    for spec in (runs_of_a_tick, desired.purge_job(plain, PLATFORM, 0)["spec"]):
        pod = spec["template"]
        laptop = amounts(machine_resources(2, 8 << 30, 0, overcommit=NodeSettings("n", Path()).overcommit))
        assert 2 <= min(laptop[name] // needed for name, needed in requested(pod).items()) <= 16


def test_resources_that_a_view_states_are_taken_as_they_are() -> None:
    stated = {"requests": {"cpu": "3"}, "limits": {"memory": "8Gi"}}
    view = rich().having("spec.materialization.resources", stated).build()
    [container] = backfill(view, None)["spec"]["template"]["spec"]["containers"]
    assert container["resources"] == {
        "requests": {"cpu": "3", "memory": "8Gi"},
        "limits": {"cpu": "3", "memory": "8Gi"},
    }


NAMES = ["cron_job", "backfill", "shared", "purge", "with_password"]


@pytest.mark.parametrize("name", NAMES)
def test_golden_children_of_a_view(name: str) -> None:
    golden.check(GOLDEN / f"{name}.yaml", children()[name])


@pytest.mark.parametrize("name", NAMES)
def test_kubernetes_takes_every_field(name: str) -> None:
    for child in children()[name]:
        golden.check_schema(child)


def test_a_password_never_stands_in_a_pod() -> None:
    for child in children()["with_password"]:
        assert "hunter2" not in str(child)


def test_a_run_that_is_told_to_a_registry_has_the_token_of_its_namespace_and_no_other_has_it() -> None:
    asked = replace(PLATFORM, token_secret="callers")
    for child in (
        desired.purge_job(rich().build(), asked, 0),
        desired.cron_job(rich().build(), asked, DEFINITION, suspended=False),
    ):
        golden.check_schema(child)
        spec = child["spec"]["jobTemplate"]["spec"] if child["kind"] == "CronJob" else child["spec"]
        pod = spec["template"]["spec"]
        [mount] = [each for each in pod["containers"][0]["volumeMounts"] if each["name"] == "token"]
        [volume] = [each for each in pod["volumes"] if each["name"] == "token"]
        assert volume["secret"] == {"secretName": "callers", "optional": True}
        env = {each["name"]: each.get("value") for each in pod["containers"][0]["env"]}
        assert env["MILLRACE_TOKEN_FILE"] == f"{mount['mountPath']}/tokens"
    for platform in (PLATFORM, replace(asked, registry_url="")):
        assert "token" not in {each["name"] for each in _volumes(desired.purge_job(rich().build(), platform, 0))}


def _volumes(job: Object) -> list[Object]:
    return list(job["spec"]["template"]["spec"]["volumes"])


def test_what_a_backfill_is_asked_for_is_in_its_arguments() -> None:
    def arguments(interval: Interval | None) -> list[str]:
        container = backfill(rich().build(), interval)["spec"]["template"]["spec"]["containers"][0]
        return list(container["args"])

    assert arguments(Interval(BEGINNING, moment("12:00"))) == ["run", "--end", "2026-11-20T12:00:00Z"]
    assert arguments(None) == ["run"]


def test_the_purge_outlives_the_namespace_of_its_view() -> None:
    job = desired.purge_job(rich().build(), PLATFORM, 2)
    assert job["metadata"]["namespace"] == "millrace-system"
    assert "ownerReferences" not in job["metadata"]


def test_the_longest_name_leaves_children_with_valid_names() -> None:
    longest = "x" * MAX_NAME
    assert len(names.cron_job(longest)) <= 52
    assert len(names.one_shot_job(longest, "id")) <= 63
    assert len(names.purge_job("n" * 63, longest, "uid", 99)) <= 63
