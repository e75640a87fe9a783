"""Gates: a good model passes, one that is worse does not, and what serves goes on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.builders import model_deployment
from tests.e2e.conftest import ClusterUnderTest
from tests.e2e.kubectl import Kubectl, eventually
from tests.e2e.mesh import ServiceClient
from tests.onnx_models import write_scores

RULES = [
    {"metric": "auc", "min": 0.9},
    {"metric": "auc", "notWorseThan": "champion", "margin": 0.01},
    {"latencyP99": "10s"},
    {"maxSize": "1Mi"},
]


def write_holdout(path: Path) -> Path:
    random = np.random.default_rng(5)
    features = random.normal(size=(500, 2)).astype(np.float32)
    label = (features.sum(axis=1) + random.normal(scale=0.4, size=500) > 0).astype(np.int64)
    pq.write_table(pa.table({"a": features[:, 0], "b": features[:, 1], "target": label}), path)
    return path


@pytest.mark.slow
def test_a_worse_model_gets_no_traffic_and_the_old_one_serves_on(
    target: ClusterUnderTest, kubectl: Kubectl, tmp_path: Path
) -> None:
    rows = write_holdout(tmp_path / "holdout.parquet")
    good, inverted = write_scores(tmp_path / "1.onnx"), write_scores(tmp_path / "2.onnx", factor=-4.0)
    gates = {"holdout": {"uri": f"file://{rows}", "label": "target"}, "rules": RULES}
    built = model_deployment("fraud", f"file://{good}").having("spec.gates", gates)
    kubectl.apply(built.build())
    kubectl.wait_ready("modeldeployment", "fraud", 120)
    status = kubectl.get("md", "fraud")["status"]
    assert (status["gates"]["verdict"], status["gates"]["digest"]) == ("Pass", status["model"]["digest"])
    assert [rule["verdict"] for rule in status["gates"]["rules"]] == ["Pass"] * 4
    service = ServiceClient(target.ingress_url, "fraud", kubectl.namespace)
    served = eventually(lambda: (answer := service.infer()).status_code == 200 and answer.json()["outputs"])

    kubectl.apply(built.having("spec.model.uri", f"file://{inverted}").build())
    failed = eventually(
        lambda: (found := kubectl.condition("md", "fraud", "GatesPassed")).get("reason") == "GateFailed" and found, 120
    )
    assert "at least 0.9 is asked for" in failed["message"]
    assert "the champion's is 0.9" in failed["message"]
    assert f"{status['revision']} serves on" in failed["message"]
    header, line = kubectl.run("get", "md", "fraud").stdout.splitlines()
    assert line.split()[header.split().index("GATES")] == "Fail"
    assert kubectl.get("md", "fraud")["status"]["revision"] == status["revision"]
    assert json.dumps(service.infer().json()["outputs"]) == json.dumps(served)

    kubectl.run("annotate", "md", "fraud", "millrace.dev/command=1:skip-gates")
    eventually(lambda: kubectl.get("md", "fraud")["status"]["revision"] != status["revision"], 120)
    assert kubectl.get("md", "fraud")["status"]["gates"]["verdict"] == "Skipped"
