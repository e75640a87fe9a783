"""What ``securityContext`` and its neighbours ask of a container: kept, refused, or told to be not kept. Pure.

A container is a process of the node's user. Another uid or gid is kept by a user namespace, in which that user has the
number that was asked for and, unless it is 0, no capability; ``allowPrivilegeEscalation: false`` by no_new_privs. What
would give a process more than its user may is refused. Walls that need a container runtime (a read-only root, seccomp
and the like) are not there: the pod's condition ``SecurityContextKept`` names each field that asks for one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from millrace_core.base.errors import RejectError
from millrace_kube.resources import Object

# The user of Millrace's own images; who asks for no number but not to be root is given this one by a node of root.
IMAGE_USER = 65532
REASON = "CreateContainerConfigError"
# Of the pod's and of the container's securityContext: which values ask for a wall that is not there.
_WALLS = (
    "readOnlyRootFilesystem",
    "seccompProfile",
    "appArmorProfile",
    "seLinuxOptions",
    "windowsOptions",
)
_GROUPS = ("fsGroup", "supplementalGroups", "sysctls")
_OPEN = {"seccompProfile": "Unconfined", "appArmorProfile": "Unconfined"}


@dataclass(frozen=True)
class User:
    """A user by its numbers."""

    uid: int
    gid: int


@dataclass(frozen=True)
class ProcessRights:
    """What a process is started with.

    Attributes:
        user: the numbers that it sees as its own; None for those of the node.
        no_new_privileges: whether no program that it starts may have more rights, such as those of ``sudo``.
    """

    user: User | None = None
    no_new_privileges: bool = False


def process_rights(pod: Object, container: Object, node: User) -> ProcessRights:
    """The rights of a container's processes on a node of user ``node``.

    Raises:
        RejectError: it asks for more than the node may give, or contradicts itself; names the field.
    """
    at = _place(pod, container)
    asked = _asked(pod, container)
    _check_privileges(asked, at, node)
    uid = asked.get("runAsUser")
    if asked.get("runAsNonRoot"):
        if uid == 0:
            raise _refused(f"{at}.runAsUser", "it is 0, and runAsNonRoot is true")
        if uid is None and node.uid == 0:
            uid = IMAGE_USER
    gid = asked.get("runAsGroup")
    if uid in (None, node.uid) and gid in (None, node.gid):
        user = None
    else:
        other = node.gid if uid in (None, node.uid) else IMAGE_USER
        user = User(node.uid if uid is None else uid, other if gid is None else gid)
    return ProcessRights(user, asked.get("allowPrivilegeEscalation") is False)


def _place(pod: Object, container: Object) -> str:
    first = any(each["name"] == container["name"] for each in pod["spec"].get("initContainers") or [])
    return f"spec.{'initContainers' if first else 'containers'}[{container['name']}].securityContext"


def _asked(pod: Object, container: Object) -> Object:
    """The container's securityContext, with what it leaves to the pod's."""
    given = container.get("securityContext") or {}
    own = {name: value for name, value in given.items() if value is not None}
    return {**(pod["spec"].get("securityContext") or {}), **own}


def _check_privileges(asked: Object, at: str, node: User) -> None:
    if node.uid == 0:
        return
    if asked.get("privileged"):
        raise _refused(f"{at}.privileged", "the embedded node's own user has no such rights")
    if (asked.get("capabilities") or {}).get("add"):
        raise _refused(f"{at}.capabilities.add", "the embedded node's own user has no capabilities to give")


def _refused(field: str, why: str) -> RejectError:
    return RejectError(f"cannot be given: {why}", hint="Leave it out, or use a cluster", field=field, reason=REASON)


def no_namespaces(pod: Object, container: Object, user: User) -> RejectError:
    """The error of a container whose user this machine cannot give."""
    return _refused(
        f"{_place(pod, container)}.runAsUser",
        f"the embedded node gives another uid ({user.uid}) by a user namespace, which this machine does not allow",
    )


def not_kept(pod: Object, node: User) -> tuple[str, ...]:
    """The fields of a pod that ask for a wall which the node does not have."""
    spec = pod["spec"]
    context = spec.get("securityContext") or {}
    found = [f"spec.securityContext.{name}" for name in (*_WALLS, *_GROUPS) if _asks(name, context.get(name))]
    if spec.get("hostUsers") is False:
        found.append("spec.hostUsers")
    if spec.get("runtimeClassName"):
        found.append("spec.runtimeClassName")
    for field in ("initContainers", "containers"):
        for container in spec.get(field) or []:
            found += [f"spec.{field}[{container['name']}].securityContext.{name}" for name in _walls(container)]
            if _keeps_capabilities(pod, container, node):
                found.append(f"spec.{field}[{container['name']}].securityContext.capabilities.drop")
    return tuple(found)


def _walls(container: Object) -> Iterator[str]:
    context = container.get("securityContext") or {}
    return (name for name in _WALLS if _asks(name, context.get(name)))


def _asks(name: str, value: object) -> bool:
    if name in _OPEN and isinstance(value, Mapping):
        return value.get("type") != _OPEN[name]
    return bool(value) or (value == 0 and value is not False)


def _keeps_capabilities(pod: Object, container: Object, node: User) -> bool:
    """Whether capabilities are to be dropped that stay: those of a process that is root without a namespace."""
    context = container.get("securityContext") or {}
    if node.uid != 0 or not (context.get("capabilities") or {}).get("drop"):
        return False
    try:
        user = process_rights(pod, container, node).user
    except RejectError:  # it is not started at all
        return False
    return user is None or user.uid == 0
