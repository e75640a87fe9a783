"""A BlueGreen rollout through the mesh, under load from its preview to the end of the revision before."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders import model_deployment
from tests.e2e.conftest import ClusterUnderTest
from tests.e2e.kubectl import Kubectl, eventually
from tests.e2e.load import Load
from tests.e2e.mesh import ServiceClient
from tests.onnx_models import write_linear

ROLLOUT = {"strategy": "BlueGreen", "onSuccess": "Pause", "blueGreen": {"keepFor": "1h"}}  # a person moves it all


@pytest.mark.slow
def test_a_preview_a_flip_a_rollback_another_flip_and_the_end_of_the_old_revision_fail_no_request(
    target: ClusterUnderTest, kubectl: Kubectl, tmp_path: Path
) -> None:
    first, second = (write_linear(tmp_path / f"{factor}.onnx", factor=factor) for factor in (1, 2))

    def apply(model: Path) -> None:
        kubectl.apply(model_deployment("fraud", f"file://{model}").having("spec.rollout", ROLLOUT).build())

    def phase(wanted: str) -> None:
        eventually(lambda: kubectl.get("md", "fraud")["status"].get("rollout", {}).get("phase") == wanted, 60)

    def command(text: str, wanted: str) -> None:
        kubectl.run("annotate", "md", "fraud", f"millrace.dev/command={text}", "--overwrite")
        phase(wanted)

    def pods() -> set[str]:
        return {pod["metadata"]["uid"] for pod in kubectl.list("pods", "millrace.dev/deployment=fraud")}

    apply(first)
    kubectl.wait_ready("modeldeployment", "fraud")
    live = ServiceClient(target.ingress_url, "fraud", kubectl.namespace)
    preview = ServiceClient(target.ingress_url, "fraud", kubectl.namespace)
    preview.host = f"fraud-preview.{kubectl.namespace}.svc.cluster.local"
    eventually(lambda: live.infer().status_code == 200)
    with Load(target.ingress_url, "fraud", kubectl.namespace, connections=2) as load:
        apply(second)
        phase("AwaitingPromotion")
        eventually(lambda: preview.infer().status_code == 200)
        assert (preview.output(), live.output()) == (6.0, 3.0)
        before, unflipped = pods(), dict(load.answers)
        assert 6.0 not in unflipped, "nothing of the traffic reaches what is previewed"
        command("1:promote", "KeepingPrevious")
        eventually(lambda: live.output() == 6.0)
        command("2:rollback", "RolledBack")
        eventually(lambda: live.output() == 3.0)
        command("3:promote", "KeepingPrevious")
        eventually(lambda: live.output() == 6.0)
        assert pods() == before, "no pod was started or ended for it"
        command("4:promote", "Complete")
        eventually(lambda: len(pods()) == 1, 60)
        assert live.output() == 6.0
    assert load.failures == {}
    assert load.answers[3.0] > 0
    assert load.answers[6.0] > 0
