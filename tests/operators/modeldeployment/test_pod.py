"""What pods of models get of the platform."""

from __future__ import annotations

from dataclasses import replace

from millrace_core.api.modeldeployment import ModelDeployment
from millrace_operators.modeldeployment import pod
from tests.builders import model_deployment
from tests.operators.world import PLATFORM


def test_variables_of_the_platform_are_the_servers_alone_and_its_own_go_first() -> None:
    document = model_deployment("churn").build()
    document["metadata"] |= {"namespace": "growth", "uid": "u"}
    platform = replace(PLATFORM, serve_env={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "MILLRACE_MODEL_NAME": "x"})
    made = pod.template(document, ModelDeployment.model_validate(document).spec, "churn-1", "cpu", platform)["spec"]
    [serve], [fetch] = made["containers"], made["initContainers"]
    environ = [(each["name"], each.get("value")) for each in serve["env"]]
    assert ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318") in environ
    assert [value for name, value in environ if name == "MILLRACE_MODEL_NAME"] != ["x"]
    assert len(environ) == len({name for name, _ in environ})
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" not in {each["name"] for each in fetch["env"]}
