"""The real kubectl against the embedded API server, verb by verb."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.local.apiserver.conftest import KubectlProcess

WEB = textwrap.dedent("""
    apiVersion: apps/v1
    kind: Deployment
    metadata: {name: web}
    spec:
      replicas: 2
      selector: {matchLabels: {app: web}}
      template:
        metadata: {labels: {app: web}}
        spec:
          containers:
          - {name: main, image: "nginx:1.27", ports: [{containerPort: 80}]}
          - {name: side, image: "envoy:1.30"}
    ---
    apiVersion: v1
    kind: Service
    metadata: {name: web}
    spec: {selector: {app: web}, ports: [{port: 80}]}
""")
SETTINGS = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {colour: red}\n"


def test_client_side_apply_creates_configures_and_leaves_alone(kubectl: KubectlProcess) -> None:
    assert "deployment.apps/web created" in kubectl("apply", "-f", "-", stdin=WEB)
    again = kubectl("apply", "-f", "-", stdin=WEB)
    assert "deployment.apps/web unchanged" in again
    assert "service/web unchanged" in again
    changed = kubectl("apply", "-f", "-", stdin=WEB.replace("nginx:1.27", "nginx:1.28"))
    assert "deployment.apps/web configured" in changed
    containers = kubectl.json("deployment", "web")["spec"]["template"]["spec"]["containers"]
    assert [c["image"] for c in containers] == ["nginx:1.28", "envoy:1.30"]


def test_client_side_apply_removes_what_the_file_no_longer_has(kubectl: KubectlProcess) -> None:
    kubectl("apply", "-f", "-", stdin=SETTINGS.replace("red}", "red, size: big}"))
    kubectl("patch", "configmap", "settings", "--type=merge", "-p", '{"data":{"other":"kept"}}')
    kubectl("apply", "-f", "-", stdin=SETTINGS)
    assert kubectl.json("configmap", "settings")["data"] == {"colour": "red", "other": "kept"}


def test_server_side_apply_reports_conflicts_and_can_be_forced(kubectl: KubectlProcess) -> None:
    kubectl("apply", "--server-side", "--field-manager=first", "-f", "-", stdin=SETTINGS)
    blue = SETTINGS.replace("red", "blue")
    said = kubectl("apply", "--server-side", "--field-manager=second", "-f", "-", stdin=blue, fails=True)
    assert 'conflict with "first": .data.colour' in said
    kubectl("apply", "--server-side", "--field-manager=second", "--force-conflicts", "-f", "-", stdin=blue)
    settings = kubectl.json("configmap", "settings", "--show-managed-fields")
    assert settings["data"] == {"colour": "blue"}
    assert [(m["manager"], m["operation"]) for m in settings["metadata"]["managedFields"]] == [("second", "Apply")]


def test_client_side_apply_can_move_to_server_side_apply(kubectl: KubectlProcess) -> None:
    kubectl("apply", "-f", "-", stdin=WEB)
    kubectl("apply", "--server-side", "-f", "-", stdin=WEB.replace("replicas: 2", "replicas: 3"))
    assert kubectl.json("deployment", "web")["spec"]["replicas"] == 3


def test_apply_refuses_fields_that_do_not_exist(kubectl: KubectlProcess) -> None:
    said = kubectl("apply", "-f", "-", stdin=WEB.replace("replicas:", "replicaz:"), fails=True)
    assert 'unknown field "spec.replicaz"' in said
    warned = kubectl.start("apply", "--validate=warn", "-f", "-", "--dry-run=server")
    warned.kill()
    warned.wait()


def test_apply_reports_every_missing_field(kubectl: KubectlProcess) -> None:
    said = kubectl(
        "apply", "-f", "-", stdin="apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: bare}\n", fails=True
    )
    assert "spec.selector: Required value" in said
    assert "spec.template" in said


def test_a_server_dry_run_changes_nothing(kubectl: KubectlProcess) -> None:
    assert "created (server dry run)" in kubectl("apply", "--dry-run=server", "-f", "-", stdin=SETTINGS)
    assert "NotFound" in kubectl("get", "configmap", "settings", fails=True)


def test_get_prints_tables_yaml_json_names_and_paths(kubectl: KubectlProcess) -> None:
    kubectl("apply", "-f", "-", stdin=WEB)
    head, row = kubectl("get", "deployments").splitlines()
    assert head.split() == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
    assert row.split()[:4] == ["web", "0/2", "0", "0"]
    wide = kubectl("get", "deploy", "-o", "wide").splitlines()
    assert wide[0].split()[-3:] == ["CONTAINERS", "IMAGES", "SELECTOR"]
    assert wide[1].split()[-3:] == ["main,side", "nginx:1.27,envoy:1.30", "app=web"]
    assert "kind: Deployment" in kubectl("get", "deployment", "web", "-o", "yaml")
    assert kubectl("get", "deploy,svc", "-o", "name").split() == ["deployment.apps/web", "service/web"]
    assert kubectl("get", "svc", "web", "-o", "jsonpath={.spec.ports[0].targetPort}") == "80"
    assert kubectl("get", "all").count("web") == 2
    assert "web" in kubectl("get", "deploy", "-l", "!missing", "--show-labels")
    assert kubectl("get", "deploy", "--field-selector", "metadata.name=other") == ""


def test_get_sorts_and_pages(kubectl: KubectlProcess) -> None:
    for name in ("b", "c", "a"):
        kubectl("create", "-f", "-", stdin=SETTINGS.replace("settings", name))
    names = kubectl("get", "cm", "--chunk-size=1", "-o", "name", "--sort-by=.metadata.name").split()
    assert names == ["configmap/a", "configmap/b", "configmap/c"]


def test_get_watch_prints_every_change(kubectl: KubectlProcess) -> None:
    kubectl("apply", "-f", "-", stdin=WEB)
    watching = kubectl.start("get", "deployments", "-w", "--output-watch-events")
    assert watching.stdout is not None
    assert watching.stdout.readline().split()[0] == "EVENT"
    assert watching.stdout.readline().split()[:3] == ["ADDED", "web", "0/2"]
    kubectl("scale", "deployment/web", "--replicas=5")
    assert watching.stdout.readline().split()[:3] == ["MODIFIED", "web", "0/5"]
    kubectl("delete", "deployment", "web")
    assert watching.stdout.readline().split()[:2] == ["DELETED", "web"]
    watching.kill()
    watching.wait()


def test_describe_shows_an_object_and_its_events(kubectl: KubectlProcess) -> None:
    kubectl("apply", "-f", "-", stdin=WEB)
    uid = kubectl.json("deployment", "web")["metadata"]["uid"]
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "web.1"},
        "involvedObject": {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "name": "web",
            "namespace": kubectl.namespace,
            "uid": uid,
        },
        "reason": "Scaled",
        "message": "scaled up to 2",
        "type": "Normal",
        "count": 1,
        "source": {"component": "test"},
        "lastTimestamp": "2026-01-01T00:00:00Z",
    }
    kubectl("create", "-f", "-", stdin=json.dumps(event))
    described = kubectl("describe", "deployment", "web")
    assert "Replicas:               2 desired" in described
    assert "scaled up to 2" in described
    assert "scaled up to 2" in kubectl("get", "events")
    assert "scaled up to 2" in kubectl("events", "--for", "deployment/web")
    assert "TargetPort:" in kubectl("describe", "service", "web")


def test_explain_knows_every_field(kubectl: KubectlProcess) -> None:
    told = kubectl("explain", "deployment.spec.strategy.rollingUpdate.maxSurge")
    assert "maxSurge <IntOrString>" in told
    tree = kubectl("explain", "cronjob", "--recursive")
    assert "jobTemplate\t<JobTemplateSpec> -required-" in tree


def test_diff_shows_what_apply_would_change(kubectl: KubectlProcess) -> None:
    kubectl("apply", "-f", "-", stdin=WEB)
    assert kubectl("diff", "-f", "-", stdin=WEB) == ""
    shown = kubectl("diff", "-f", "-", stdin=WEB.replace("replicas: 2", "replicas: 4"), fails=True)
    assert "-  replicas: 2\n+  replicas: 4" in shown


def test_edit_changes_the_object_in_an_editor(kubectl: KubectlProcess) -> None:
    kubectl("create", "-f", "-", stdin=SETTINGS)
    kubectl("edit", "configmap", "settings", KUBE_EDITOR="sed -i s/red/green/")
    assert kubectl.json("configmap", "settings")["data"] == {"colour": "green"}


@pytest.mark.parametrize(
    ("kind", "patch"),
    [
        ("merge", {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "new:1"}]}}}}),
        ("json", [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "new:1"}]),
        ("strategic", {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "new:1"}]}}}}),
    ],
)
def test_patch_in_its_three_kinds(kubectl: KubectlProcess, kind: str, patch: Any) -> None:
    kubectl("apply", "-f", "-", stdin=WEB)
    kubectl("patch", "deployment", "web", f"--type={kind}", "-p", json.dumps(patch))
    images = [c["image"] for c in kubectl.json("deployment", "web")["spec"]["template"]["spec"]["containers"]]
    assert images == (["new:1"] if kind == "merge" else ["new:1", "envoy:1.30"])


def test_patch_of_the_status_leaves_the_spec(kubectl: KubectlProcess) -> None:
    kubectl("apply", "-f", "-", stdin=WEB)
    patch = '{"spec":{"replicas":9},"status":{"readyReplicas":1,"replicas":1}}'
    kubectl("patch", "deployment", "web", "--subresource=status", "--type=merge", "-p", patch)
    web = kubectl.json("deployment", "web")
    assert (web["spec"]["replicas"], web["status"]["readyReplicas"], web["metadata"]["generation"]) == (2, 1, 1)


def test_wait_returns_when_the_condition_holds(kubectl: KubectlProcess) -> None:
    kubectl("apply", "-f", "-", stdin=WEB)
    waiting = kubectl.start("wait", "--for=condition=Available", "deployment/web", "--timeout=20s")
    status = {"status": {"conditions": [{"type": "Available", "status": "True"}]}}
    kubectl("patch", "deployment", "web", "--subresource=status", "--type=merge", "-p", json.dumps(status))
    printed, _ = waiting.communicate(timeout=20)
    assert printed == "deployment.apps/web condition met\n"
    assert "timed out" in kubectl("wait", "--for=condition=Nope", "deployment/web", "--timeout=1s", fails=True)


def test_wait_for_delete(kubectl: KubectlProcess) -> None:
    kubectl("create", "-f", "-", stdin=SETTINGS)
    waiting = kubectl.start("wait", "--for=delete", "configmap/settings", "--timeout=20s")
    kubectl("delete", "configmap", "settings")
    assert waiting.wait(timeout=20) == 0


def test_scale_through_the_subresource(kubectl: KubectlProcess) -> None:
    kubectl("apply", "-f", "-", stdin=WEB)
    kubectl("scale", "deployment", "web", "--replicas=3", "--current-replicas=2")
    scale = json.loads(kubectl("get", "deployment", "web", "--subresource=scale", "-o", "json"))
    assert (scale["kind"], scale["spec"], scale["status"]["selector"]) == ("Scale", {"replicas": 3}, "app=web")
    assert "Expected replicas to be 9" in kubectl(
        "scale", "deployment", "web", "--replicas=1", "--current-replicas=9", fails=True
    )


def test_rollout_status_restart_and_history(kubectl: KubectlProcess) -> None:
    kubectl("apply", "-f", "-", stdin=WEB)
    kubectl("rollout", "restart", "deployment/web")
    web = kubectl.json("deployment", "web")
    assert "kubectl.kubernetes.io/restartedAt" in web["spec"]["template"]["metadata"]["annotations"]
    replica_set = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": "web-1",
            "labels": {"app": "web"},
            "annotations": {"deployment.kubernetes.io/revision": "1", "kubernetes.io/change-cause": "first"},
            "ownerReferences": [
                {
                    "apiVersion": "apps/v1",
                    "kind": "Deployment",
                    "name": "web",
                    "uid": web["metadata"]["uid"],
                    "controller": True,
                }
            ],
        },
        "spec": {"replicas": 2, "selector": web["spec"]["selector"], "template": web["spec"]["template"]},
    }
    kubectl("create", "-f", "-", stdin=json.dumps(replica_set))
    assert kubectl("rollout", "history", "deployment/web").split()[-2:] == ["1", "first"]
    following = kubectl.start("rollout", "status", "deployment/web", "--timeout=20s")
    done = {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2}
    kubectl("patch", "deployment", "web", "--subresource=status", "--type=merge", "-p", json.dumps({"status": done}))
    printed, _ = following.communicate(timeout=20)
    assert "successfully rolled out" in printed


def _pod(http: httpx.Client, kubectl: KubectlProcess, state: dict[str, Any]) -> tuple[str, Path]:
    """A pod with two containers; the path of its status, and the folder of its logs."""
    pod = {
        "metadata": {"name": "runner"},
        "spec": {"containers": [{"name": "main", "image": "x"}, {"name": "side", "image": "x"}]},
    }
    path = f"/api/v1/namespaces/{kubectl.namespace}/pods"
    made = http.post(path, json=pod).raise_for_status().json()
    folder = kubectl.kubeconfig.parent / "pods" / made["metadata"]["uid"] / "logs"
    folder.mkdir(parents=True)
    statuses = [
        {"name": n, "state": state, "ready": True, "restartCount": 0, "image": "x", "imageID": "x"}
        for n in ("main", "side")
    ]
    status = {"status": {"phase": "Running", "containerStatuses": statuses}}
    headers = {"content-type": "application/merge-patch+json"}
    http.patch(f"{path}/runner/status", json=status, headers=headers).raise_for_status()
    return f"{path}/runner/status", folder


def test_logs_of_a_container_and_of_the_run_before(kubectl: KubectlProcess, http: httpx.Client) -> None:
    _, folder = _pod(http, kubectl, {"running": {}})
    (folder / "main.log").write_text("one\ntwo\nthree\n")
    (folder / "main.previous.log").write_text("crashed\n")
    assert kubectl("logs", "runner", "-c", "main") == "one\ntwo\nthree\n"
    assert kubectl("logs", "runner", "-c", "main", "--tail=1") == "three\n"
    assert kubectl("logs", "runner", "-c", "main", "--previous") == "crashed\n"
    assert "container nope is not valid for pod runner" in kubectl("logs", "runner", "-c", "nope", fails=True)
    assert 'container "side" in pod "runner" is waiting to start' in kubectl("logs", "runner", "-c", "side", fails=True)
    assert (
        "a container name must be specified" in http.get(f"/api/v1/namespaces/{kubectl.namespace}/pods/runner/log").text
    )


def test_no_annotation_names_the_file_that_logs_are_read_from(
    kubectl: KubectlProcess, http: httpx.Client, tmp_path: Path
) -> None:
    (tmp_path / "main.log").write_text("of somebody else\n")
    _pod(http, kubectl, {"running": {}})
    kubectl("annotate", "pod", "runner", f"node.millrace.dev/logs={tmp_path}")
    assert "is waiting to start" in kubectl("logs", "runner", "-c", "main", fails=True)


def test_logs_follow_until_the_container_ends(kubectl: KubectlProcess, http: httpx.Client) -> None:
    path, folder = _pod(http, kubectl, {"running": {}})
    log = folder / "main.log"
    log.write_text("2026-01-01T00:00:00.5Z stdout F one\n")
    following = kubectl.start("logs", "-f", "runner", "-c", "main")
    assert following.stdout is not None
    assert following.stdout.readline() == "one\n"
    with log.open("a") as file:
        file.write("2026-01-01T00:00:01.5Z stderr F two\n")
    assert following.stdout.readline() == "two\n"
    assert kubectl("logs", "runner", "-c", "main", "--timestamps").startswith("2026-01-01T00:00:00.5Z one\n")
    http.patch(path, json={"status": {"phase": "Succeeded"}}, headers={"content-type": "application/merge-patch+json"})
    assert following.wait(timeout=20) == 0


def test_delete_cascades_by_the_given_policy(kubectl: KubectlProcess, eventually: Callable[..., Any]) -> None:
    for policy in ("background", "foreground", "orphan"):
        kubectl("create", "-f", "-", stdin=SETTINGS.replace("settings", policy))
        uid = kubectl.json("configmap", policy)["metadata"]["uid"]
        owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": policy, "uid": uid, "blockOwnerDeletion": True}
        child = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": f"{policy}-child", "ownerReferences": [owner]},
        }
        kubectl("create", "-f", "-", stdin=json.dumps(child))
        kubectl("delete", "configmap", policy, f"--cascade={policy}")
    eventually(lambda: "background-child" not in kubectl("get", "cm", "-o", "name"))
    assert kubectl("get", "cm", "-o", "name").split() == ["configmap/orphan-child"]
    assert "ownerReferences" not in kubectl.json("configmap", "orphan-child")["metadata"]


def test_labels_and_annotations(kubectl: KubectlProcess) -> None:
    kubectl("create", "-f", "-", stdin=SETTINGS)
    kubectl("label", "configmap", "settings", "tier=gold")
    kubectl("annotate", "configmap", "settings", "note=a b c")
    assert "already has a value" in kubectl("label", "configmap", "settings", "tier=tin", fails=True)
    kubectl("label", "configmap", "settings", "tier=tin", "--overwrite")
    kubectl("label", "configmap", "settings", "tier-")
    metadata = kubectl.json("configmap", "settings")["metadata"]
    assert "labels" not in metadata
    assert metadata["annotations"] == {"note": "a b c"}


def test_api_resources_and_versions(kubectl: KubectlProcess) -> None:
    rows = {line.split()[0]: line for line in kubectl("api-resources").splitlines()}
    assert rows["deployments"].split() == ["deployments", "deploy", "apps/v1", "true", "Deployment"]
    assert rows["nodes"].split() == ["nodes", "no", "v1", "false", "Node"]
    assert "batch/v1" in kubectl("api-versions").split()
    assert json.loads(kubectl("version", "-o", "json"))["serverVersion"]["minor"] == "32"


def test_replace_refuses_an_outdated_object(kubectl: KubectlProcess) -> None:
    kubectl("create", "-f", "-", stdin=SETTINGS)
    old = kubectl("get", "configmap", "settings", "-o", "yaml")
    kubectl("label", "configmap", "settings", "tier=gold")
    assert "the object has been modified" in kubectl("replace", "-f", "-", stdin=old, fails=True)
