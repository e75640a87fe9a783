"""The commands ``up``, ``down``, ``status`` and ``logs``."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from millrace_local.commands import messages
from millrace_local.stack import LocalStack
from millrace_local.stack.components import COMPONENTS

NOT_RUNNING = 3  # as the LSB has it for a status command
_POLL_SECONDS = 0.2

app = typer.Typer(no_args_is_help=True)

Root = Annotated[Path, typer.Option("--root", envvar="MILLRACE_ROOT", help="The platform's folder.")]
DEFAULT_ROOT = Path(".millrace")


class StatusFormat(StrEnum):
    """How ``status`` is written."""

    TABLE = "table"
    JSON = "json"


@app.command()
def up(
    root: Root = DEFAULT_ROOT,
    api_port: Annotated[int | None, typer.Option(help="Port of the API server (default 16443).")] = None,
    ingress_port: Annotated[int | None, typer.Option(help="Port of the mesh's ingress (default 18080).")] = None,
    store_port: Annotated[int | None, typer.Option(help="Port of the online store (default 16379).")] = None,
    operator_port: Annotated[int | None, typer.Option(help="Port of the operator's health (default 18081).")] = None,
    random_ports: Annotated[bool, typer.Option("--random-ports", help="Take free ports.")] = False,
    store_url: Annotated[str | None, typer.Option(help="A Redis or Valkey to use, redis://host:port/db.")] = None,
    prometheus: Annotated[str | None, typer.Option(help="URL of the Prometheus to scale and guard by.")] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="COMPONENT", help=f"Run this only, of {', '.join(COMPONENTS)}; may be repeated."),
    ] = None,
    kubeconfig: Annotated[
        Path | None, typer.Option(help="Attach to this cluster, instead of an API server of its own.")
    ] = None,
    pod_cidr: Annotated[str | None, typer.Option(help="Addresses of this machine for pods.")] = None,
    foreground: Annotated[bool, typer.Option("--foreground", help="Stay, and bring all down at Ctrl-C.")] = False,
    timeout: Annotated[float, typer.Option(help="Seconds until everything must be ready.")] = 60.0,
) -> None:
    """Brings the whole platform up on this machine; returns when it is ready.

    Ports are remembered in the folder: the next `up` takes the same. The kubeconfig there has the API server's token;
    nobody without it, and no web page, runs a pod.
    """
    named = {"api": api_port, "ingress": ingress_port, "store": store_port, "operator": operator_port}
    given = {name: port for name, port in named.items() if port is not None}
    stack = LocalStack(
        root,
        ports="random" if random_ports and not given else given,
        store_url=store_url,
        prometheus_url=prometheus,
        components=only or (),
        kubeconfig=kubeconfig,
        pod_cidr=pod_cidr,
        detach=not foreground,
    )
    began, ran_already = time.monotonic(), stack.is_running
    with _stopped_by_signals():
        stack.up(timeout, messages.ProgressPrinter(_say))
        try:
            seconds = None if ran_already else time.monotonic() - began
            _say(messages.next_steps(stack, seconds, prometheus=bool(prometheus)))
            while foreground and not ran_already and stack.is_running:
                time.sleep(_POLL_SECONDS)
        finally:
            if foreground and not ran_already:
                _say("Bringing the platform down")
                stack.down()


@app.command()
def down(
    root: Root = DEFAULT_ROOT,
    purge: Annotated[bool, typer.Option("--purge", help="Remove the folder with all of its data.")] = False,
) -> None:
    """Ends every process of the platform. Its data stay for the next `up`."""
    stack = LocalStack(root)
    ran = stack.is_running
    killed = stack.down(purge=purge)
    for pid in killed:
        typer.echo(f"process {pid} did not end when asked to, and was killed", err=True)
    typer.echo("The platform is down" if ran else f"Nothing runs in {root}")
    if purge:
        typer.echo(f"{root} stays: no platform ran in it" if root.exists() else f"{root} is removed")


@app.command()
def status(
    root: Root = DEFAULT_ROOT,
    output: Annotated[StatusFormat, typer.Option("--output", "-o", help="How to write it.")] = StatusFormat.TABLE,
) -> None:
    """Shows every component: process, port, restarts, health. Exit code 0: all ready; 1: not; 3: nothing runs."""
    stack = LocalStack(root)
    now = stack.status()
    if output is StatusFormat.JSON:
        typer.echo(json.dumps(now.to_json(), indent=2))
    else:
        typer.echo(messages.table(now, root))
    if not now.supervisor.pid:
        raise typer.Exit(NOT_RUNNING)
    if any(one.health != "ready" for one in now.components.values()):
        raise typer.Exit(1)


@app.command()
def logs(
    components: Annotated[
        list[str] | None,
        typer.Argument(metavar="[COMPONENT]...", help=f"Of {', '.join((*COMPONENTS[:5], 'supervisor'))}; default all."),
    ] = None,
    root: Root = DEFAULT_ROOT,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is to come.")] = False,
) -> None:
    """Prints the logs of components. Logs of pods: `kubectl logs`."""
    for line in LocalStack(root).logs(*(components or ()), follow=follow):
        typer.echo(line)


def _say(text: str) -> None:
    """Prints a line. Where nobody reads any more (``up | head -1``) the rest goes nowhere, and the work goes on."""
    try:
        typer.echo(text)
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Treats SIGTERM like Ctrl-C, so that an interrupted `up` leaves nothing half started."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
