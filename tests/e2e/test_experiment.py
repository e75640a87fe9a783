"""Experiments: the split is what the weights say, steps are walked, commands are obeyed, the champion survives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.builders import canary, experiment, model_deployment
from tests.e2e.conftest import ClusterUnderTest, in_namespace
from tests.e2e.kubectl import Kubectl, eventually
from tests.e2e.mesh import BackgroundLoad, GrpcClient, ServiceClient
from tests.onnx_models import write_linear


@pytest.fixture(scope="module")
def kubectl(target: ClusterUnderTest) -> Iterator[Kubectl]:
    """kubectl in the one namespace of all tests here."""
    with in_namespace(target) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def service(target: ClusterUnderTest, kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> ServiceClient:
    """A service ``ranking`` of the deployments ``v1``, which is champion first, and ``v2``."""
    for index, name in enumerate(["v1", "v2"]):
        model = write_linear(tmp_path_factory.mktemp("models") / f"{name}.onnx", factor=index + 1)
        kubectl.apply(model_deployment(name, f"file://{model}", service="ranking").build())
        kubectl.wait_ready("modeldeployment", name)
    service = ServiceClient(target.ingress_url, "ranking", kubectl.namespace)
    eventually(lambda: service.infer().status_code == 200)
    return service


@dataclass(frozen=True)
class Arms:
    """Who is champion as a test begins, and who is not: a promotion changes their parts for the next test."""

    control: str
    challenger: str


@pytest.fixture
def arms(kubectl: Kubectl, service: ServiceClient) -> Iterator[Arms]:
    """The two deployments with no experiment on them."""
    control = eventually(lambda: champion(kubectl, service))
    yield Arms(control, "v2" if control == "v1" else "v1")
    kubectl.run("delete", "experiment", "--all", "--timeout=60s")


def champion(kubectl: Kubectl, service: ServiceClient) -> str:
    """Whom clients reach, once its status says so, and no other's; empty until then."""
    deployments = kubectl.list("modeldeployment")
    champions = [item["metadata"]["name"] for item in deployments if item.get("status", {}).get("champion")]
    reached = service.infer().headers.get("x-millrace-deployment", "")
    return reached if champions == [reached] else ""


def phase(kubectl: Kubectl, name: str) -> str:
    return str(kubectl.get("experiment", name).get("status", {}).get("phase"))


def test_a_second_deployment_gets_no_traffic_without_an_experiment(service: ServiceClient, arms: Arms) -> None:
    assert service.served_by(50) == {arms.control: 50}


def test_an_ab_test_splits_by_weight_and_honours_overrides_over_rest_and_grpc(
    target: ClusterUnderTest, kubectl: Kubectl, service: ServiceClient, arms: Arms
) -> None:
    kubectl.apply(
        experiment("ab", "ranking", arms.control, arms.challenger)
        .having("spec.overrides", [{"header": "x-try", "value": "new", "arm": "challenger"}])
        .build()
    )
    kubectl.wait_ready("experiment", "ab")
    assert phase(kubectl, "ab") == "Running"
    served = service.served_by(1000)
    assert 140 <= served[arms.challenger] <= 260  # 20 % within 4.7 standard deviations
    assert service.served_by(20, **{"x-try": "new"}) == {arms.challenger: 20}
    assert service.served_by(20, **{"x-millrace-arm": "challenger"}) == {arms.challenger: 20}
    assert service.served_by(20, **{"x-millrace-arm": "control"}) == {arms.control: 20}
    for port in (80, 8081):
        over_grpc = GrpcClient(target.ingress_url, service, port)
        served = over_grpc.served_by(300)
        assert 28 <= served[arms.challenger] <= 92  # 20 % within 4.7 standard deviations
        assert over_grpc.served_by(10, **{"x-try": "new"}) == {arms.challenger: 10}
        assert over_grpc.served_by(10, **{"x-millrace-arm": "control"}) == {arms.control: 10}
        over_grpc.close()
    status = kubectl.get("experiment", "ab")["status"]
    assert status["weights"]["applied"] == {"control": 80, "challenger": 20}


def test_a_canary_walks_its_steps_and_the_winner_survives_its_deletion(
    kubectl: Kubectl, service: ServiceClient, arms: Arms
) -> None:
    steps = [{"weight": 25, "hold": "1s"}, {"weight": 50, "hold": "1s"}, {"weight": 100}]
    with BackgroundLoad(service) as load:
        kubectl.apply(canary("ramp", "ranking", arms.control, arms.challenger, steps).build())
        eventually(lambda: phase(kubectl, "ramp") == "Succeeded", 60)
    assert load.failures == []
    status = kubectl.get("experiment", "ramp")["status"]
    assert [epoch["weights"]["challenger"] for epoch in status["epochs"]][:3] == [25, 50, 100]
    assert status["decision"]["verdict"] == "Promote"
    assert service.served_by(20) == {arms.challenger: 20}
    kubectl.run("delete", "experiment", "ramp", "--timeout=60s")
    assert service.served_by(20) == {arms.challenger: 20}
    assert eventually(lambda: champion(kubectl, service)) == arms.challenger


