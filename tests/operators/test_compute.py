"""Every container has requests and limits of CPU and memory, and they fit each other whatever is stated."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.api import names
from millrace_core.api.modeldeployment import ModelDeployment
from millrace_core.base.errors import RejectError
from millrace_core.base.quantities import quantity
from millrace_operators.compute import complete
from millrace_operators.featureview import desired, runs
from millrace_operators.featureview.next_job import JobRequest
from millrace_operators.modeldeployment import pod
from millrace_operators.operator.settings import OperatorSettings
from millrace_operators.platform import DefaultResources
from tests.builders import feature_view, model_deployment
from tests.operators.world import PLATFORM

amounts = st.dictionaries(st.sampled_from(["cpu", "memory"]), st.sampled_from(["1m", "500m", "3", "512Mi", "64Gi"]))


@given(amounts, amounts, st.sampled_from(["materialize", "purge", "fetch", "serve"]))
def test_what_is_stated_stays_and_no_request_is_above_a_limit(
    requests: dict[str, str], limits: dict[str, str], kind: str
) -> None:
    both = requests.keys() & limits.keys()
    requests |= {name: limits[name] for name in both if quantity(requests[name]) > quantity(limits[name])}
    made = complete({"requests": requests, "limits": limits}, getattr(DefaultResources(), kind))
    assert requests.items() <= made["requests"].items()
    assert limits.items() <= made["limits"].items()
    for name in ("cpu", "memory"):
        assert quantity(made["requests"][name]) <= quantity(made["limits"][name])


def templates(platform: Any = PLATFORM) -> dict[str, dict[str, Any]]:
    """The spec of every pod that operators make, of objects that state nothing about resources."""
    view = feature_view("v").having("metadata", {"name": "v", "namespace": "n", "uid": "u"}).build()
    model = model_deployment("m").having("metadata", {"name": "m", "namespace": "n", "uid": "u"}).build()
    spec = ModelDeployment.model_validate(model).spec
    request = JobRequest(names.one_shot_job("v", "x"), runs.BACKFILL, None)
    made = {
        "scheduled": desired.cron_job(view, platform, "d", suspended=False)["spec"]["jobTemplate"],
        "backfill": desired.one_shot_job(view, platform, "d", request),
        "purge": desired.purge_job(view, platform, 0),
        **{
            device: {"spec": {"template": pod.template(model, spec, "r", device, platform)}}
            for device in ("cpu", "gpu")
        },
    }
    return {name: each["spec"]["template"]["spec"] for name, each in made.items()}


@pytest.mark.parametrize("name", templates())
def test_a_quota_of_requests_and_limits_takes_every_pod(name: str) -> None:
    spec = templates()[name]
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        for part in ("requests", "limits"):
            assert {"cpu", "memory"} <= container["resources"][part].keys(), container["name"]


def test_settings_replace_the_defaults_of_each_kind_of_container() -> None:
    variables = {"materialize": "1m", "purge": "2m", "fetch": "3m", "serve": "4m"}
    stated = {
        f"MILLRACE_{name.upper()}_RESOURCES": f'{{"requests": {{"cpu": "{amount}"}}}}'
        for name, amount in variables.items()
    }
    made = templates(OperatorSettings.load(stated).platform())
    found = {
        name: [each["resources"] for each in (*spec.get("initContainers", []), *spec["containers"])]
        for name, spec in made.items()
    }
    assert found["scheduled"] == found["backfill"] == [{"requests": {"cpu": "1m"}, "limits": {}}]
    assert found["purge"] == [{"requests": {"cpu": "2m"}, "limits": {}}]
    assert [each["requests"]["cpu"] for each in found["cpu"]] == ["3m", "4m"]


@pytest.mark.parametrize("value", ["{", "[]", '{"requests": {"cpu": "much"}}'])
def test_a_setting_that_is_no_resources_is_named(value: str) -> None:
    with pytest.raises(RejectError, match="MILLRACE_FETCH_RESOURCES"):
        OperatorSettings.load({"MILLRACE_FETCH_RESOURCES": value})


def test_pods_of_models_know_the_proxies_that_the_settings_name() -> None:
    platform = OperatorSettings.load({"MILLRACE_TRUSTED_PROXIES": "127.0.0.0/8, 10.1.2.3"}).platform()
    assert platform.trusted_proxies == "127.0.0.0/8,10.1.2.3/32"
    for proxies, expected in (("", None), (platform.trusted_proxies, "127.0.0.0/8,10.1.2.3/32")):
        [server] = templates(replace(PLATFORM, trusted_proxies=proxies))["cpu"]["containers"]
        env = {each["name"]: each.get("value") for each in server["env"]}
        assert env.get("MILLRACE_TRUSTED_PROXIES") == expected


def test_every_pod_pulls_its_image_by_the_secrets_that_the_settings_name() -> None:
    assert all("imagePullSecrets" not in spec for spec in templates().values())
    for spec in templates(replace(PLATFORM, image_pull_secrets=("a", "b"))).values():
        assert spec["imagePullSecrets"] == [{"name": "a"}, {"name": "b"}]
    assert OperatorSettings.load({"MILLRACE_IMAGE_PULL_SECRETS": "a, b"}).platform().image_pull_secrets == ("a", "b")
