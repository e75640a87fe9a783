"""Volumes as directories: the files of each volume, and the real path of each mount."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from millrace_core.base.errors import RejectError
from millrace_kube.resources import Object
from millrace_local.node.environment import (
    DownwardApi,
    MissingError,
    Reference,
    Resolved,
    field_value,
    lookup,
    resource_value,
)

DEFAULT_MODE = 0o644
_MODES = range(0o1000)
# The kind of a reference to a projected volume's token.
TOKEN = "ServiceAccountToken"  # noqa: S105 - a kind, not a secret


@dataclass(frozen=True)
class Content:
    """One file of a volume."""

    data: bytes
    mode: int


def references(volume: Object) -> Iterator[Reference]:
    """The objects that the volume takes its content from."""
    if volume.get("secret"):
        yield "Secret", volume["secret"]["secretName"]
    if volume.get("configMap"):
        yield "ConfigMap", volume["configMap"]["name"]
    for source in (volume.get("projected") or {}).get("sources") or []:
        if source.get("secret"):
            yield "Secret", source["secret"]["name"]
        if source.get("configMap"):
            yield "ConfigMap", source["configMap"]["name"]
        if source.get("serviceAccountToken"):
            yield TOKEN, source["serviceAccountToken"].get("audience", "")


def files(volume: Object, downward: DownwardApi, resolved: Resolved) -> dict[str, Content] | None:
    """The files of a volume by relative path; None for a plain directory (``emptyDir``, ``hostPath``).

    Raises:
        MissingError: a Secret, ConfigMap or key that is not optional does not exist.
        RejectError: the node does not support this kind of volume.
    """
    if "emptyDir" in volume or "hostPath" in volume:
        return None
    if volume.get("secret"):
        secret = volume["secret"]
        return _of_object(("Secret", secret["secretName"]), secret, secret.get("defaultMode"), resolved)
    if volume.get("configMap"):
        config = volume["configMap"]
        return _of_object(("ConfigMap", config["name"]), config, config.get("defaultMode"), resolved)
    if volume.get("downwardAPI"):
        return _downward(volume["downwardAPI"], volume["downwardAPI"].get("defaultMode"), downward)
    if volume.get("projected"):
        return _projected(volume["projected"], downward, resolved)
    kind = next((name for name in volume if name != "name"), "nothing")
    raise RejectError(
        f"volume {volume['name']!r} is of kind {kind}, which does not work on the embedded node",
        hint="Use emptyDir, hostPath, configMap, secret, downwardAPI or projected",
        field=f"spec.volumes[{volume['name']}]",
        reason="FailedMount",
    )


def _of_object(reference: Reference, spec: Object, mode: int | None, resolved: Resolved) -> dict[str, Content]:
    found = lookup(resolved, reference, optional=bool(spec.get("optional")))
    default = DEFAULT_MODE if mode is None else mode
    if not spec.get("items"):
        return {key: Content(data, default) for key, data in found.items()}
    chosen = {}
    for item in spec["items"]:
        if item["key"] in found:
            chosen[item["path"]] = Content(found[item["key"]], item.get("mode", default))
        elif not spec.get("optional"):
            raise MissingError(f"{reference[0].lower()} references non-existent key: {item['key']}")
    return chosen


def _downward(spec: Object, mode: int | None, downward: DownwardApi) -> dict[str, Content]:
    default = DEFAULT_MODE if mode is None else mode
    result = {}
    for item in spec.get("items") or []:
        if item.get("fieldRef"):
            text = field_value(item["fieldRef"]["fieldPath"], downward)
        else:
            text = resource_value(item["resourceFieldRef"], {}, downward)
        result[item["path"]] = Content(text.encode(), item.get("mode", default))
    return result


def _projected(spec: Object, downward: DownwardApi, resolved: Resolved) -> dict[str, Content]:
    mode = spec.get("defaultMode")
    result: dict[str, Content] = {}
    for source in spec.get("sources") or []:
        if source.get("secret"):
            result |= _of_object(("Secret", source["secret"]["name"]), source["secret"], mode, resolved)
        if source.get("configMap"):
            result |= _of_object(("ConfigMap", source["configMap"]["name"]), source["configMap"], mode, resolved)
        if source.get("downwardAPI"):
            result |= _downward(source["downwardAPI"], mode, downward)
        if token := source.get("serviceAccountToken"):
            found = lookup(resolved, (TOKEN, token.get("audience", "")), optional=False)
            result[token["path"]] = Content(found["token"], 0o600)
    return result


def directory(volume: Object, folder: Path) -> Path:
    """The real directory of a volume: one below ``folder``, or the host's path.

    Raises:
        RejectError: a host path that must exist does not.
    """
    if "hostPath" not in volume:
        return inside(folder, str(volume["name"]))
    path, kind = Path(volume["hostPath"]["path"]), volume["hostPath"].get("type") or ""
    if kind == "DirectoryOrCreate":
        path.mkdir(parents=True, exist_ok=True)
    elif kind == "FileOrCreate":
        path.touch(exist_ok=True)
    elif kind and not path.exists():
        raise RejectError(
            f"hostPath {path} does not exist", field=f"spec.volumes[{volume['name']}]", reason="FailedMount"
        )
    return path


def inside(folder: Path, relative: str) -> Path:
    """The file at a path below ``folder``; the folder that holds it is inside, wherever links in between lead.

    Raises:
        RejectError: it is not.
    """
    path = PurePosixPath(relative)
    file = folder / path
    if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in relative:
        raise RejectError(f"path {relative!r} leads out of the volume", reason="FailedMount")
    if not file.parent.resolve().is_relative_to(folder.resolve()):
        raise RejectError(f"path {relative!r} leads out of the volume by a link", reason="FailedMount")
    return file


def fill(folder: Path, wanted: Mapping[str, Content]) -> None:
    """Makes ``folder`` hold exactly these files. Each is replaced atomically; unchanged ones are not touched.

    Raises:
        RejectError: a path leads out of the volume, also by a symbolic link, or a mode is none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for relative, content in wanted.items():
        file = inside(folder, relative)
        if content.mode not in _MODES:
            raise RejectError(f"mode {content.mode:#o} of {relative!r} is not within 0o777", reason="FailedMount")
        if file.is_file() and not file.is_symlink() and file.read_bytes() == content.data:
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh = file.with_name(f"..{file.name}.fresh")
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
            opened.write(content.data)
        fresh.chmod(content.mode)
        fresh.replace(file)
    for present in sorted(folder.rglob("*"), reverse=True):
        if present.is_file() and str(present.relative_to(folder)) not in wanted:
            present.unlink()


def mounts(container: Object, volumes: Mapping[str, Path]) -> dict[str, Path]:
    """The real path of each mount path of the container.

    Raises:
        RejectError: a mount names no volume of the pod, has ``subPathExpr``, or its ``subPath`` leads out of it.
    """
    result = {}
    for mount in container.get("volumeMounts") or []:
        if mount["name"] not in volumes or mount.get("subPathExpr"):
            what = "has a subPathExpr" if mount.get("subPathExpr") else f"names no volume {mount['name']!r} of the pod"
            raise RejectError(f"volumeMount {mount['mountPath']} {what}", reason="FailedMount")
        real = volumes[mount["name"]]
        if mount.get("subPath"):
            real = _sub_path(real, mount["subPath"])
        result[mount["mountPath"]] = real
    return result


def _sub_path(volume: Path, relative: str) -> Path:
    real = inside(volume, relative)
    if not real.resolve().is_relative_to(volume.resolve()):
        raise RejectError(f"subPath {relative!r} leads out of the volume by a link", reason="FailedMount")
    if not real.exists():
        real.mkdir(parents=True)
    return real


def remove(folder: Path) -> None:
    """Removes a pod's folder, as far as possible."""
    shutil.rmtree(folder, ignore_errors=True)
