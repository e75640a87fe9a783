"""What ``millrace local`` prints: progress, next steps after ``up``, the table of ``status``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from millrace_local.stack import LocalStack
from millrace_local.stack.platform import service_url
from millrace_local.stack.state import StackState

TITLES = {
    "store": "online store (Valkey)",
    "apiserver": "API server",
    "mesh": "mesh (Envoy)",
    "agent": "controllers and node",
    "operator": "operators",
    "registry": "registry",
    "gateway": "gateway",
}


NO_PROMETHEUS = """
Without a Prometheus (--prometheus URL) load is read from the pods themselves.
"""
PODS = ("registry", "gateway")


class ProgressPrinter:
    """Prints once that a component is ready or restarts."""

    def __init__(self, echo: Callable[[str], None]) -> None:
        self._echo = echo
        self._printed: dict[str, str] = {}

    def __call__(self, now: StackState) -> None:
        for name, one in now.components.items():
            line = ""
            if one.health == "ready":
                line = f"ready    {TITLES[name]}" + (f", 127.0.0.1:{one.port}" if one.port else "")
            elif one.health == "restarting":
                line = f"again    {TITLES[name]}: {one.message}"
            if line and self._printed.get(name) != line:
                self._printed[name] = line
                self._echo(line)


def next_steps(stack: LocalStack, seconds: float | None, *, prometheus: bool) -> str:
    """How to use the platform; ``seconds`` is how long ``up`` took, None if it ran already."""
    host = service_url("gateway").removeprefix("http://")
    ready = "The platform is running already" if seconds is None else f"The platform is ready in {seconds:.1f} s"
    return f"""{ready}.

  export KUBECONFIG={stack.kubeconfig}
  kubectl get pods --all-namespaces

Services answer at {stack.ingress_url} by their Host header:

  curl -s -H 'Host: {host}' {stack.ingress_url}/health/ready

or, where a program takes a URL alone, such as --gateway, by their names with that address as the proxy:

  export http_proxy={stack.ingress_url} MILLRACE_GATEWAY_URL={service_url("gateway")}
{"" if prometheus else NO_PROMETHEUS}"""


def table(now: StackState, root: Path) -> str:
    """The components in columns, in kubectl's style."""
    if not now.supervisor.pid:
        return f"Nothing runs in {root}"
    rows = [("COMPONENT", "HEALTH", "PID", "PORT", "RESTARTS", "MESSAGE")]
    for name, one in now.components.items():
        message = one.message.strip().splitlines()[-1:] or [""]
        pid = one.process.pid or ("in a pod" if name in PODS else "-")
        rows.append((name, one.health, str(pid), str(one.port or "-"), str(one.restarts), message[0]))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    head = f"Millrace {now.version}, {now.phase}, supervised by process {now.supervisor.pid}"
    return "\n".join((head, "", *lines))
