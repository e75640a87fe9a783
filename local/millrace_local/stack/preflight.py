"""Checks before anything is started, so that nothing is left half started."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from millrace_core.base.errors import RejectError
from millrace_kube.connection import load
from millrace_local.node.addresses import check_local, parse_range
from millrace_local.stack import health, ports
from millrace_local.stack.settings import StackPaths, StackSettings

LEAST_FREE_BYTES = 64 * 1024 * 1024
_STORE_SCHEMES = ("redis", "rediss")
_PORT_OF = {"store": "store", "apiserver": "api", "mesh": "ingress", "operator": "operator"}


def check(settings: StackSettings) -> None:
    """Checks the machine, the folder, the files, the store and the ports.

    Raises:
        RejectError: a check fails; names the option to change.
    """
    if sys.platform != "linux":
        raise RejectError(
            f"the embedded mode needs Linux (each pod gets an address of 127.0.0.0/8); this is {sys.platform}",
            hint="Use a container, a virtual machine or WSL",
        )
    check_files(settings.crds)
    check_folder(settings.root)
    if settings.given_kubeconfig:
        load(settings.given_kubeconfig)
    if settings.pod_cidr:
        check_local(parse_range(settings.pod_cidr))
    if settings.store_url:
        check_store(settings.store_url)
    ports.check_free(settings.ports, [_PORT_OF[name] for name in settings.components if name in _PORT_OF])


def check_folder(root: Path) -> None:
    """Creates the folder, readable only by its owner, and checks that it can be written."""
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_owner(root)
        probe = root / f".probe.{os.getpid()}"
        probe.write_bytes(b"x")
        probe.unlink()
        free = shutil.disk_usage(root).free
    except OSError as error:
        raise RejectError(
            f"cannot write to {root}: {error.strerror or error}", hint="Give another folder", field="--root"
        ) from error
    if free < LEAST_FREE_BYTES:
        raise RejectError(
            f"{root} has {free // 1024**2} MiB of free disk, and the platform needs {LEAST_FREE_BYTES // 1024**2}",
            hint="Free some, or give another folder",
            field="--root",
            reason="DiskFull",
        )


def _check_owner(root: Path) -> None:
    """Closes the folder to other users. One with files of others in it stays as it is: ours are private themselves."""
    if root.stat().st_uid != os.getuid():
        raise RejectError(f"{root} belongs to another user", hint="Give a folder of your own", field="--root")
    if StackPaths(root).settings.exists() or not any(root.iterdir()):
        root.chmod(0o700)


def check_files(paths: Iterable[Path]) -> None:
    """Checks that every file or folder of CRDs exists."""
    for path in paths:
        if not path.exists():
            raise RejectError(
                f"{path} does not exist", hint="Give a YAML file of CRDs, or a folder of them", field="crds"
            )


def check_store(url: str) -> None:
    """Checks that a store answers at ``url``."""
    address = urlsplit(url)
    shown = address._replace(netloc=address.netloc.rpartition("@")[2]).geturl()
    if address.scheme not in _STORE_SCHEMES:
        raise RejectError(f"{shown} is no store", hint="Give redis://host:port/db", field="--store-url")
    why = health.failure(health.RedisCheck(url))
    if why:
        raise RejectError(
            f"the store at {shown} does not answer: {why}",
            hint="Start it, or leave the option out",
            field="--store-url",
        )
