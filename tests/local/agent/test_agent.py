"""The agent as a process: its arguments, how it ends, and that nothing is left when it is killed."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from millrace_core.base.errors import RejectError
from millrace_kube.resources import PODS
from millrace_local.agent.settings import parse
from millrace_local.apiserver.process import RunningServer
from tests import warm_process
from tests.local.cluster import EmbeddedCluster
from tests.local.node.test_processes import is_alive, until_dead

REQUIRED = ["--kubeconfig", "k", "--root", "r"]


def test_arguments_become_settings() -> None:
    found = parse(
        [
            *REQUIRED,
            "--node",
            "n",
            "--only",
            "node",
            "--run-image",
            "a/b",
            "--run-image",
            "c",
            "--proxy",
            "http://127.0.0.1:1/",
        ],
        {"MILLRACE_MESH_SECRET": "s"},
    )
    assert found.mesh_secret == "s"
    assert "'s'" not in repr(found)
    assert (found.node, found.only, found.run_images) == ("n", frozenset({"node"}), frozenset({"a/b", "c"}))
    assert (found.proxy, found.root) == ("http://127.0.0.1:1", Path("r").absolute())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--only", "nodes"], "--only: 'nodes' is not among controllers, node, mesh"),
        (["--proxy", "127.0.0.1:80"], "--proxy: '127.0.0.1:80' is no URL"),
        (["--overcommit", "0.5"], "--overcommit: 0.5 is below 1"),
        (["--pod-cidr", "10.201"], "--pod-cidr: '10.201' is no network"),
    ],
)
def test_wrong_arguments_are_named(arguments: list[str], told: str) -> None:
    with pytest.raises(RejectError) as caught:
        parse([*REQUIRED, *arguments], {})
    assert told in str(caught.value)


def agent(kubeconfig: Path, root: Path, node: str) -> warm_process.WarmProcess:
    """It writes to ``log`` in its folder."""
    words = ["-m", "millrace_local.agent", "--kubeconfig", str(kubeconfig), "--root", str(root), "--node", node]
    return warm_process.start([*words, "--only", "controllers,node"], os.environ, root, root / "log")


def test_a_missing_kubeconfig_ends_the_agent_with_a_sentence(tmp_path: Path) -> None:
    process = agent(tmp_path / "none", tmp_path, "n")
    assert process.wait(60) == 2
    said = (tmp_path / "log").read_text()
    assert "cannot read the kubeconfig" in said
    assert "Traceback" not in said


async def test_a_second_agent_in_the_same_folder_ends_with_a_sentence(
    cluster: EmbeddedCluster, server: RunningServer
) -> None:
    async with cluster.running():
        await cluster.pod("true")
        await cluster.phase("Succeeded")
        second = agent(server.kubeconfig, cluster.root, "other")
        assert await asyncio.to_thread(second.wait, 60) == 2
    said = (cluster.root / "log").read_text()
    assert "another node runs in" in said
    assert "Traceback" not in said


async def pids_of(cluster: EmbeddedCluster, uid: str) -> list[int]:
    file = cluster.root / "pods" / uid / "home" / "pids"
    async with asyncio.timeout(30):
        while not file.exists():
            await asyncio.sleep(0.02)
    return [int(pid) for pid in file.read_text().split()]


async def test_a_killed_agent_leaves_nothing_and_the_next_goes_on(
    cluster: EmbeddedCluster, server: RunningServer
) -> None:
    script = "sleep 1000 & echo $$$$ $! > $HOME/new; mv $HOME/new $HOME/pids; wait"
    first = agent(server.kubeconfig, cluster.root, cluster.node)
    second = None
    try:
        pod = await cluster.pod(script, restartPolicy="Always", terminationGracePeriodSeconds=1)
        await cluster.phase("Running")
        uid = pod["metadata"]["uid"]
        before = await pids_of(cluster, uid)
        assert all(is_alive(pid) for pid in before)
        first.kill()
        first.wait()
        await until_dead(*before)
        (cluster.root / "pods" / uid / "home" / "pids").unlink()
        second = agent(server.kubeconfig, cluster.root, cluster.node)
        await cluster.until(lambda pod: pod["status"]["containerStatuses"][0]["restartCount"] == 1)
        after = await pids_of(cluster, uid)
        second.send_signal(signal.SIGTERM)
        assert second.wait(60) == 0, (cluster.root / "log").read_text()
        assert not any(is_alive(pid) for pid in after)
        left = await cluster.client.get(PODS, cluster.namespace, "p")
        assert left["status"]["phase"] == "Running"
    finally:
        for process in (first, second):
            if process and process.poll() is None:
                process.kill()
                process.wait()
