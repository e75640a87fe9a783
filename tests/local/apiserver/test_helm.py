"""Helm 4, through its Python wheel: install, upgrade, roll back, list, uninstall."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from millrace_local.apiserver.process import RunningServer

helm = pytest.importorskip("helm_python")

TEMPLATES = {
    "settings.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}}\n"
    "data: {colour: {{ .Values.colour }}}\n",
    "web.yaml": """
apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ .Release.Name }}}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: main, image: x}]}
""",
}
CRD = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: charted.helm.example.dev}
spec:
  group: helm.example.dev
  scope: Namespaced
  names: {kind: Charted, plural: charted}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"""


@pytest.fixture
def chart(tmp_path: Path) -> str:
    """A small chart with a CRD."""
    folder = tmp_path / "small"
    (folder / "templates").mkdir(parents=True)
    (folder / "crds").mkdir()
    (folder / "Chart.yaml").write_text("apiVersion: v2\nname: small\nversion: 0.1.0\n")
    (folder / "values.yaml").write_text("colour: red\n")
    (folder / "crds" / "charted.yaml").write_text(CRD)
    for name, text in TEMPLATES.items():
        (folder / "templates" / name).write_text(text)
    return str(folder)


@pytest.mark.slow
def test_a_release_from_install_to_uninstall(
    server: RunningServer, http: httpx.Client, namespace: str, chart: str
) -> None:
    maps, deployments = (
        f"/api/v1/namespaces/{namespace}/configmaps",
        f"/apis/apps/v1/namespaces/{namespace}/deployments",
    )
    secrets = f"/api/v1/namespaces/{namespace}/secrets"
    with helm.Config(kubeconfig_path=str(server.kubeconfig), namespace=namespace) as release:
        installed = release.install(chart, "one", {"colour": "blue"}, namespace=namespace)
        assert (installed["status"], installed["revision"]) == ("deployed", 1)
        assert http.get(f"{maps}/one").json()["data"] == {"colour": "blue"}
        assert http.get(f"{deployments}/one").status_code == 200
        assert http.get("/apis/helm.example.dev/v1").status_code == 200
        upgraded = release.upgrade(chart, "one", {"colour": "green"}, namespace=namespace)
        assert upgraded["revision"] == 2
        assert http.get(f"{maps}/one").json()["data"] == {"colour": "green"}
        release.rollback("one", version=1)
        assert http.get(f"{maps}/one").json()["data"] == {"colour": "blue"}
        assert [found["name"] for found in release.list()] == ["one"]
        types = {item["type"] for item in http.get(secrets).json()["items"]}
        assert types == {"helm.sh/release.v1"}
        release.uninstall("one")
    assert http.get(f"{deployments}/one").status_code == 404
    assert http.get(secrets).json()["items"] == []
