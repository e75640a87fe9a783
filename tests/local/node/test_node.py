"""Pods as processes, against the real API server."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from millrace_kube.resources import CONFIG_MAPS, LEASES, NODES, PODS, SECRETS
from tests.local.cluster import EmbeddedCluster, Obj
from tests.local.node.test_processes import is_alive, until_dead


def status_of(pod: Obj, name: str = "main", kind: str = "containerStatuses") -> Any:
    return next((s for s in pod["status"].get(kind) or [] if s["name"] == name), {})


def ended(pod: Obj, name: str = "main", kind: str = "containerStatuses") -> Any:
    return status_of(pod, name, kind)["state"]["terminated"]


def condition(pod: Obj, kind: str) -> str:
    found = [c["status"] for c in pod["status"].get("conditions") or [] if c["type"] == kind]
    return found[0] if found else ""


async def test_the_node_registers_and_renews_its_lease(cluster: EmbeddedCluster) -> None:
    async with cluster.running():
        lease = await _eventually(lambda: cluster.client.get(LEASES, "kube-node-lease", cluster.node))
        assert lease["spec"]["holderIdentity"] == cluster.node
        node = await cluster.client.get(NODES, "", cluster.node)
        assert {c["type"]: c["status"] for c in node["status"]["conditions"]}["Ready"] == "True"
        assert int(node["status"]["capacity"]["cpu"]) == os.cpu_count()
    node = await cluster.client.get(NODES, "", cluster.node)
    assert {c["type"]: c["status"] for c in node["status"]["conditions"]}["Ready"] == "False"


async def _eventually(work: Any) -> Any:
    async with asyncio.timeout(20):
        while True:
            try:
                if (found := await work()) is not None:
                    return found
            except (OSError, AssertionError):
                pass
            await asyncio.sleep(0.05)


async def test_a_pod_runs_to_its_end_and_says_how_it_was(cluster: EmbeddedCluster) -> None:
    async with cluster.running():
        await cluster.pod("echo hello; echo to stderr >&2; printf done > /dev/termination-log")
        pod = await cluster.phase("Succeeded")
        assert (ended(pod)["exitCode"], ended(pod)["reason"], ended(pod)["message"]) == (0, "Completed", "done")
        assert pod["status"]["podIP"].startswith("127.")
        assert pod["status"]["podIPs"] == [{"ip": pod["status"]["podIP"]}]
        assert (condition(pod, "Initialized"), condition(pod, "Ready")) == ("True", "False")
        assert await cluster.log() == "hello\nto stderr\n"
        assert "Z hello" in await cluster.log(query="?timestamps=true")


async def test_a_failed_pod_has_exit_code_signal_and_the_end_of_its_log(cluster: EmbeddedCluster) -> None:
    async with cluster.running():
        container = {"terminationMessagePolicy": "FallbackToLogsOnError"}
        await cluster.pod("echo it broke; exit 7", "a", container=container)
        await cluster.pod("kill -9 $$$$", "b")
        await cluster.pod("yes x | head -c 9000 > /dev/termination-log", "c")
        pod = await cluster.phase("Failed", "a")
        assert (ended(pod)["exitCode"], ended(pod)["reason"], ended(pod)["message"]) == (7, "Error", "it broke")
        pod = await cluster.phase("Failed", "b")
        assert (ended(pod)["exitCode"], ended(pod)["signal"]) == (137, 9)
        assert len(ended(await cluster.phase("Succeeded", "c"))["message"]) == 4096


async def test_the_environment_is_clean_and_resolved(cluster: EmbeddedCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEAKED", "from the agent")
    cluster.more = {"proxy": "http://127.0.0.1:18080"}
    secret = base64.b64encode(b"hush").decode()
    await cluster.create(SECRETS, "s", data={"password": secret})
    await cluster.create(CONFIG_MAPS, "c", data={"MODE": "fast"})
    variables = [
        {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "s", "key": "password"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "URL", "value": "http://$(IP):8080"},
    ]
    container = {
        "command": ["python", "-c", "import json, os, sys; print(json.dumps([sys.executable, dict(os.environ)]))"],
        "env": variables,
        "envFrom": [{"configMapRef": {"name": "c"}}],
    }
    async with cluster.running():
        await cluster.pod(container=container)
        pod = await cluster.phase("Succeeded")
        python, environ = json.loads(await cluster.log())
    address = pod["status"]["podIP"]
    assert python == sys.executable
    assert (environ["PASSWORD"], environ["MODE"], environ["URL"]) == ("hush", "fast", f"http://{address}:8080")
    assert environ["http_proxy"] == "http://127.0.0.1:18080"
    assert address in environ["no_proxy"].split(",")
    assert environ["PATH"].split(":")[0] == str(Path(sys.executable).parent)
    assert "LEAKED" not in environ


async def test_a_pod_waits_for_a_secret_and_starts_when_it_comes(cluster: EmbeddedCluster) -> None:
    variable = {"name": "X", "valueFrom": {"secretKeyRef": {"name": "late", "key": "k"}}}
    async with cluster.running():
        await cluster.pod("echo $X", container={"env": [variable]})
        reason = "CreateContainerConfigError"
        pod = await cluster.until(
            lambda pod: status_of(pod).get("state", {}).get("waiting", {}).get("reason") == reason
        )
        assert 'secret "late" not found' in status_of(pod)["state"]["waiting"]["message"]
        assert pod["status"]["phase"] == "Pending"
        await cluster.create(SECRETS, "late", data={"k": base64.b64encode(b"v").decode()})
        await cluster.phase("Succeeded")
        assert await cluster.log() == "v\n"


async def test_volumes_are_shared_between_init_and_main_containers(cluster: EmbeddedCluster) -> None:
    await cluster.create(CONFIG_MAPS, "c", data={"a.txt": "A"})
    mounts = [{"name": "work", "mountPath": "/work"}, {"name": "conf", "mountPath": "/etc/conf"}]
    init = {"name": "init", "image": "millrace/materialize", "volumeMounts": mounts}
    async with cluster.running():
        await cluster.pod(
            "cat /work/one /work/two",
            container={"volumeMounts": mounts},
            initContainers=[
                {**init, "name": "i1", "command": ["cp", "/etc/conf/a.txt", "/work/one"]},
                {**init, "name": "i2", "command": ["sh", "-c", "cat /work/one > /work/two"]},
            ],
            volumes=[{"name": "work", "emptyDir": {}}, {"name": "conf", "configMap": {"name": "c"}}],
        )
        pod = await cluster.phase("Succeeded")
        assert await cluster.log() == "AA\n"
        assert [s["state"]["terminated"]["reason"] for s in pod["status"]["initContainerStatuses"]] == ["Completed"] * 2
        folder = cluster.settings.pods / pod["metadata"]["uid"]
        assert folder.is_dir()
        await cluster.client.delete(PODS, cluster.namespace, "p")
        await cluster.until_gone()
        await until_erased(folder)


async def until_erased(folder: Path) -> None:
    async with asyncio.timeout(20):
        while folder.exists():
            await asyncio.sleep(0.02)


async def test_a_config_map_volume_follows_its_source(cluster: EmbeddedCluster) -> None:
    await cluster.create(CONFIG_MAPS, "c", data={"a": "old"})
    async with cluster.running():
        await cluster.pod(
            "until grep -q new /conf/a; do sleep 0.05; done",
            container={"volumeMounts": [{"name": "v", "mountPath": "/conf"}]},
            volumes=[{"name": "v", "configMap": {"name": "c"}}],
        )
        await cluster.phase("Running")
        await cluster.client.patch(CONFIG_MAPS, cluster.namespace, "c", {"data": {"a": "new"}})
        await cluster.phase("Succeeded")


async def test_an_init_container_is_retried_as_the_pod_allows(cluster: EmbeddedCluster) -> None:
    init = {"name": "init", "image": "millrace/materialize", "command": ["sh", "-c", "exit 3"]}
    flaky = {**init, "command": ["sh", "-c", "test -e $HOME/x || { touch $HOME/x; exit 1; }"]}
    async with cluster.running():
        await cluster.pod("echo never", "a", initContainers=[init])
        await cluster.pod("echo main", "b", initContainers=[flaky], restartPolicy="OnFailure")
        pod = await cluster.phase("Failed", "a")
        assert ended(pod, "init", "initContainerStatuses")["exitCode"] == 3
        assert condition(pod, "Initialized") == "False"
        assert "waiting" in status_of(pod)["state"]
        pod = await cluster.phase("Succeeded", "b")
        assert status_of(pod, "init", "initContainerStatuses")["restartCount"] == 1


async def test_a_sidecar_runs_beside_and_ends_after_the_main_containers(cluster: EmbeddedCluster) -> None:
    side = {
        "name": "side",
        "image": "millrace/materialize",
        "restartPolicy": "Always",
        "command": ["sh", "-c", "echo up > $HOME/side; exec sleep 1000"],
        "startupProbe": {"exec": {"command": ["sh", "-c", "test -e $HOME/side"]}, "periodSeconds": 1},
    }
    async with cluster.running():
        await cluster.pod("cat $HOME/side", initContainers=[side])
        pod = await cluster.phase("Succeeded")
        assert await cluster.log(query="?container=main") == "up\n"
        assert ended(pod, "side", "initContainerStatuses")["exitCode"] == 143


async def test_a_crashing_container_is_restarted_ever_later_and_its_last_log_kept(cluster: EmbeddedCluster) -> None:
    script = "n=$(cat $HOME/n 2>/dev/null || echo 0); echo run $n; echo $((n+1)) > $HOME/n; exit 1"
    async with cluster.running():
        await cluster.pod(script, restartPolicy="Always")
        pod = await cluster.until(
            lambda pod: status_of(pod).get("state", {}).get("waiting", {}).get("reason") == "CrashLoopBackOff"
        )
        assert pod["status"]["phase"] == "Running"
        pod = await cluster.until(lambda pod: status_of(pod)["restartCount"] >= 3)
        assert status_of(pod)["lastState"]["terminated"]["exitCode"] == 1
        assert "Back-off restarting failed container main" in (await cluster.event("BackOff"))["message"]
        previous = await cluster.log(query="?previous=true")
        assert previous.startswith("run ")
        assert int(previous.split()[1]) >= 1


async def test_an_image_that_does_not_run_here_gets_one_event_and_waits(cluster: EmbeddedCluster) -> None:
    cluster.more = {"run_images": frozenset({"team/trainer"})}
    async with cluster.running():
        await cluster.pod(container={"image": "postgres:16"})
        await cluster.pod("echo ran", "t", container={"image": "registry:5000/team/trainer:2"})
        await cluster.phase("Succeeded", "t")
        event = await cluster.event("ImageNotRunnable")
        assert "--run-image postgres" in event["message"]
        pod = await cluster.client.get(PODS, cluster.namespace, "p")
        assert pod["status"]["phase"] == "Pending"
        assert status_of(pod)["state"]["waiting"]["reason"] == "ImageNotRunnable"
        await cluster.client.delete(PODS, cluster.namespace, "p")
        await cluster.until_gone()


async def test_a_command_that_cannot_start_says_so(cluster: EmbeddedCluster) -> None:
    async with cluster.running():
        await cluster.pod(container={"command": ["/no/such/program"]})
        pod = await cluster.phase("Failed")
        assert (ended(pod)["exitCode"], ended(pod)["reason"]) == (127, "StartError")
        assert "No such file" in ended(pod)["message"]


SERVER = """
import http.server, os, signal, sys, threading, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if os.path.exists("ready") or self.path != "/ready" else 503)
        self.end_headers()
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer((os.environ["IP"], 8080), Handler)
def end(*_):
    print("asked to end", flush=True)
    threading.Thread(target=lambda: (time.sleep(0.3), print("drained", flush=True), os._exit(0))).start()
