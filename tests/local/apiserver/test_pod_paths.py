"""Paths of a pod that a node would refuse are refused when the pod is written."""

from __future__ import annotations

from typing import Any

import pytest

from millrace_local.apiserver.kinds.podspec import pod_spec_errors

IMAGE = {"name": "c", "image": "i"}


def fields(*mounts: dict[str, Any], where: str = "containers", **volume: Any) -> list[str]:
    """The fields that are refused of a pod with one volume."""
    container = {**IMAGE, "volumeMounts": [{"name": "v", **mount} for mount in mounts]}
    spec = {"containers": [{**IMAGE, "name": "other"}], "volumes": [{"name": "v", **(volume or {"emptyDir": {}})}]}
    spec[where] = [*spec.get(where, []), container]
    return [error.path for error in pod_spec_errors(spec, "spec")]


def test_paths_within_are_taken() -> None:
    items = [{"key": "k", "path": "a/b"}, {"key": "l", "path": "...a", "mode": 0o777}]
    assert fields({"mountPath": "/a", "subPath": "b/..c"}, {"mountPath": "/b", "subPathExpr": "$(POD)/x"}) == []
    assert fields({"mountPath": "/a"}, secret={"secretName": "s", "items": items[:1], "defaultMode": 0}) == []
    assert fields(projected={"sources": [{"configMap": {"name": "m", "items": items[:1]}}]}) == []


@pytest.mark.parametrize("path", ["..", "../x", "a/../../x", "/etc", "a/..", "a\0b"])
def test_a_sub_path_that_leads_out_of_its_volume_is_refused(path: str) -> None:
    for name in ("subPath", "subPathExpr"):
        assert fields({"mountPath": "/a", name: path}) == [f"spec.containers[1].volumeMounts[0].{name}"]
        assert fields({"mountPath": "/a", name: path}, where="initContainers") == [
            f"spec.initContainers[0].volumeMounts[0].{name}"
        ]


def test_one_mount_path_is_mounted_once_and_has_one_sub_path() -> None:
    assert fields({"mountPath": "/a"}, {"mountPath": "/a"}) == ["spec.containers[1].volumeMounts[1].mountPath"]
    assert fields({"mountPath": ""}) == ["spec.containers[1].volumeMounts[0].mountPath"]
    assert fields({"mountPath": "/a", "subPath": "b", "subPathExpr": "c"}) == [
        "spec.containers[1].volumeMounts[0].subPathExpr"
    ]


@pytest.mark.parametrize("path", ["", "..", "..a", "../x", "a/../b", "/etc/passwd", "a\0"])
@pytest.mark.parametrize("kind", ["configMap", "secret", "downwardAPI"])
def test_a_file_of_a_volume_that_would_be_outside_of_it_is_refused(kind: str, path: str) -> None:
    source = {"items": [{"path": "fine"}, {"path": path}]}
    assert fields(**{kind: source}) == [f"spec.volumes[0].{kind}.items[1].path"]
    assert fields(projected={"sources": [{}, {kind: source}]}) == [
        f"spec.volumes[0].projected.sources[1].{kind}.items[1].path"
    ]
    if kind == "secret":
        token = {"serviceAccountToken": {"path": path}}
        assert fields(projected={"sources": [token]}) == [
            "spec.volumes[0].projected.sources[0].serviceAccountToken.path"
        ]


@pytest.mark.parametrize("mode", [-1, 0o1000, 0o4755])
def test_a_mode_that_is_none_is_refused(mode: int) -> None:
    assert fields(secret={"defaultMode": mode}) == ["spec.volumes[0].secret.defaultMode"]
    assert fields(projected={"defaultMode": mode}) == ["spec.volumes[0].projected.defaultMode"]
    items = [{"path": "a", "mode": mode}]
    assert fields(configMap={"items": items}) == ["spec.volumes[0].configMap.items[0].mode"]
