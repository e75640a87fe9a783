"""The components of a stack: for each its command and its health check. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from millrace_core.base import open_destinations
from millrace_core.base.errors import RejectError
from millrace_local.agent.settings import MESH_SECRET
from millrace_local.stack.health import ApiCheck, Check, HeartbeatCheck, HttpCheck, RedisCheck
from millrace_local.stack.platform import NAMESPACE, service_url
from millrace_local.stack.settings import HOST, StackSettings

# In the order of ``status``; a component may depend on earlier ones.
COMPONENTS = ("store", "apiserver", "mesh", "agent", "operator", "registry", "gateway")
NO_PROXY = "127.0.0.0/8,127.0.0.1,localhost,::1"
NODE = "millrace"
HEARTBEAT_SECONDS = 40.0  # the time after which Kubernetes takes a node for lost


@dataclass(frozen=True)
class Programs:
    """The programs that components run."""

    python: str
    store: str
    mesh: tuple[str, ...]


@dataclass(frozen=True)
class Component:
    """One component.

    Attributes:
        name: its name in status and logs.
        check: its health check.
        command: the process to run; empty for a pod.
        after: components that must be ready before it starts.
        needs: components without which it is not ready, whatever its check says; those are earlier ones.
        environ: variables beside those of the stack.
        directory: its working directory; the stack's folder by default.
        port: the port it serves; 0 for none of its own.
        stop_seconds: how long it may take to stop.
    """

    name: str
    check: Check
    command: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    directory: Path | None = None
    port: int = 0
    stop_seconds: float = 5.0


def choose_components(names: Sequence[str], *, store_url: str, attached: bool = False) -> tuple[str, ...]:
    """The components to run, in order: those named, or all; without a store or an API server that runs elsewhere.

    Raises:
        RejectError: there is no component of that name, or one lacks another that it needs.
    """
    for name in names:
        if name not in COMPONENTS:
            raise RejectError(f"there is no component {name!r}", hint=f"There are {', '.join(COMPONENTS)}")
    elsewhere = {name for name, is_given in (("store", store_url), ("apiserver", attached)) if is_given}
    found = tuple(name for name in COMPONENTS if not names or name in names)
    for name in found:
        for needed in _NEEDS.get(name, ()):
            if needed not in (*found, *elsewhere):
                raise RejectError(f"component {name} needs {needed}", hint=f"Add {needed}, or leave {name} out")
    return tuple(name for name in found if name not in elsewhere)


_NEEDS: Mapping[str, tuple[str, ...]] = {
    "agent": ("apiserver",),
    "operator": ("apiserver",),
    "registry": ("agent", "mesh"),
    "gateway": ("agent", "mesh", "registry", "store"),
}


def components_of(settings: StackSettings, programs: Programs) -> tuple[Component, ...]:
    """The components that ``settings.components`` names."""
    every = {
        "store": _store(settings, programs),
        "apiserver": _apiserver(settings, programs),
        "mesh": _mesh(settings, programs),
        "agent": _agent(settings, programs),
        "operator": _operator(settings, programs),
        "registry": _pod(settings, "registry"),
        "gateway": _pod(settings, "gateway"),
    }
    run = settings.components

    def running(names: Sequence[str]) -> tuple[str, ...]:
        return tuple(name for name in names if name in run)

    return tuple(
        replace(every[name], after=running(every[name].after), needs=running(_NEEDS.get(name, ()))) for name in run
    )


def _store(settings: StackSettings, programs: Programs) -> Component:
    port = settings.ports.store
    options = {
        "bind": HOST,
        "port": str(port),
        "dir": str(settings.paths.store),
        "appendonly": "yes",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    command = [
        programs.store,
        str(settings.paths.store_settings),
        *(word for name, value in options.items() for word in (f"--{name}", value)),
    ]
    return Component("store", RedisCheck(settings.redis_url), tuple(command), port=port)


def _apiserver(settings: StackSettings, programs: Programs) -> Component:
    paths, port = settings.paths, settings.ports.api
    command = [programs.python, "-m", "millrace_local.apiserver", "--data", str(paths.api), "--port", str(port)]
    command += ["--kubeconfig", str(paths.kubeconfig), "--pods", str(paths.pods)]
    for path in (*settings.crds, paths.platform):
        command += ["--crds", str(path)]
    if settings.faults:
        command += ["--faults"]
    return Component("apiserver", ApiCheck(paths.kubeconfig, "/readyz"), tuple(command), port=port)


def _mesh(settings: StackSettings, programs: Programs) -> Component:
    directory = settings.paths.mesh
    check = HttpCheck(path="/ready", socket=directory / "admin.sock")
    return Component("mesh", check, programs.mesh, directory=directory, port=settings.ports.ingress)


def _agent(settings: StackSettings, programs: Programs) -> Component:
    paths = settings.paths
    command = [programs.python, "-m", "millrace_local.agent", "--kubeconfig", str(settings.kubeconfig)]
    command += ["--root", str(paths.root), "--node", NODE, "--proxy", settings.ingress_url]
    if settings.prometheus_url:
        command += ["--prometheus", settings.prometheus_url]
    if settings.pod_cidr:
        command += ["--pod-cidr", settings.pod_cidr]
    if settings.given_kubeconfig:
        command += ["--only", "node,mesh"]  # the cluster has controllers of its own
    lease = f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{NODE}"
    check = HeartbeatCheck(settings.kubeconfig, lease, HEARTBEAT_SECONDS)
    # It does not wait for the API server but retries, since both take equally long to load their libraries. Its pods
    # end with it, and may finish their requests.
    environ = {MESH_SECRET: settings.mesh_secret}
    return Component("agent", check, tuple(command), environ=environ, stop_seconds=40.0)


def _operator(settings: StackSettings, programs: Programs) -> Component:
    environ = {
        "KUBECONFIG": str(settings.kubeconfig),
        "MILLRACE_HOST": HOST,
        "MILLRACE_HEALTH_PORT": str(settings.ports.operator),
        "MILLRACE_ALLOWED_HOSTS": "localhost,127.0.0.0/8,::1",
        "MILLRACE_NAMESPACE": NAMESPACE,
        "MILLRACE_STORE_URL": settings.redis_url,
        "MILLRACE_REGISTRY_URL": service_url("registry"),
        "MILLRACE_GATEWAY_URL": service_url("gateway"),
        "MILLRACE_LAKE_URI": settings.paths.lake.as_uri(),
        "MILLRACE_PROMETHEUS_URL": settings.prometheus_url,
        "MILLRACE_MODEL_CACHE": json.dumps({"hostPath": str(settings.paths.models), "size": "10Gi"}),
        # Everything here runs with the rights of the one person whose machine it is.
        open_destinations.VARIABLE: open_destinations.TEXT,
        "http_proxy": settings.ingress_url,
        "no_proxy": NO_PROXY,
    }
    return Component(
        "operator",
        HttpCheck(settings.ports.operator, "/health/ready"),
        (programs.python, "-m", "millrace_operators.operator"),
        after=("apiserver",),
        environ=environ,
        port=settings.ports.operator,
    )


def _pod(settings: StackSettings, name: str) -> Component:
    """A service that the node runs as a pod; checked through the mesh, as clients reach it."""
    check = HttpCheck(settings.ports.ingress, "/health/ready", host=service_url(name).removeprefix("http://"))
    return Component(name, check)
