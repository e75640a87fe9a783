"""The embedded mode as an object: start it, stop it, and find out how to reach it."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from millrace_core.base.errors import NotFoundError, RejectError, ReportError
from millrace_core.base.lazy_import import lazy_import
from millrace_kube.connection import load
from millrace_local.atomic_file import write_atomically
from millrace_local.stack import health, logs, preflight, processes, state
from millrace_local.stack.components import NODE, choose_components, components_of
from millrace_local.stack.launch import packaged_crds, packaged_third_party, programs
from millrace_local.stack.ports import OPTIONS, free_ports
from millrace_local.stack.settings import Ports, StackPaths, StackSettings
from millrace_local.stack.state import ComponentState, StackState

if TYPE_CHECKING:
    from millrace_local.stack import attach
else:
    # The client of a foreign cluster comes with it, for which no stack of its own need wait.
    attach = lazy_import("millrace_local.stack.attach")

EXIT_ALREADY_RUNNING = 3  # exit code of a supervisor whose folder has another one
_POLL_SECONDS = 0.02
_SUPERVISOR_STOP_SECONDS = 90.0
_KILL_SECONDS = 5.0
_SECRETS = ("store_password", "mesh_secret")
_SECRET_BYTES = 24

Progress = Callable[[StackState], None]


class LocalStack:
    """One embedded platform, in one folder. A context manager: the platform is up inside the ``with`` block.

    Args:
        root: its folder; created if it does not exist.
        ports: ``random`` takes free ports, ``defaults`` the fixed ones, a mapping those it names (``api``, ``ingress``,
            ``store``, ``operator``). A folder remembers its ports: those that are not named stay as they were.
        store_url: a Redis or Valkey that runs elsewhere.
        prometheus_url: the Prometheus that guardrails and scaling read.
        crds: YAML files or folders of Millrace's CRDs; the installed ones by default.
        third_party_crds: a YAML file or folder of the CRDs of others that Millrace writes; small ones by default.
        faults: whether the API server serves ``/faults``, for tests.
        components: the components to run; all by default.
        kubeconfig: a cluster to attach to instead of an API server of its own. It keeps its controllers; a Node of this
            machine joins it and runs registry, gateway and models.
        pod_cidr: addresses of this machine for pods; a real API server refuses those of 127.0.0.0/8.
        detach: whether the platform outlives the process that starts it.
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
        self.paths = StackPaths(root.absolute())
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
        return self._kubeconfig or self._attached_to() or self.paths.kubeconfig

    @property
    def api_url(self) -> str:
        """The URL of the API server."""
        settings = self._running_settings()
        return load(settings.given_kubeconfig).server if settings.given_kubeconfig else settings.api_url

    @property
    def ingress_url(self) -> str:
        """The URL of the mesh."""
        return self._running_settings().ingress_url

    @property
    def store_url(self) -> str:
        """The URL of the online store."""
        return self._running_settings().redis_url

    def status(self) -> StackState:
        """The current state; its phase is ``stopped`` if no supervisor runs."""
        found = state.read(self.paths.state)
        if processes.is_alive(found.supervisor):
            return found
        stopped = {name: ComponentState(port=one.port, health="stopped") for name, one in found.components.items()}
        return StackState(version=found.version, ports=found.ports, components=stopped)

    @property
    def is_running(self) -> bool:
        """Whether a supervisor runs in the folder."""
        return processes.is_alive(state.read(self.paths.state).supervisor)

    def up(self, timeout: float = 60.0, progress: Progress = lambda _: None) -> None:
        """Starts everything and returns when it is ready; returns at once if it is ready already.

        Args:
            timeout: seconds until everything must be ready.
            progress: called repeatedly with the current state.

        Raises:
            RejectError: a port is taken, an argument is wrong, the folder cannot be used, or it runs with other
                settings.
            ReportError: a component does not become ready; everything was stopped again.
        """
        deadline = time.monotonic() + timeout
        settings = self._settings()
        if self.is_running:
            self._check_same(settings)
            self._wait_ready(deadline, progress)
            return
        self._end_orphans()
        programs()
        preflight.check(settings)
        try:
            self._supervisor = self._start_supervisor(settings)
            self._wait_ready(deadline, progress)
        except BaseException:
            self.down()
            raise

    def down(self, *, purge: bool = False) -> list[int]:
        """Stops everything; with ``purge`` removes the folder as well. Does nothing if nothing runs.

        From a cluster that the stack is attached to it removes the Node, and nothing else.

        Returns:
            The ids of processes that had to be killed because they did not end on SIGTERM.
        """
        last = state.read(self.paths.state)
        supervisor = last.supervisor
        processes.kill(supervisor, signal.SIGTERM)
        if not processes.wait_ended(supervisor, _SUPERVISOR_STOP_SECONDS):
            processes.kill(supervisor, signal.SIGKILL)
        killed = self._end_orphans()
        if self._supervisor is not None:
            self._supervisor.wait()
            self._supervisor = None
        cluster = self._attached_to()
        if cluster and last.phase != "stopped":
            attach.leave(cluster, NODE, self.paths.root)
        if purge:
            self._purge()
        return killed

    def wait_ready(self, timeout: float) -> None:
        """Waits until every component is ready.

        Raises:
            ReportError: one is not ready in time; names it and its last message.
        """
        self._wait_ready(time.monotonic() + timeout, lambda _: None)

    def kill(self, component: str) -> None:
        """Kills a component's process, as a crash would; returns when the supervisor has noticed.

        Raises:
            NotFoundError: no process of that component runs.
        """
        self._signal(component, signal.SIGKILL, time.monotonic() + _KILL_SECONDS)

    def restart(self, component: str, timeout: float = 60.0) -> None:
        """Stops a component's process; returns when its successor is ready.

        Raises:
            NotFoundError: no process of that component runs.
            ReportError: it does not end, or its successor does not become ready.
        """
        deadline = time.monotonic() + timeout
        self._signal(component, signal.SIGTERM, deadline)
        while self.status().components[component].health != "ready":
            if time.monotonic() > deadline:
                raise ReportError(f"{component} is not ready again", hint=f"See {self.paths.log(component)}")
            time.sleep(_POLL_SECONDS)

    def logs(self, *components: str, follow: bool = False) -> Iterator[str]:
        """The lines of the logs of components, or of all; with ``follow`` also those to come, for ever.

        Raises:
            NotFoundError: there is no log of that component.
        """
        return logs.read(self.paths.logs, components, follow=follow)

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def _settings(self) -> StackSettings:
        """The settings of this object, with the ports that the folder remembers."""
        return StackSettings(
            root=self.paths.root,
            ports=self._chosen_ports(),
            store_url=self._store_url,
            prometheus_url=self._prometheus_url,
            crds=self._crds,
            faults=self._faults,
            components=choose_components(
                self._components, store_url=self._store_url, attached=self._kubeconfig is not None
            ),
            given_kubeconfig=self._kubeconfig,
            pod_cidr=self._pod_cidr,
            **self._secrets(),
        )

    def _secrets(self) -> dict[str, str]:
        """The secrets that the folder's stack has, or new ones."""
        try:
            last = self._running_settings()
        except RejectError:
            last = StackSettings(self.paths.root)
        return {name: getattr(last, name) or secrets.token_urlsafe(_SECRET_BYTES) for name in _SECRETS}

    def _chosen_ports(self) -> Ports:
        remembered = state.read(self.paths.state).ports
        given = self._ports if isinstance(self._ports, Mapping) else {}
        fresh = free_ports() if self._ports == "random" and not remembered else Ports()
        return Ports(**{**asdict(fresh), **{name: remembered[name] for name in OPTIONS if name in remembered}, **given})

    def _running_settings(self) -> StackSettings:
        """The settings of the running stack, or of the last one.

        Raises:
            RejectError: nothing has ever run in the folder.
        """
        try:
            return StackSettings.from_json(json.loads(self.paths.settings.read_bytes()))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RejectError(f"nothing has run in {self.paths.root}", hint="Bring it up first") from error

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
                f"the platform in {self.paths.root} runs already, with other {', '.join(other)}",
                hint="Bring it down first, or leave these options out",
                reason="AlreadyRunning",
            )

    def _start_supervisor(self, settings: StackSettings) -> subprocess.Popen[bytes]:
        self.paths.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(self.paths.settings, json.dumps(settings.to_json(), indent=1))
        follow = [] if self._detach else ["--parent", str(os.getpid())]
        with open(self.paths.log("supervisor"), "ab", opener=_private) as log:
            return subprocess.Popen(
                [sys.executable, "-m", "millrace_local.stack", str(self.paths.root), *follow],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _wait_ready(self, deadline: float, progress: Progress) -> None:
        wanted = components_of(self._running_settings(), programs())
        while True:
            now = self.status()
            progress(now)
            waiting = {
                one.name: now.components.get(one.name, ComponentState()).message
                for one in wanted
                if now.components.get(one.name, ComponentState()).health != "ready"
            }
            if not waiting and now.supervisor.pid:
                # The state is as old as the supervisor's last look at each; what is said here is true now.
                failures = {one.name: health.failure(one.check) for one in wanted}
                waiting = {name: why for name, why in failures.items() if why}
                if not waiting:
                    return
            self._check_failed(now)
            if time.monotonic() > deadline:
                why = "; ".join(f"{name}: {message}" for name, message in waiting.items())
                raise ReportError(f"not ready in time: {why}", hint=f"See the logs in {self.paths.logs}")
            time.sleep(_POLL_SECONDS)

    def _check_failed(self, now: StackState) -> None:
        if now.phase == "failed":
            raise ReportError(f"the platform does not start: {now.error}", hint=f"See the logs in {self.paths.logs}")
        if self._supervisor is None:
            return
        code = self._supervisor.poll()
        if code is not None and code != EXIT_ALREADY_RUNNING:
            said = logs.tail(self.paths.log("supervisor"), 5)
            raise ReportError(f"the supervisor ended with exit code {code}: {said}")

    def _signal(self, component: str, number: signal.Signals, deadline: float) -> None:
        process = self.status().components.get(component, ComponentState()).process
        if not process.pid:
            running = [name for name, one in self.status().components.items() if one.process.pid]
            raise NotFoundError(f"no process of {component!r} runs", hint=f"These run: {', '.join(running) or 'none'}")
        processes.kill(process, number)
        while self.status().components[component].process == process:
            if time.monotonic() > deadline:
                raise ReportError(f"{component} does not end", hint=f"See {self.paths.log(component)}")
            time.sleep(_POLL_SECONDS)

    def _end_orphans(self) -> list[int]:
        """Ends processes whose supervisor is gone; returns the ids of those that had to be killed."""
        left = processes.marked(self.paths.root)
        for process in left:
            processes.kill(process, signal.SIGTERM)
        deadline = time.monotonic() + _KILL_SECONDS
        stubborn = [one for one in left if not processes.wait_ended(one, max(deadline - time.monotonic(), 0.0))]
        for process in stubborn:
            processes.kill(process, signal.SIGKILL)
            processes.wait_ended(process, _KILL_SECONDS)
        return [process.pid for process in stubborn]

    def _purge(self) -> None:
        """Removes the folder if a stack ran in it: a mistaken --root must not cost anybody's files."""
        if self.paths.settings.exists():
            shutil.rmtree(self.paths.root)


def _private(path: str, flags: int) -> int:
    """Opens a file that is its owner's alone; this process is the user's, whose umask is not ours to change."""
    return os.open(path, flags, 0o600)
