"""Volumes as directories: what each of a pod's volumes holds, and where each of its mounts really is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from millrace_core.base.errors import RejectError
from millrace_kube.resources import Object
from millrace_local.node.environment import Facts, MissingError, Reference, Sources, field_value, lookup, resource_value

DEFAULT_MODE = 0o644
# What a projected volume's token is called among the sources.
TOKEN = "ServiceAccountToken"  # noqa: S105 - a kind, not a secret


@dataclass(frozen=True)
class Content:
    """One file of a volume."""

    data: bytes
    mode: int


def references(volume: Object) -> Iterator[Reference]:
    """The objects whose content the volume holds."""
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


def files(volume: Object, facts: Facts, sources: Sources) -> dict[str, Content] | None:
    """The files of a volume by relative path; None for one that is a plain directory (``emptyDir``, ``hostPath``).

    Raises:
        MissingError: a Secret, ConfigMap or key that is not optional is not there.
        RejectError: the volume is of a kind that does not work here.
    """
    if "emptyDir" in volume or "hostPath" in volume:
        return None
    if volume.get("secret"):
        secret = volume["secret"]
        return _of_object(("Secret", secret["secretName"]), secret, secret.get("defaultMode"), sources)
    if volume.get("configMap"):
        config = volume["configMap"]
        return _of_object(("ConfigMap", config["name"]), config, config.get("defaultMode"), sources)
    if volume.get("downwardAPI"):
        return _downward(volume["downwardAPI"], volume["downwardAPI"].get("defaultMode"), facts)
    if volume.get("projected"):
        return _projected(volume["projected"], facts, sources)
    kind = next((name for name in volume if name != "name"), "nothing")
    raise RejectError(
        f"volume {volume['name']!r} is of kind {kind}, which does not work on the embedded node",
        hint="Use emptyDir, hostPath, configMap, secret, downwardAPI or projected",
        field=f"spec.volumes[{volume['name']}]",
        reason="FailedMount",
    )


def _of_object(reference: Reference, spec: Object, mode: int | None, sources: Sources) -> dict[str, Content]:
    found = lookup(sources, reference, optional=bool(spec.get("optional")))
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


def _downward(spec: Object, mode: int | None, facts: Facts) -> dict[str, Content]:
    default = DEFAULT_MODE if mode is None else mode
    result = {}
    for item in spec.get("items") or []:
        if item.get("fieldRef"):
            text = field_value(item["fieldRef"]["fieldPath"], facts)
        else:
            text = resource_value(item["resourceFieldRef"], {}, facts)
        result[item["path"]] = Content(text.encode(), item.get("mode", default))
    return result


def _projected(spec: Object, facts: Facts, sources: Sources) -> dict[str, Content]:
    mode = spec.get("defaultMode")
    result: dict[str, Content] = {}
    for source in spec.get("sources") or []:
        if source.get("secret"):
            result |= _of_object(("Secret", source["secret"]["name"]), source["secret"], mode, sources)
        if source.get("configMap"):
            result |= _of_object(("ConfigMap", source["configMap"]["name"]), source["configMap"], mode, sources)
        if source.get("downwardAPI"):
            result |= _downward(source["downwardAPI"], mode, facts)
        if token := source.get("serviceAccountToken"):
            found = lookup(sources, (TOKEN, token.get("audience", "")), optional=False)
            result[token["path"]] = Content(found["token"], 0o600)
    return result


def directory(volume: Object, folder: Path) -> Path:
    """Where the volume really is: ``folder`` below it, or the host's own path.

    Raises:
        RejectError: a host path that shall be there is not.
    """
    if "hostPath" not in volume:
        return folder / str(volume["name"])
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


def fill(folder: Path, wanted: Mapping[str, Content]) -> None:
    """Makes ``folder`` hold exactly these files; each changes at once and unchanged ones are not touched.

    Raises:
        RejectError: a path leads out of the volume.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for relative, content in wanted.items():
        if PurePosixPath(relative).is_absolute() or ".." in PurePosixPath(relative).parts:
            raise RejectError(f"path {relative!r} leads out of the volume", reason="FailedMount")
        file = folder / relative
        if file.is_file() and file.read_bytes() == content.data:
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh = file.with_name(f"..{file.name}.fresh")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as opened:
            opened.write(content.data)
        fresh.chmod(content.mode)
        fresh.replace(file)
    for present in sorted(folder.rglob("*"), reverse=True):
        if present.is_file() and str(present.relative_to(folder)) not in wanted:
            present.unlink()


def mounts(container: Object, volumes: Mapping[str, Path]) -> dict[str, Path]:
    """The container's mount paths and where they really are.

    Raises:
        RejectError: a mount names no volume of the pod, or asks for ``subPathExpr``.
    """
    result = {}
    for mount in container.get("volumeMounts") or []:
        if mount["name"] not in volumes or mount.get("subPathExpr"):
            what = "has a subPathExpr" if mount.get("subPathExpr") else f"names no volume {mount['name']!r} of the pod"
            raise RejectError(f"volumeMount {mount['mountPath']} {what}", reason="FailedMount")
        real = volumes[mount["name"]] / mount.get("subPath", "")
        if mount.get("subPath") and not real.exists():
            real.mkdir(parents=True)
        result[mount["mountPath"]] = real
    return result


def remove(folder: Path) -> None:
    """Removes a pod's folder, as far as it can be removed."""
    shutil.rmtree(folder, ignore_errors=True)