signal.signal(signal.SIGTERM, end)
server.serve_forever()
"""
IP = {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}


async def test_readiness_and_startup_probes_decide_when_a_pod_is_ready(cluster: EmbeddedCluster) -> None:
    container = {
        "command": ["python", "-c", SERVER],
        "env": [IP],
        "ports": [{"name": "http", "containerPort": 8080}],
        "startupProbe": {"tcpSocket": {"port": "http"}, "failureThreshold": 60, "periodSeconds": 1},
        "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 1},
    }
    async with cluster.running():
        await cluster.pod(container=container)
        pod = await cluster.until(lambda pod: status_of(pod).get("started"))
        assert (condition(pod, "Ready"), status_of(pod)["ready"]) == ("False", False)
        (cluster.settings.pods / pod["metadata"]["uid"] / "home" / "ready").touch()
        pod = await cluster.until(lambda pod: condition(pod, "Ready") == "True")
        assert status_of(pod)["ready"]
        assert condition(pod, "ContainersReady") == "True"


async def test_a_failed_liveness_probe_restarts_the_container(cluster: EmbeddedCluster) -> None:
    probe = {"exec": {"command": ["sh", "-c", "test ! -e $HOME/sick"]}, "periodSeconds": 1, "failureThreshold": 1}
    async with cluster.running():
        await cluster.pod(
            "rm -f $HOME/sick; sleep 1000",
            container={"livenessProbe": probe},
            restartPolicy="Always",
            terminationGracePeriodSeconds=5,
        )
        pod = await cluster.phase("Running")
        (cluster.settings.pods / pod["metadata"]["uid"] / "home" / "sick").touch()
        pod = await cluster.until(lambda pod: status_of(pod)["restartCount"] == 1)
        assert (await cluster.event("Unhealthy"))["type"] == "Warning"
        assert status_of(pod)["lastState"]["terminated"]["exitCode"] == 143


async def test_deletion_drains_before_it_ends(cluster: EmbeddedCluster) -> None:
    hook = {"exec": {"command": ["sh", "-c", "echo hooked > $HOME/hook; sleep 0.2"]}}
    container = {
        "command": ["python", "-c", SERVER],
        "env": [IP],
        "readinessProbe": {"httpGet": {"path": "/", "port": 8080}},
        "lifecycle": {"preStop": hook},
    }
    async with cluster.running():
        await cluster.pod(container=container)
        pod = await cluster.until(lambda pod: condition(pod, "Ready") == "True")
        folder = cluster.settings.pods / pod["metadata"]["uid"]
        await cluster.client.delete(PODS, cluster.namespace, "p")
        pod = await cluster.until(lambda pod: condition(pod, "Ready") == "False")
        assert pod["metadata"]["deletionTimestamp"]
        assert "running" in status_of(pod)["state"]
        async with asyncio.timeout(20):
            while "drained" not in (await cluster.log() if folder.exists() else "drained"):
                await asyncio.sleep(0.02)
        await cluster.until_gone()


async def test_a_container_that_does_not_end_in_time_is_killed_and_a_forced_deletion_does_not_wait(
    cluster: EmbeddedCluster,
) -> None:
    async with cluster.running():
        script = "trap '' TERM; echo $$$$ > $HOME/pid; while :; do sleep 0.1; done"
        await cluster.pod(script, "slow", terminationGracePeriodSeconds=1)
        await cluster.pod(script, "forced", terminationGracePeriodSeconds=600)
        pids = []
        for name in ("slow", "forced"):
            pod = await cluster.phase("Running", name)
            file = cluster.settings.pods / pod["metadata"]["uid"] / "home" / "pid"
            pids.append(int(await _eventually(lambda file=file: _read(file))))
        await cluster.client.delete(PODS, cluster.namespace, "slow")
        await cluster.client.delete(PODS, cluster.namespace, "forced", grace=0)
        await cluster.until_gone("slow")
        await cluster.until_gone("forced")
        await until_dead(*pids)


async def _read(file: Path) -> str:
    text = file.read_text()
    assert text.strip()
    return text


async def test_a_pod_past_its_own_deadline_fails(cluster: EmbeddedCluster) -> None:
    async with cluster.running():
        await cluster.pod("sleep 1000", activeDeadlineSeconds=1)
        pod = await cluster.phase("Failed")
        assert pod["status"]["reason"] == "DeadlineExceeded"


async def test_a_volume_of_an_unknown_kind_gets_an_event(cluster: EmbeddedCluster) -> None:
    async with cluster.running():
        await cluster.pod(volumes=[{"name": "v", "nfs": {"server": "x", "path": "/"}}])
        assert "of kind nfs" in (await cluster.event("FailedMount"))["message"]
        await cluster.client.delete(PODS, cluster.namespace, "p")
        await cluster.until_gone()


async def test_a_node_that_ends_takes_its_processes_and_the_next_starts_them_again(cluster: EmbeddedCluster) -> None:
    script = "echo $$$$ > $HOME/pid; exec sleep 1000"
    async with cluster.running():
        await cluster.pod(script, "always", restartPolicy="Always")
        await cluster.pod(script, "once", restartPolicy="Never")
        pids, addresses = [], {}
        for name in ("always", "once"):
            pod = await cluster.phase("Running", name)
            addresses[name] = pod["status"]["podIP"]
            file = cluster.settings.pods / pod["metadata"]["uid"] / "home" / "pid"
            pids.append(int(await _eventually(lambda file=file: _read(file))))
    assert not any(is_alive(pid) for pid in pids)
    async with cluster.running():
        pod = await cluster.phase("Failed", "once")
        assert (pod["status"]["reason"], condition(pod, "DisruptionTarget")) == ("NodeLost", "True")
        pod = await cluster.until(
            lambda pod: status_of(pod)["restartCount"] == 1 and "running" in status_of(pod)["state"], "always"
        )
        assert status_of(pod)["lastState"]["terminated"]["reason"] == "ContainerStatusUnknown"
        # The old address may still be a ready endpoint somewhere, and this process was not seen to be ready.
        assert pod["status"]["podIP"] != addresses["always"]
        await cluster.client.delete(PODS, cluster.namespace, "always", grace=1)
        await cluster.until_gone("always")


async def test_init_containers_run_again_for_a_pod_whose_files_are_gone(cluster: EmbeddedCluster) -> None:
    """As where an API server was restored that still has a pod which the node has removed."""
    mounts = [{"name": "work", "mountPath": "/work"}]
    init = {"name": "i", "image": "millrace/materialize", "command": ["touch", "/work/made"], "volumeMounts": mounts}
    async with cluster.running():
        await cluster.pod(
            "cat /work/made && sleep 60",
            container={"volumeMounts": mounts},
            initContainers=[init],
            restartPolicy="Always",
            volumes=[{"name": "work", "emptyDir": {}}],
        )
        pod = await cluster.phase("Running")
    shutil.rmtree(cluster.settings.pods / pod["metadata"]["uid"])
    async with cluster.running():
        again = await cluster.until(
            lambda found: status_of(found)["restartCount"] == 1 and "running" in status_of(found)["state"]
        )
        assert again["status"]["initContainerStatuses"][0]["restartCount"] == 1


async def test_pods_deleted_while_no_node_ran_are_removed_by_the_next(cluster: EmbeddedCluster) -> None:
    async with cluster.running():
        await cluster.pod("sleep 1000", restartPolicy="Always")
        pod = await cluster.phase("Running")
    await cluster.client.delete(PODS, cluster.namespace, "p")
    async with cluster.running():
        await cluster.until_gone()
        await until_erased(cluster.settings.pods / pod["metadata"]["uid"])


async def test_a_later_pod_of_the_same_name_is_run_as_another_pod(cluster: EmbeddedCluster) -> None:
    async with cluster.running():
        await cluster.pod("sleep 1000", terminationGracePeriodSeconds=1)
        await cluster.phase("Running")
        await cluster.client.delete(PODS, cluster.namespace, "p", grace=0)
        await cluster.until_gone()
        await cluster.pod("echo second")
        await cluster.phase("Succeeded")
        assert await cluster.log() == "second\n"
