"""Requests that are lost while pods go: rollouts, kills, stops, deletions, and a scale to three and back, under load.

The embedded mode, one model behind the mesh on two pods, a few connections that ask without a pause. What is measured
is losses, so the machine may be busy. ``python -m benchmarks.serving_load [requests]`` takes another number.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from millrace_local.stack import LocalStack
from tests.builders import model_deployment
from tests.e2e.kubectl import Kubectl
from tests.e2e.load import Load, processes_of, signal_pod
from tests.onnx_models import write_linear

REQUESTS = 100_000
CONNECTIONS = 8
MOST_SECONDS = 1_500.0  # no round begins after that
STEP_SECONDS = 180.0
PODS = "millrace.dev/deployment=fraud"
LIMIT = 0


def eventually(what: str, check: Callable[[], Any]) -> None:
    until = time.monotonic() + STEP_SECONDS
    while not check():
        if time.monotonic() > until:
            raise TimeoutError(f"not within {STEP_SECONDS:.0f} s: {what}")
        time.sleep(0.2)


class Disturbances:
    """What happens to the pods of ``fraud``; each ends when all serve again."""

    def __init__(self, kubectl: Kubectl, folder: Path) -> None:
        self._kubectl = kubectl
        self._models = [write_linear(folder / f"{factor}.onnx", factor=factor) for factor in (1, 2)]
        self._rollouts = 0

    def deploy(self) -> None:
        """The model that does not serve now."""
        model = self._models[self._rollouts % 2]
        self._rollouts += 1
        self._kubectl.apply(model_deployment("fraud", f"file://{model}").having("spec.replicas", 2).build())

    def settled(self, count: int) -> None:
        def holds() -> bool:
            status = self._kubectl.get("md", "fraud").get("status", {})
            ready = {item["type"]: item["status"] for item in status.get("conditions", ())}.get("Ready")
            pods = self._kubectl.list("pods", PODS)
            return bool(
                ready == "True" and status["replicas"] == {"ready": count, "desired": count} and len(pods) == count
            )

        eventually(f"{count} pods", holds)

    def rollout(self) -> None:
        before = self._kubectl.get("md", "fraud")["status"]["revision"]
        self.deploy()
        eventually("another revision", lambda: self._kubectl.get("md", "fraud")["status"]["revision"] != before)

    def kill_pod(self) -> None:
        self._until_restarted(lambda pod: signal_pod(pod, signal.SIGKILL))

    def kill_server(self) -> None:
        """The process that runs the model alone; the one that keeps the port starts another."""
        pod = self._kubectl.list("pods", PODS)[0]
        child = processes_of(pod)[-1]
        os.kill(child, signal.SIGKILL)
        eventually("another process", lambda: len(found := processes_of(pod)) > 1 and child not in found)

    def stop_pod(self) -> None:
        """Until the node kills it, because its liveness probe fails."""
        self._until_restarted(lambda pod: signal_pod(pod, signal.SIGSTOP))

    def stop_pod_for_a_while(self) -> None:
        pod = self._kubectl.list("pods", PODS)[0]
        signal_pod(pod, signal.SIGSTOP)
        time.sleep(5)
        signal_pod(pod, signal.SIGCONT)

    def delete_pod(self) -> None:
        name = self._kubectl.list("pods", PODS)[0]["metadata"]["name"]
        self._kubectl.run("delete", "pod", name)

    def scale(self) -> None:
        self._kubectl.run("scale", "md", "fraud", "--replicas=3")
        self.settled(3)
        self._kubectl.run("scale", "md", "fraud", "--replicas=2")

    def _until_restarted(self, disturb: Callable[[dict[str, Any]], None]) -> None:
        pod = self._kubectl.list("pods", PODS)[0]
        name, before = pod["metadata"]["name"], _restarts(pod)
        disturb(pod)
        eventually("a restart", lambda: _restarts(self._kubectl.get("pod", name)) > before)


def _restarts(pod: dict[str, Any]) -> int:
    return sum(int(each["restartCount"]) for each in pod["status"].get("containerStatuses", ()))


def measure(stack: LocalStack, folder: Path, requests: int) -> bool:
    """Disturbs until there were so many requests; prints what became of them, and whether none failed."""
    kubectl = Kubectl(stack.kubeconfig, "default")
    disturbances = Disturbances(kubectl, folder)
    disturbances.deploy()
    disturbances.settled(2)
    steps = [
        disturbances.rollout,
        disturbances.kill_pod,
        disturbances.kill_server,
        disturbances.stop_pod_for_a_while,
        disturbances.delete_pod,
        disturbances.scale,
        disturbances.stop_pod,
    ]
    began, rounds = time.monotonic(), 0
    load = Load(stack.ingress_url, "fraud", "default", CONNECTIONS)
    with load:
        while load.done < requests and time.monotonic() - began < MOST_SECONDS:
            for step in steps:
                asked, failed = load.done, load.failures.total()
                at = time.monotonic()
                step()
                disturbances.settled(2)
                lost = load.failures.total() - failed
                print(
                    f"{step.__name__:<22} {load.done - asked:>7,} requests in {time.monotonic() - at:5.1f} s, "
                    f"{lost} failed",
                    flush=True,
                )
            rounds += 1
    print(
        f"{load.done:,} requests over {rounds} rounds, p50 {load.percentile(50):.1f} ms, "
        f"p99 {load.percentile(99):.1f} ms, longest {load.percentile(100) / 1e3:.1f} s; outputs {dict(load.answers)}"
    )
    for kind, count in load.failures.most_common():
        print(f"  {count} times: {kind}")
    print(f"failed {load.failures.total()}   limit {LIMIT}")
    return load.failures.total() <= LIMIT and load.done >= requests


def main(requests: int = REQUESTS) -> int:
    """Returns 1 if a request failed, or fewer were made."""
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder:
        stack = LocalStack(Path(folder) / "stack", ports="random", detach=False)
        stack.up(120.0)
        try:
            return 0 if measure(stack, Path(folder), requests) else 1
        finally:
            stack.down()


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:2])))
