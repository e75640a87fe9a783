"""The agent's command line."""

from __future__ import annotations

import argparse
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from urllib.parse import urlsplit

from millrace_core.base.errors import RejectError
from millrace_local.node.addresses import RANGE, parse_range

PARTS = ("controllers", "node", "mesh")
DEFAULT_OVERCOMMIT = 4.0
# Not an argument: every user of the machine can read command lines.
MESH_SECRET = "MILLRACE_MESH_SECRET"  # noqa: S105 - the name of a variable


@dataclass(frozen=True)
class AgentSettings:
    """The agent's settings.

    Attributes:
        kubeconfig: the kubeconfig of the API server.
        root: the folder for the files of pods (``pods/``) and mesh (``mesh/``).
        node: name of the Node.
        only: which of the parts to run.
        proxy: URL of the mesh's ingress, given to containers as ``http_proxy``; "" for none.
        prometheus: URL of the Prometheus that ScaledObjects are scaled by; "" for the one that their triggers name.
        run_images: image repositories, beside Millrace's own, whose containers' commands run as they are.
        pod_cidr: the addresses for pods.
        mesh_secret: what pods know requests of the mesh by; "" if they need not.
        overcommit: how many times its cores and memory the node offers to the scheduler.
    """

    kubeconfig: Path
    root: Path
    node: str
    only: frozenset[str] = frozenset(PARTS)
    proxy: str = ""
    prometheus: str = ""
    run_images: frozenset[str] = frozenset()
    pod_cidr: IPv4Network = RANGE
    mesh_secret: str = field(default="", repr=False)
    overcommit: float = DEFAULT_OVERCOMMIT


def parse(arguments: Sequence[str], environ: Mapping[str, str]) -> AgentSettings:
    """Reads the command line and ``MILLRACE_MESH_SECRET``; argparse ends the process for a mistake that it finds.

    Raises:
        RejectError: a value that argparse does not check is wrong; names the option.
    """
    given = _parser().parse_args(arguments)
    only = frozenset(part.strip() for part in given.only.split(",") if part.strip())
    if not only or not only <= set(PARTS):
        raise RejectError(f"{given.only!r} is not among {', '.join(PARTS)}", field="--only")
    for option in ("proxy", "prometheus"):
        value = getattr(given, option)
        if value and not (urlsplit(value).scheme in ("http", "https") and urlsplit(value).hostname):
            raise RejectError(f"{value!r} is no URL", hint="For example http://127.0.0.1:18080", field=f"--{option}")
    if given.overcommit < 1:
        raise RejectError(f"{given.overcommit} is below 1", field="--overcommit")
    return AgentSettings(
        kubeconfig=given.kubeconfig,
        root=given.root.absolute(),
        node=given.node,
        only=only,
        proxy=given.proxy.rstrip("/"),
        prometheus=given.prometheus,
        run_images=frozenset(given.run_image),
        pod_cidr=parse_range(given.pod_cidr),
        mesh_secret=environ.get(MESH_SECRET, ""),
        overcommit=given.overcommit,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m millrace_local.agent", description=__doc__)
    add = parser.add_argument
    add("--kubeconfig", type=Path, required=True, help="how to reach the API server")
    add("--root", type=Path, required=True, help="folder for the files of pods and mesh")
    add("--node", default=platform.node().lower() or "local", help="name of the Node (default: the host's)")
    add("--only", default=",".join(PARTS), help=f"comma-separated parts to run (default: {','.join(PARTS)})")
    add("--proxy", default="", help="URL of the mesh's ingress, http_proxy of all containers")
    add("--prometheus", default="", help="URL of the Prometheus to scale by (default: as each trigger says)")
    add(
        "--run-image",
        action="append",
        default=[],
        metavar="REPOSITORY",
        help="an image repository whose commands run here as they are; may be repeated",
    )
    add("--pod-cidr", default=str(RANGE), help=f"addresses of this machine for pods (default: {RANGE})")
    add(
        "--overcommit",
        type=float,
        default=DEFAULT_OVERCOMMIT,
        help="how many times its cores and memory the node offers (default: 4; requests are rarely used up)",
    )
    return parser
