"""Models with external data, from a server and from a registry; the second pod on a node asks neither."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from tests.builders import model_deployment
from tests.e2e.conftest import ClusterUnderTest
from tests.e2e.kubectl import Kubectl, eventually
from tests.e2e.mesh import ServiceClient
from tests.onnx_models import write_external
from tests.range_server import range_server


def test_a_model_with_external_data_is_served_and_its_second_pod_asks_no_source(
    target: ClusterUnderTest, kubectl: Kubectl, tmp_path: Path
) -> None:
    source = write_external(tmp_path / "net.onnx", ("w.bin",))
    with range_server() as server:
        files = {path.name: path.read_bytes() for path in (source, tmp_path / "w.bin")}
        server.files = {f"/{name}": content for name, content in files.items()}
        kubectl.apply(model_deployment("first", f"http://{server.host}/net.onnx").build())
        kubectl.wait_ready("modeldeployment", "first")
        model = kubectl.get("md", "first")["status"]["model"]
        own, beside = (hashlib.sha256(files[name]).hexdigest() for name in ("net.onnx", "w.bin"))
        listed = hashlib.sha256(f"{own}  -\n{beside}  w.bin\n".encode()).hexdigest()
        assert model["digest"] == f"sha256:{listed}"
        assert model["cached"] == {"nodes": 1, "hits": 0}
        asked = len(server.requests)
        second = model_deployment("second", f"http://{server.host}/elsewhere.onnx")
        kubectl.apply(second.having("spec.model.digest", model["digest"]).build())
        kubectl.wait_ready("modeldeployment", "second")
        assert kubectl.get("md", "second")["status"]["model"]["cached"] == {"nodes": 1, "hits": 1}
        assert len(server.requests) == asked
    service = ServiceClient(target.ingress_url, "second", kubectl.namespace)
    eventually(lambda: service.infer().status_code == 200)
    assert service.output() == 3.0


def test_a_model_comes_from_a_registry(target: ClusterUnderTest, kubectl: Kubectl, tmp_path: Path) -> None:
    source = write_external(tmp_path / "net.onnx", ("w.bin",))
    with range_server() as server:
        layers = []
        for path in (source, tmp_path / "w.bin"):
            digest = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
            server.files[f"/v2/team/net/blobs/{digest}"] = path.read_bytes()
            name = {"org.opencontainers.image.title": path.name}
            layers.append({"digest": digest, "size": path.stat().st_size, "annotations": name})
        server.files["/v2/team/net/manifests/1"] = json.dumps({"layers": layers}).encode()
        kubectl.apply(model_deployment("net", f"oci://{server.host}/team/net:1").build())
        kubectl.wait_ready("modeldeployment", "net")
    service = ServiceClient(target.ingress_url, "net", kubectl.namespace)
    eventually(lambda: service.infer().status_code == 200)
    assert service.output() == 3.0
