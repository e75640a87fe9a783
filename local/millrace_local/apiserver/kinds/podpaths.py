"""Paths within volumes and containers: what a node would refuse is refused when it is written.

Source: ``ValidateVolumeMounts``, ``validateLocalNonReservedPath`` and ``validateKeyToPath`` of
``k8s.io/kubernetes/pkg/apis/core/validation``.
"""

from __future__ import annotations

from collections.abc import Iterator

from millrace_core.schema.errors import FieldError, invalid, required
from millrace_local.apiserver.strategy import Obj

_MODES = range(0o1000)


def mount_errors(container: Obj, path: str) -> Iterator[FieldError]:
    """Errors of the mounts of a container: no path, one that is there twice, or a way out of the volume."""
    seen = set()
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        at = f"{path}.volumeMounts[{index}]"
        where = mount.get("mountPath") or ""
        if not where:
            yield required(f"{at}.mountPath")
        elif where in seen:
            yield invalid(f"{at}.mountPath", where, "must be unique")
        elif "\0" in where:
            yield invalid(f"{at}.mountPath", where, "must not contain a zero character")
        seen.add(where)
        below, expanded = mount.get("subPath") or "", mount.get("subPathExpr") or ""
        if below and expanded:
            yield invalid(f"{at}.subPathExpr", expanded, "subPathExpr and subPath are mutually exclusive")
        for name, value in (("subPath", below), ("subPathExpr", expanded)):
            if value:
                yield from _below(value, f"{at}.{name}")


def volume_errors(volume: Obj, path: str) -> Iterator[FieldError]:
    """Errors of the files that a volume is to have."""
    for name in ("configMap", "secret", "downwardAPI"):
        if volume.get(name):
            yield from _files(volume[name], f"{path}.{name}")
    projected = volume.get("projected") or {}
    yield from _mode(projected.get("defaultMode"), f"{path}.projected.defaultMode")
    for index, source in enumerate(projected.get("sources") or ()):
        at = f"{path}.projected.sources[{index}]"
        for name in ("configMap", "secret", "downwardAPI"):
            if source.get(name):
                yield from _files(source[name], f"{at}.{name}")
        if source.get("serviceAccountToken"):
            yield from _file(source["serviceAccountToken"].get("path") or "", f"{at}.serviceAccountToken.path")


def _files(source: Obj, path: str) -> Iterator[FieldError]:
    yield from _mode(source.get("defaultMode"), f"{path}.defaultMode")
    for index, item in enumerate(source.get("items") or ()):
        yield from _mode(item.get("mode"), f"{path}.items[{index}].mode")
        yield from _file(item.get("path") or "", f"{path}.items[{index}].path")


def _mode(mode: int | None, path: str) -> Iterator[FieldError]:
    if mode is not None and mode not in _MODES:
        yield invalid(path, mode, "must be a number between 0 and 0777 (octal), both inclusive")


def _file(relative: str, path: str) -> Iterator[FieldError]:
    if not relative:
        yield required(path)
    elif relative.startswith(".."):
        yield invalid(path, relative, "must not start with '..'")
    else:
        yield from _below(relative, path)


def _below(relative: str, path: str) -> Iterator[FieldError]:
    if relative.startswith("/"):
        yield invalid(path, relative, "must be a relative path")
    elif ".." in relative.split("/"):
        yield invalid(path, relative, "must not contain '..'")
    elif "\0" in relative:
        yield invalid(path, relative, "must not contain a zero character")
