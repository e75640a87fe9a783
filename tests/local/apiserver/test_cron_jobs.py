"""What an API server refuses of CronJobs, in the words that the operator has for the schedule of a FeatureView."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from millrace_core.base import cron
from millrace_core.base.errors import RejectError
from millrace_operators.featureview.acceptance import accept
from tests.builders import feature_view

LINES = [
    "every day",
    "60 * * * *",
    "0 0 * * 7",
    "0 0 * * fri-sun",
    "*/0 * * * *",
    "@every 1h",
    "TZ=Europe/Berlin 0 9 * * *",
    "@fortnightly",
]


def create(http: httpx.Client, namespace: str, **spec: Any) -> httpx.Response:
    pod = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "x"}]}
    template = {"jobTemplate": {"spec": {"template": {"spec": pod}}}}
    body = {"metadata": {"generateName": "c-"}, "spec": {"schedule": "@daily", **template, **spec}}
    return http.post(f"/apis/batch/v1/namespaces/{namespace}/cronjobs", json=body)


def causes(answer: httpx.Response) -> list[tuple[str, str, str]]:
    assert answer.status_code == 422, answer.text
    return [(cause["field"], cause["reason"], cause["message"]) for cause in answer.json()["details"]["causes"]]


@pytest.mark.parametrize("line", LINES)
def test_a_schedule_is_refused_by_the_api_server_and_the_operator_with_one_sentence(
    http: httpx.Client, namespace: str, line: str
) -> None:
    with pytest.raises(RejectError) as caught:
        cron.parse(line)
    [(field, reason, message)] = causes(create(http, namespace, schedule=line))
    assert (field, reason) == ("spec.schedule", "FieldValueInvalid")
    assert message.endswith(caught.value.message)
    view = feature_view("clicks").having("metadata.namespace", "shop").having("metadata.uid", "u")
    with pytest.raises(RejectError) as refused:
        accept(view.having("spec.materialization.schedule", line).build())
    assert refused.value.field == "spec.materialization.schedule"
    assert caught.value.message in refused.value.message


@pytest.mark.parametrize("line", ["0 0 */2 * 1", "1,,2 * * * *", "@yearly", "0\t9 * * MON-fri"])
def test_a_schedule_that_kubernetes_reads_is_taken(http: httpx.Client, namespace: str, line: str) -> None:
    assert create(http, namespace, schedule=line, timeZone="Europe/Berlin").status_code == 201


@pytest.mark.parametrize(
    ("spec", "field", "reason", "part"),
    [
        ({"schedule": ""}, "spec.schedule", "FieldValueRequired", "Required value"),
        ({"timeZone": "Mars/Base"}, "spec.timeZone", "FieldValueInvalid", "unknown time zone Mars/Base"),
        ({"timeZone": "Local"}, "spec.timeZone", "FieldValueInvalid", "unknown time zone Local"),
        ({"timeZone": ""}, "spec.timeZone", "FieldValueInvalid", "must be nil or non-empty"),
        ({"concurrencyPolicy": "Queue"}, "spec.concurrencyPolicy", "FieldValueNotSupported", '"Forbid"'),
        ({"startingDeadlineSeconds": -1}, "spec.startingDeadlineSeconds", "FieldValueInvalid", "greater than or equal"),
        ({"failedJobsHistoryLimit": -1}, "spec.failedJobsHistoryLimit", "FieldValueInvalid", "greater than or equal"),
    ],
)
def test_the_other_fields_of_a_cron_job_are_checked(
    http: httpx.Client, namespace: str, spec: dict[str, Any], field: str, reason: str, part: str
) -> None:
    [(at, why, message)] = causes(create(http, namespace, **spec))
    assert (at, why) == (field, reason)
    assert part in message
