"""Where the SDK takes feature views from: YAML files or a cluster. Each gives compiled definitions."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml
from urllib3.exceptions import HTTPError

from millrace.api.base import GROUP, VERSION
from millrace.api.featureview import FeatureView, FeatureViewSpec
from millrace.api.kinds import FEATURE_VIEW
from millrace.api.loading import load_object, load_yaml
from millrace.base.errors import NotFoundError, RejectError, RetryError
from millrace.features import definition
from millrace.gateway.definitions import Snapshot

DEFAULT_PROJECT = "default"
SECONDS = 10.0


def from_files(paths: Sequence[str | os.PathLike[str]]) -> Snapshot:
    """Every FeatureView of YAML files; a folder stands for the ``*.yaml`` and ``*.yml`` in it.

    Raises:
        NotFoundError: no such file. RejectError: a file is no YAML, or a view is wrong; names file and field.
    """
    views: dict[tuple[str, str], FeatureViewSpec] = {}
    for path in _expanded(paths):
        for found in load_yaml(path.read_text(encoding="utf-8"), origin=str(path)):
            if isinstance(found, FeatureView):
                name = _name(found)
                if name in views:
                    raise RejectError(f"{path}: feature view {name[1]!r} is defined twice", field="metadata.name")
                views[name] = found.spec
    return _compiled(views)


def from_cluster(kubeconfig: str | os.PathLike[str] | None, namespace: str) -> Snapshot:
    """Every FeatureView of one namespace of a cluster.

    Args:
        kubeconfig: a file; absent: $KUBECONFIG or ~/.kube/config, or the pod's own service account.

    Raises:
        RejectError: there is no usable kubeconfig. RetryError: the API server does not answer or refuses.
    """
    kubernetes: Any = import_module("kubernetes")  # slow to import, needed here only
    config = kubernetes.config
    try:
        if kubeconfig is None and "KUBERNETES_SERVICE_HOST" in os.environ:
            config.load_incluster_config()
        else:
            config.load_kube_config(None if kubeconfig is None else os.fspath(kubeconfig))
    except (config.ConfigException, OSError, yaml.YAMLError) as error:
        raise RejectError(f"no usable kubeconfig: {error}", hint="Pass kubeconfig=, or set KUBECONFIG") from error
    try:
        listed = kubernetes.client.CustomObjectsApi().list_namespaced_custom_object(
            GROUP, VERSION, namespace, FEATURE_VIEW.plural, _request_timeout=SECONDS
        )
    except (kubernetes.client.exceptions.ApiException, OSError, HTTPError) as error:
        raise RetryError(
            f"the cluster lists no feature views of namespace {namespace!r}: {error}",
            hint="Check that the API server is up, that Millrace's CRDs are installed, and that you may list them",
        ) from error
    return _compiled(_specs(listed["items"]))


def _specs(items: Iterable[dict[str, Any]]) -> dict[tuple[str, str], FeatureViewSpec]:
    specs = {}
    for item in items:
        found = load_object({**item, "status": None})
        if isinstance(found, FeatureView):
            specs[_name(found)] = found.spec
    return specs


def _compiled(specs: dict[tuple[str, str], FeatureViewSpec]) -> Snapshot:
    return Snapshot(views={name: definition.compile(name[1], name[0], spec) for name, spec in specs.items()})


def _name(view: FeatureView) -> tuple[str, str]:
    return view.metadata.get("namespace", DEFAULT_PROJECT), view.metadata["name"]


def _expanded(paths: Sequence[str | os.PathLike[str]]) -> list[Path]:
    if isinstance(paths, str | os.PathLike):
        raise RejectError(f"a list of paths is expected, {paths!r} came", hint="Write from_files([...])", field="paths")
    files: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            files += sorted([*path.glob("*.yaml"), *path.glob("*.yml")])
        elif path.is_file():
            files.append(path)
        else:
            raise NotFoundError(f"there is no file {path}", field="paths")
    return files
