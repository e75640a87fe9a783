"""What a pod mounts for the place of its model: a claim, the node's cache; only the fetch sees either."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from millrace_core.api.checking import check
from millrace_core.api.modeldeployment import ModelDeployment
from millrace_core.base.errors import RejectError
from millrace_operators.modeldeployment import pod
from millrace_operators.modeldeployment.pods import CacheUse, cache_use
from millrace_operators.operator.settings import OperatorSettings
from millrace_operators.platform import ModelCache, Platform
from tests import builders
from tests.operators import golden
from tests.operators.modeldeployment import test_golden
from tests.operators.modeldeployment.pod_states import ended, serving
from tests.operators.modeldeployment.pod_states import pod as pod_state

PLATFORM = test_golden.PLATFORM


def template(uri: str, platform: Platform = PLATFORM) -> dict[str, Any]:
    document = builders.model_deployment("churn", uri).build()
    document["metadata"] |= {"namespace": "growth", "uid": "u"}
    made = pod.template(document, ModelDeployment.model_validate(document).spec, "churn-1", "cpu", platform)
    golden.check_schema({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": made["spec"]})
    return made["spec"]


def fetched_with(spec: dict[str, Any]) -> tuple[dict[str, str], dict[str, Any]]:
    """Environment and mounts of the fetch; the server has none but the model and its scratch."""
    assert [mount["name"] for mount in spec["containers"][0]["volumeMounts"]] == ["model", "scratch"]
    [fetch] = spec["initContainers"]
    environ = {each["name"]: each["value"] for each in fetch["env"] if "value" in each}
    return environ, {mount["name"]: mount for mount in fetch["volumeMounts"]}


def test_a_claim_is_mounted_for_reading_where_the_fetch_looks_for_it() -> None:
    spec = template("pvc://models/churn/1/model.onnx")
    environ, mounts = fetched_with(spec)
    source = {"claimName": "models", "readOnly": True}
    assert {"name": "source", "persistentVolumeClaim": source} in spec["volumes"]
    assert mounts["source"]["readOnly"]
    assert environ["MILLRACE_MODEL_VOLUME"] == mounts["source"]["mountPath"]


def test_other_models_mount_nothing() -> None:
    spec = template("s3://models/m.onnx")
    environ, mounts = fetched_with(spec)
    assert [volume["name"] for volume in spec["volumes"]] == ["model", "scratch"]
    assert list(mounts) == ["model", "scratch"]
    assert not {"MILLRACE_MODEL_VOLUME", "MILLRACE_MODEL_CACHE"} & set(environ)


def test_a_nodes_cache_is_a_folder_of_the_namespace_alone() -> None:
    platform = replace(PLATFORM, model_cache=ModelCache(host_path="/var/lib/models", size="2Gi"))
    spec = template("s3://models/m.onnx", platform)
    environ, mounts = fetched_with(spec)
    assert spec["volumes"][-1]["hostPath"] == {"path": "/var/lib/models", "type": "DirectoryOrCreate"}
    assert mounts["cache"] == {"name": "cache", "mountPath": environ["MILLRACE_MODEL_CACHE"], "subPath": "growth"}
    assert environ["MILLRACE_MODEL_CACHE_BYTES"] == str(2 * 1024**3)


def test_a_cache_may_be_a_claim_of_the_namespace() -> None:
    spec = template("s3://models/m.onnx", replace(PLATFORM, model_cache=ModelCache(claim="cache")))
    assert spec["volumes"][-1]["persistentVolumeClaim"] == {"claimName": "cache"}
    assert "subPath" not in fetched_with(spec)[1]["cache"]


def test_the_layers_of_an_image_have_room_beside_the_model() -> None:
    platform = replace(PLATFORM, model_max_bytes=1024**3)
    sizes = [template(uri, platform)["volumes"][0]["emptyDir"] for uri in ("s3://m/m.onnx", "oci://r.example.com/m:1")]
    assert sizes == [{"sizeLimit": "1040Mi"}, {"sizeLimit": "2064Mi"}]


def test_the_setting_of_the_cache_names_one_place() -> None:
    made = OperatorSettings.load({"MILLRACE_MODEL_CACHE": '{"hostPath": "/m", "size": "1.5Gi"}'}).platform().model_cache
    assert made == ModelCache(host_path="/m", size="1.5Gi")
    for wrong in ("{}", '{"hostPath": "/m", "claim": "c"}', '{"hostPath": "m"}', '{"claim": "c", "size": "0"}', "[]"):
        with pytest.raises(RejectError, match="MILLRACE_MODEL_CACHE"):
            OperatorSettings.load({"MILLRACE_MODEL_CACHE": wrong})


def said(name: str, node: str, cache: str | None) -> dict[str, Any]:
    made = serving(name)
    message = {"digest": "sha256:" + "ab" * 32, "bytes": 1, **({"cache": cache} if cache else {})}
    made["status"]["initContainerStatuses"][0]["state"] = ended(0, message, "Completed")
    made["status"]["hostIP"] = node
    return made


def test_the_status_counts_what_pods_found_on_their_nodes() -> None:
    pods = [said("a", "n1", "stored"), said("b", "n1", "hit"), said("c", "n2", "hit"), said("d", "n3", "missed")]
    leaving = said("e", "n4", "hit")
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert cache_use([*pods, leaving]) == CacheUse(nodes=2, hits=2)
    assert cache_use([said("d", "n3", "missed")]) == CacheUse(nodes=0, hits=0)
    assert cache_use([said("a", "n1", None), pod_state("x")]) is None


@pytest.mark.parametrize(
    "uri",
    [
        "gs://bucket/m.onnx",
        "az://container/m.onnx",
        "pvc://claim-1/a/m.onnx",
        "oci://ghcr.io/team/churn:1.2",
        "oci://localhost:5000/churn",
        "oci://r.example.com/a/b@sha256:" + "0" * 64 + "#m/x.onnx",
    ],
)
def test_every_place_is_taken_as_it_is_documented(uri: str) -> None:
    assert check(builders.model_deployment("churn", uri).build()).faults == []


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("pvc://Claim/m.onnx", "pvc://claim/path/model.onnx"),
        ("pvc://claim", "pvc://claim/path/model.onnx"),
        ("oci://ghcr.io/Team/churn:1", "in lower case"),
        ("oci://ghcr.io", "oci://registry/repository:tag"),
        ("oci://user:s3cret@ghcr.io/a/b", "a user or password is in uri"),
        ("ftp://h/m.onnx", "s3://models/churn/3/model.onnx"),
    ],
)
def test_a_place_that_there_cannot_be_is_refused_with_its_form(uri: str, said: str) -> None:
    [fault] = check(builders.model_deployment("churn", uri).build()).faults
    assert fault.field == "spec.model.uri"
    assert said in fault.message
