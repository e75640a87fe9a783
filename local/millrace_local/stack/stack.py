"""The embedded mode as an object: up, down, and what is needed to use it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from millrace_core.base.errors import NotFoundError, RejectError, ReportError
from millrace_kube.connection import load
from millrace_local.node.registration import holder
from millrace_local.stack import attach, checks, logs, processes, state
from millrace_local.stack.launch import packaged_crds, packaged_third_party, programs
from millrace_local.stack.plan import NODE, chosen
from millrace_local.stack.ports import OPTIONS, free_ports
from millrace_local.stack.settings import Layout, Ports, StackSettings
from millrace_local.stack.state import ComponentState, State

ALREADY_RUNNING = 3  # the exit code of a supervisor that finds another in its folder
_POLL_SECONDS = 0.02
_SUPERVISOR_STOP_SECONDS = 90.0
_KILL_SECONDS = 5.0

Progress = Callable[[State], None]


class LocalStack:
    """One embedded platform, in one folder. A context manager that is up inside the ``with`` block.

    Args:
        root: its folder; made if it is not there.
        ports: ``random`` takes free ports, ``defaults`` the fixed ones, a mapping those it names (``api``, ``ingress``,
            ``store``, ``operator``). A folder's ports are remembered: whatever is not named stays as it was.
        store_url: a Redis or Valkey that runs elsewhere.
        prometheus_url: the Prometheus that guardrails and scaling read.
        crds: YAML files or folders of Millrace's CRDs; the installed ones by default.
        third_party_crds: a YAML file or folder of the CRDs of others that Millrace writes; small ones by default.
        faults: whether the API server takes orders to fail, for tests.
        components: the components to run; all by default.
        kubeconfig: a cluster to attach to instead of an API server of its own: it keeps its controllers, and a Node
            of this machine joins it, where registry, gateway and models run.
        pod_cidr: addresses of this machine for pods; the real API server refuses those of 127.0.0.0/8.
        detach: whether the platform outlives the process that brings it up.
    """

    def __init__(
        self,
        root: Path,
        *,
        ports: Literal["defaults", "random"] | Mapping[str, int] = "defaults",
        store_url: str | None = None,
        prometheus_url: str | None = None,
        crds: Sequence[Path] | None = None,
        third_party_crds: Path | None = None,
        faults: bool = False,
        components: Sequence[str] = (),
        kubeconfig: Path | None = None,
        pod_cidr: str | None = None,
        detach: bool = True,
    ) -> None:
        self.layout = Layout(root.absolute())
        self._ports = ports
        self._store_url = store_url or ""
        self._prometheus_url = prometheus_url or ""
        self._crds = (*(crds or [packaged_crds()]), third_party_crds or packaged_third_party())
        self._faults = faults
        self._components = components
        self._kubeconfig = kubeconfig.absolute() if kubeconfig else None
        self._pod_cidr = pod_cidr or ""
        self._detach = detach
        self._supervisor: subprocess.Popen[bytes] | None = None

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig of the API server: the stack's own, or that of the cluster it is attached to."""
        return self._kubeconfig or self._attached_to() or self.layout.kubeconfig

    @property
    def api_url(self) -> str:
        """The API server's address."""
        settings = self._running_settings()
        return load(settings.given_kubeconfig).server if settings.given_kubeconfig else settings.api_url

    @property
    def ingress_url(self) -> str:
        """The mesh's address."""
        return self._running_settings().ingress_url

    @property
    def store_url(self) -> str:
        """The online store's address."""
        return self._running_settings().redis_url

    def status(self) -> State:
        """What runs now; its phase is ``stopped`` if no supervisor does."""
        found = state.read(self.layout.state)
        if processes.is_alive(found.supervisor):
            return found
        stopped = {name: ComponentState(port=one.port, health="stopped") for name, one in found.components.items()}
        return State(version=found.version, ports=found.ports, components=stopped)

    @property
    def is_running(self) -> bool:
        """Whether a supervisor runs in the folder."""
        return processes.is_alive(state.read(self.layout.state).supervisor)

    def up(self, timeout: float = 60.0, progress: Progress = lambda _: None) -> None:
        """Brings everything up and returns when all of it is ready; at once if it is so already.

        Args:
            timeout: seconds until everything must be ready.
            progress: called over and over with the present state.

        Raises:
            RejectError: a port is taken, an argument is wrong, the folder is no good, or it runs with other settings.
            ReportError: a component does not become ready; everything was ended again.
        """
        deadline = time.monotonic() + timeout
        settings = self._settings()
        if self.is_running:
            self._check_same(settings)
            self._wait_ready(deadline, progress)
            return
        self._end_leftovers()
        programs()
        checks.check(settings)
        try:
            self._supervisor = self._start_supervisor(settings)
            self._wait_ready(deadline, progress)
        except BaseException:
            self.down()
            raise

    def down(self, *, purge: bool = False) -> list[int]:
        """Ends everything; with ``purge`` removes the folder as well. Nothing to end is success.

        Of a cluster that it is attached to it takes the Node away, and leaves all else.

        Returns:
            The ids of processes that had to be killed because they did not end when asked to.
        """
        last = state.read(self.layout.state)
        supervisor = last.supervisor
        processes.kill(supervisor, signal.SIGTERM)
        if not processes.wait_ended(supervisor, _SUPERVISOR_STOP_SECONDS):
            processes.kill(supervisor, signal.SIGKILL)
        killed = self._end_leftovers()
        if self._supervisor is not None:
            self._supervisor.wait()
            self._supervisor = None
        cluster = self._attached_to()
        if cluster and last.phase != "stopped":
            asyncio.run(attach.remove_node(cluster, NODE, holder(self.layout.root)))
        if purge:
            self._purge()
        return killed

    def wait_ready(self, timeout: float) -> None:
        """Waits until every component is ready.

        Raises:
            ReportError: one is not in time; says which and why.
        """
        self._wait_ready(time.monotonic() + timeout, lambda _: None)

    def kill(self, component: str) -> None:
        """Kills a component's process, as a crash would, and returns when the supervisor has noticed.

        Raises:
            NotFoundError: no process of such a component runs.
        """
        self._signal(component, signal.SIGKILL, time.monotonic() + _KILL_SECONDS)

    def restart(self, component: str, timeout: float = 60.0) -> None:
        """Ends a component's process cleanly, and returns when its successor is ready.

        Raises:
            NotFoundError: no process of such a component runs.
            ReportError: it does not end, or its successor does not become ready.
        """
        deadline = time.monotonic() + timeout
        self._signal(component, signal.SIGTERM, deadline)
        while self.status().components[component].health != "ready":
            if time.monotonic() > deadline:
                raise ReportError(f"{component} is not ready again", hint=f"See {self.layout.log(component)}")
            time.sleep(_POLL_SECONDS)

    def logs(self, *components: str, follow: bool = False) -> Iterator[str]:
        """The lines of the logs of components, or of all; with ``follow`` also those to come, without an end.

        Raises:
            NotFoundError: there is no log of such a component.
        """
        return logs.read(self.layout.logs, components, follow=follow)

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def _settings(self) -> StackSettings:
        """What this object asks for, with the folder's remembered ports."""
        return StackSettings(
            root=self.layout.root,
            ports=self._chosen_ports(),
            store_url=self._store_url,
            prometheus_url=self._prometheus_url,
            crds=self._crds,
            faults=self._faults,
            components=chosen(self._components, store_url=self._store_url, attached=self._kubeconfig is not None),
            given_kubeconfig=self._kubeconfig,
            pod_cidr=self._pod_cidr,
        )

    def _chosen_ports(self) -> Ports:
        remembered = state.read(self.layout.state).ports
        given = self._ports if isinstance(self._ports, Mapping) else {}
        fresh = free_ports() if self._ports == "random" and not remembered else Ports()
        return Ports(**{**asdict(fresh), **{name: remembered[name] for name in OPTIONS if name in remembered}, **given})

    def _running_settings(self) -> StackSettings:
        """The settings of the running stack, or of the last one.

        Raises:
            RejectError: the folder has never been up.
        """
        try:
            return StackSettings.from_json(json.loads(self.layout.settings.read_bytes()))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RejectError(f"nothing has run in {self.layout.root}", hint="Bring it up first") from error

    def _attached_to(self) -> Path | None:
        """The kubeconfig of the cluster that the folder's stack is, or was, attached to."""
        try:
            return self._running_settings().given_kubeconfig
        except RejectError:
            return None

    def _check_same(self, settings: StackSettings) -> None:
        running, wanted = self._running_settings().to_json(), settings.to_json()
        other = sorted(name for name in wanted if wanted[name] != running[name])
        if other:
            raise RejectError(
                f"the platform in {self.layout.root} runs already, with other {', '.join(other)}",
                hint="Bring it down first, or leave these options out",
                reason="AlreadyRunning",
            )

    def _start_supervisor(self, settings: StackSettings) -> subprocess.Popen[bytes]:
        self.layout.logs.mkdir(parents=True, exist_ok=True)
        state.replace_whole(self.layout.settings, json.dumps(settings.to_json(), indent=1))
        follow = [] if self._detach else ["--parent", str(os.getpid())]
        with self.layout.log("supervisor").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "millrace_local.stack", str(self.layout.root), *follow],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _wait_ready(self, deadline: float, progress: Progress) -> None:
        wanted = self._running_settings().components
        while True:
            now = self.status()
            progress(now)
            waiting = [name for name in wanted if name not in now.components or now.components[name].health != "ready"]
            if not waiting and now.supervisor.pid:
                return
            self._check_failed(now)
            if time.monotonic() > deadline:
                why = "; ".join(f"{name}: {now.components.get(name, ComponentState()).message}" for name in waiting)
                raise ReportError(f"not ready in time: {why}", hint=f"See the logs in {self.layout.logs}")
            time.sleep(_POLL_SECONDS)

    def _check_failed(self, now: State) -> None:
        if now.phase == "failed":
            raise ReportError(f"the platform does not start: {now.error}", hint=f"See the logs in {self.layout.logs}")
        if self._supervisor is None:
            return
        code = self._supervisor.poll()
        if code is not None and code != ALREADY_RUNNING:
            said = logs.tail(self.layout.log("supervisor"), 5)
            raise ReportError(f"the supervisor ended with exit code {code}: {said}")

    def _signal(self, component: str, number: signal.Signals, deadline: float) -> None:
        process = self.status().components.get(component, ComponentState()).process
        if not process.pid:
            running = [name for name, one in self.status().components.items() if one.process.pid]
            raise NotFoundError(f"no process of {component!r} runs", hint=f"These run: {', '.join(running) or 'none'}")
        processes.kill(process, number)
        while self.status().components[component].process == process:
            if time.monotonic() > deadline:
                raise ReportError(f"{component} does not end", hint=f"See {self.layout.log(component)}")
            time.sleep(_POLL_SECONDS)

    def _end_leftovers(self) -> list[int]:
        """Ends processes whose supervisor is gone; the ids of those that had to be killed."""
        left = processes.marked(self.layout.root)
        for process in left:
            processes.kill(process, signal.SIGTERM)
        deadline = time.monotonic() + _KILL_SECONDS
        stubborn = [one for one in left if not processes.wait_ended(one, max(deadline - time.monotonic(), 0.0))]
        for process in stubborn:
            processes.kill(process, signal.SIGKILL)
            processes.wait_ended(process, _KILL_SECONDS)
        return [process.pid for process in stubborn]

    def _purge(self) -> None:
        """Removes the folder, if it is one of ours: a mistaken --root must not cost anybody's files."""
        if self.layout.settings.exists():
            shutil.rmtree(self.layout.root)
