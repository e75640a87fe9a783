"""Sources and models on S3, with credentials from a Secret; what is wrong there is named."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from tests.builders import feature_view, model_deployment
from tests.e2e.conftest import ClusterUnderTest
from tests.e2e.kubectl import Kubectl, eventually
from tests.e2e.mesh import ServiceClient
from tests.e2e.test_feature_view import write_events
from tests.onnx_models import write_linear
from tests.s3 import s3_server

BUCKET = "lake"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture(scope="module")
def bucket(endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("s3")
    write_events(folder / "events")
    model = write_linear(folder / "model.onnx", factor=5)
    s3 = boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        region_name="us-east-1",
    )
    s3.create_bucket(Bucket=BUCKET)
    s3.upload_file(str(folder / "events" / "events.parquet"), BUCKET, "events/events.parquet")
    s3.upload_file(str(model), BUCKET, "models/1/model.onnx")
    return BUCKET


def credentials(endpoint: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "lake"},
        "stringData": {
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_REGION": "us-east-1",
        },
    }


def test_a_view_reads_parquet_from_s3(kubectl: Kubectl, endpoint: str, bucket: str) -> None:
    view = feature_view("stats", f"s3://{bucket}/events/").having("spec.source.credentialsSecretRef", {"name": "lake"})
    kubectl.apply(credentials(endpoint), view.build())
    kubectl.wait_ready("featureview", "stats")
    assert kubectl.get("fv", "stats")["status"]["lastRun"]["rows"] == 3


def test_a_missing_bucket_is_named(kubectl: Kubectl, endpoint: str, bucket: str) -> None:
    view = feature_view("stats", "s3://no-such-bucket/events/").having(
        "spec.source.credentialsSecretRef", {"name": "lake"}
    )
    kubectl.apply(credentials(endpoint), view.build())
    condition = eventually(
        lambda: (found := kubectl.condition("fv", "stats", "Materialized")).get("status") == "False" and found, 60
    )
    assert "no-such-bucket" in condition["message"]


def test_a_missing_secret_is_named(kubectl: Kubectl, bucket: str) -> None:
    view = feature_view("stats", f"s3://{bucket}/events/").having(
        "spec.source.credentialsSecretRef", {"name": "nobody"}
    )
    kubectl.apply(view.build())
    eventually(lambda: "nobody" in kubectl.run("get", "events").stdout, 60)


def test_a_model_is_fetched_from_s3(target: ClusterUnderTest, kubectl: Kubectl, endpoint: str, bucket: str) -> None:
    built = model_deployment("fraud", f"s3://{bucket}/models/1/model.onnx").having(
        "spec.model.credentialsSecretRef", {"name": "lake"}
    )
    kubectl.apply(credentials(endpoint), built.build())
    kubectl.wait_ready("modeldeployment", "fraud")
    service = ServiceClient(target.ingress_url, "fraud", kubectl.namespace)
    eventually(lambda: service.infer().status_code == 200)
    assert service.output() == 15.0


def test_a_missing_key_is_named(kubectl: Kubectl, endpoint: str, bucket: str) -> None:
    built = model_deployment("fraud", f"s3://{bucket}/models/2/model.onnx").having(
        "spec.model.credentialsSecretRef", {"name": "lake"}
    )
    kubectl.apply(credentials(endpoint), built.build())
    condition = eventually(
        lambda: (found := kubectl.condition("md", "fraud", "ModelResolved")).get("status") == "False" and found, 60
    )
    assert f"s3://{bucket}/models/2/model.onnx" in condition["message"]
