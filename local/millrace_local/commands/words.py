"""What ``millrace local`` says: progress, the farewell of ``up``, the table of ``status``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from millrace_local.stack import LocalStack
from millrace_local.stack.platform import service_url
from millrace_local.stack.state import State

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
Without a Prometheus (--prometheus URL) nothing is scaled by its load.
"""
PODS = ("registry", "gateway")


class Progress:
    """Says each component's readiness once, in the order in which it comes."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._said: dict[str, str] = {}

    def __call__(self, now: State) -> None:
        """Takes the present state."""
        for name, one in now.components.items():
            news = ""
            if one.health == "ready":
                news = f"ready    {TITLES[name]}" + (f", 127.0.0.1:{one.port}" if one.port else "")
            elif one.health == "restarting":
                news = f"again    {TITLES[name]}: {one.message}"
            if news and self._said.get(name) != news:
                self._said[name] = news
                self._say(news)


def farewell(stack: LocalStack, seconds: float | None, *, prometheus: bool) -> str:
    """How to use what is up; ``seconds`` it took, None if it was up before; whether it has a Prometheus."""
    host = service_url("gateway").removeprefix("http://")
    ready = "The platform is running already" if seconds is None else f"The platform is ready in {seconds:.1f} s"
    return f"""{ready}.

  export KUBECONFIG={stack.kubeconfig}
  kubectl get pods --all-namespaces

Services answer at {stack.ingress_url} by their Host header:

  curl -s -H 'Host: {host}' {stack.ingress_url}/health/ready
{"" if prometheus else NO_PROMETHEUS}"""


def table(now: State, root: Path) -> str:
    """The components in columns, as kubectl writes them."""
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