def test_abort_takes_all_traffic_back(kubectl: Kubectl, service: ServiceClient, arms: Arms) -> None:
    kubectl.apply(experiment("ab", "ranking", arms.control, arms.challenger).build())
    kubectl.wait_ready("experiment", "ab")
    kubectl.run("annotate", "experiment", "ab", "millrace.dev/command=1:abort")
    eventually(lambda: phase(kubectl, "ab") == "Failed", 30)
    assert service.served_by(50) == {arms.control: 50}
    assert kubectl.get("experiment", "ab")["status"]["decision"]["verdict"] == "Rollback"


def test_a_paused_canary_goes_no_further_until_it_is_resumed(
    kubectl: Kubectl, service: ServiceClient, arms: Arms
) -> None:
    steps = [{"weight": 10, "hold": "3s"}, {"weight": 100}]
    kubectl.apply(canary("ramp", "ranking", arms.control, arms.challenger, steps).build())
    eventually(lambda: phase(kubectl, "ramp") == "Running")
    kubectl.run("annotate", "experiment", "ramp", "millrace.dev/command=1:pause")
    eventually(lambda: phase(kubectl, "ramp") == "Paused")
    assert service.served_by(30)[arms.control] > 0
    kubectl.run("annotate", "experiment", "ramp", "--overwrite", "millrace.dev/command=2:resume")
    eventually(lambda: phase(kubectl, "ramp") == "Succeeded", 60)


def test_promote_ends_an_ab_test_with_the_challenger_as_champion(
    kubectl: Kubectl, service: ServiceClient, arms: Arms
) -> None:
    kubectl.apply(experiment("ab", "ranking", arms.control, arms.challenger).build())
    kubectl.wait_ready("experiment", "ab")
    kubectl.run("annotate", "experiment", "ab", "millrace.dev/command=1:promote challenger")
    eventually(lambda: phase(kubectl, "ab") == "Succeeded", 30)
    assert service.served_by(30) == {arms.challenger: 30}


def test_deletion_in_the_middle_returns_all_traffic_to_the_control(
    kubectl: Kubectl, service: ServiceClient, arms: Arms
) -> None:
    kubectl.apply(experiment("ab", "ranking", arms.control, arms.challenger).build())
    kubectl.wait_ready("experiment", "ab")
    with BackgroundLoad(service) as load:
        kubectl.run("delete", "experiment", "ab", "--timeout=60s")
    assert load.failures == []
    assert service.served_by(50) == {arms.control: 50}


def test_of_two_experiments_on_one_service_the_oldest_runs(
    kubectl: Kubectl, service: ServiceClient, arms: Arms
) -> None:
    kubectl.apply(experiment("first", "ranking", arms.control, arms.challenger).build())
    kubectl.wait_ready("experiment", "first")
    kubectl.apply(experiment("second", "ranking", arms.control, arms.challenger).build())
    condition = eventually(
        lambda: (found := kubectl.condition("experiment", "second", "Accepted")).get("status") == "False" and found
    )
    assert "first" in condition["message"]


def test_a_route_edited_by_somebody_else_is_rewritten(kubectl: Kubectl, service: ServiceClient, arms: Arms) -> None:
    kubectl.apply(experiment("ab", "ranking", arms.control, arms.challenger).build())
    kubectl.wait_ready("experiment", "ab")
    before = kubectl.get("virtualservice", "ranking")["spec"]
    patch = '{"spec": {"http": [{"route": [{"destination": {"host": "elsewhere"}}]}]}}'
    kubectl.run("patch", "virtualservice", "ranking", "--type=merge", "-p", patch)
    eventually(lambda: kubectl.get("virtualservice", "ranking")["spec"] == before)


@pytest.mark.parametrize("verb", ["dance", "promote nobody"])
def test_a_bad_command_is_answered_and_changes_nothing(
    kubectl: Kubectl, service: ServiceClient, arms: Arms, verb: str
) -> None:
    kubectl.apply(experiment("ab", "ranking", arms.control, arms.challenger).build())
    kubectl.wait_ready("experiment", "ab")
    kubectl.run("annotate", "experiment", "ab", f"millrace.dev/command=1:{verb}")
    eventually(
        lambda: verb.rsplit(maxsplit=1)[-1] in kubectl.run("describe", "experiment", "ab").stdout.split("Events:")[-1]
    )
    assert phase(kubectl, "ab") == "Running"
