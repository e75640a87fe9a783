"""The command line, environment and folder of a container, with mount paths replaced by real ones. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from millrace_core.base.errors import RejectError
from millrace_kube.resources import Object
from millrace_local.node.environment import expand
from millrace_local.node.paths import rewrite
from millrace_local.node.security import ProcessRights

_PYTHONS = frozenset({"python", "python3"})
_PLAIN = ProcessRights()
DEFAULT_MESSAGE_PATH = "/dev/termination-log"


@dataclass(frozen=True)
class Launch:
    """A command ready to start."""

    command: tuple[str, ...]
    environ: Mapping[str, str]
    folder: Path
    rights: ProcessRights = field(default_factory=ProcessRights)


def message_mount(container: Object) -> str:
    """The path at which the container expects its termination message file."""
    return str(container.get("terminationMessagePath") or DEFAULT_MESSAGE_PATH)


def launch(
    container: Object,
    own: Mapping[str, str],
    *,
    base: Mapping[str, str],
    marks: Mapping[str, str],
    mounts: Mapping[str, Path],
    home: Path,
    python: str,
    rights: ProcessRights = _PLAIN,
) -> Launch:
    """Builds the command of a container.

    Args:
        container: the container.
        own: its own environment variables, resolved.
        base: the variables that every container gets unless it sets them itself.
        marks: the variables by which its processes are found again, whatever it sets.
        mounts: real paths by mount path, with that of the termination message.
        home: the working directory where the container names none that exists.
        python: the interpreter to run for ``python`` and ``python3``.
        rights: what its processes may do.

    Raises:
        RejectError: the container has no command; that of the image is not known here.
    """
    if not container.get("command"):
        raise RejectError(
            f"container {container['name']!r} has no command, and the embedded node does not know its image's own",
            hint="Give the command in full",
            field=f"spec.containers[{container['name']}].command",
            reason="CreateContainerConfigError",
        )
    words = [*container["command"], *(container.get("args") or [])]
    command = [rewrite(expand(word, own), mounts) for word in words]
    if command[0] in _PYTHONS:
        command[0] = python
    environ = {**base, **{name: rewrite(value, mounts) for name, value in own.items()}, **marks}
    folder = Path(rewrite(container.get("workingDir") or "", mounts) or home)
    return Launch(tuple(command), environ, folder if folder.is_dir() else home, rights)


def base_environment(
    *,
    path: str,
    home: Path,
    host: str,
    address: str,
    proxy: str,
    callers: Mapping[str, str],
) -> dict[str, str]:
    """The variables that every container gets. ``callers`` are the settings by which Millrace's own servers know web
    pages; a container may set others.

    Clients read ``no_proxy`` differently: some know networks (curl, requests, Go), others exact hosts only (httpx,
    urllib). So it has both, with the pod's own address.
    """
    environ = {
        "PATH": path,
        "HOME": str(home),
        "TMPDIR": str(home / "tmp"),
        "HOSTNAME": host,
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "ORT_DISABLE_TELEMETRY": "1",
        **callers,
    }
    if proxy:
        direct = f"localhost,127.0.0.1,{address},127.0.0.0/8"
        environ |= {"http_proxy": proxy, "HTTP_PROXY": proxy, "no_proxy": direct, "NO_PROXY": direct}
    return environ
