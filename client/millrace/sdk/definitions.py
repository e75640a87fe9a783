"""Where the SDK takes feature views from: YAML files or a cluster. Each gives compiled definitions and the objects."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from millrace_core.api.featureview import FeatureView
from millrace_core.api.group import GROUP, VERSION
from millrace_core.api.in_effect import in_effect
from millrace_core.api.kinds import FEATURE_VIEW
from millrace_core.api.loading import load_object, load_yaml
from millrace_core.base.errors import NotFoundError, RejectError, ReportError, RetryError
from millrace_core.base.lazy_import import lazy_import
from millrace_core.features.definition import definition
from millrace_core.features.online.published import Snapshot

# The schema and CEL, which a cluster's objects do not need.
if TYPE_CHECKING:
    from millrace_core.api import checking
    from millrace_core.api.checking import Checked
else:
    checking = lazy_import("millrace_core.api.checking")

DEFAULT_PROJECT = "default"
SECONDS = 10.0
_NOT_FOUND = 404


class Loaded(NamedTuple):
    """Definitions, and the objects that they came from by (project, name)."""

    snapshot: Snapshot
    documents: Mapping[tuple[str, str], Mapping[str, Any]]


def from_files(paths: Sequence[str | os.PathLike[str]]) -> Loaded:
    """Every FeatureView of YAML files; a folder stands for the ``*.yaml`` and ``*.yml`` in it.

    Raises:
        NotFoundError: no such file. RejectError: a file is no YAML, or a view is wrong; names file and field.
    """
    views: dict[tuple[str, str], FeatureView] = {}
    for path in expanded(paths):
        for found in load_yaml(_text(path), origin=str(path), check=checked):
            if isinstance(found, FeatureView):
                name = _name(found)
                if name in views:
                    raise RejectError(f"{path}: feature view {name[1]!r} is defined twice", field="metadata.name")
                views[name] = found
    documents = {name: view.model_dump(by_alias=True, exclude_none=True, mode="json") for name, view in views.items()}
    return Loaded(_compiled(views), documents)


def checked(document: Mapping[str, Any]) -> Checked:
    """What the cluster would say to an object; a view is compiled, too.

    Compiling names the field where the API server names the object that it is in.
    """
    found = checking.check(document)
    try:
        loaded = load_object(found.stored)
        if isinstance(loaded, FeatureView):
            compiled(loaded)
    except RejectError as error:
        if error.reason not in ("InvalidObject", "UnknownKind"):
            nearer = [checking.Fault(error.field, error.advice())]
            return found._replace(faults=checking.merged(nearer, found.faults))
    return found


def compiled(view: FeatureView) -> definition.Definition:
    """The definition of a view.

    Raises:
        RejectError: an expression, a window or a name in it is wrong.
    """
    project = view.metadata.get("namespace", DEFAULT_PROJECT)
    return definition.compile(str(view.metadata.get("name")), project, view.spec)


def from_cluster(kubeconfig: str | os.PathLike[str] | None, namespace: str) -> Loaded:
    """Every FeatureView of one namespace of a cluster.

    Args:
        kubeconfig: a file; absent: $KUBECONFIG or ~/.kube/config, or the pod's own service account.

    Raises:
        RejectError: there is no usable kubeconfig. RetryError: the API server does not answer or refuses.
        ReportError: the Kubernetes client is not installed.
    """
    views: dict[tuple[str, str], FeatureView] = {}
    documents = {}
    for item in listed(kubeconfig, namespace, FEATURE_VIEW.plural):
        effective = in_effect(item)  # what rows and models go by, whatever somebody has written since
        found = load_object({**effective, "status": None})
        if isinstance(found, FeatureView):
            views[_name(found)] = found
            documents[_name(found)] = effective
    return Loaded(_compiled(views), documents)


def listed(kubeconfig: str | os.PathLike[str] | None, namespace: str, plural: str) -> list[dict[str, Any]]:
    """The objects of one of Millrace's kinds in a namespace of a cluster. Raises as ``from_cluster``."""
    kubernetes, broken = _client(kubeconfig)
    try:
        found = kubernetes.client.CustomObjectsApi().list_namespaced_custom_object(
            GROUP, VERSION, namespace, plural, _request_timeout=SECONDS
        )
    except (kubernetes.client.exceptions.ApiException, OSError, broken) as error:
        raise RetryError(
            f"the cluster lists no {plural} of namespace {namespace!r}: {error}",
            hint="Check that the API server is up, that Millrace's CRDs are installed, and that you may list them",
        ) from error
    return list(found["items"])


def annotate(
    kubeconfig: str | os.PathLike[str] | None, namespace: str, plural: str, name: str, annotations: Mapping[str, str]
) -> None:
    """Sets annotations of one of Millrace's objects in a cluster.

    Raises:
        NotFoundError: there is no such object. The others as ``from_cluster``.
    """
    kubernetes, broken = _client(kubeconfig)
    try:
        kubernetes.client.CustomObjectsApi().patch_namespaced_custom_object(
            GROUP,
            VERSION,
            namespace,
            plural,
            name,
            {"metadata": {"annotations": dict(annotations)}},
            _request_timeout=SECONDS,
        )
    except (kubernetes.client.exceptions.ApiException, OSError, broken) as error:
        if getattr(error, "status", None) == _NOT_FOUND:
            raise NotFoundError(f"namespace {namespace!r} has no {name!r} among its {plural}") from error
        raise RetryError(
            f"the cluster does not take an annotation of {name!r}: {error}",
            hint=f"Check that the API server is up, and that you may patch {plural}",
        ) from error


def _client(kubeconfig: str | os.PathLike[str] | None) -> tuple[Any, type[Exception]]:
    """The Kubernetes client, logged in, and what it raises where a connection breaks."""
    try:
        kubernetes: Any = import_module("kubernetes")  # slow to import, needed here only
        broken: type[Exception] = import_module("urllib3.exceptions").HTTPError
    except ModuleNotFoundError as error:
        raise ReportError(
            f"a cluster needs {error.name}, which is not installed",
            hint="Install it with: pip install 'millrace[cluster]'",
            reason="LibraryMissing",
        ) from error
    config = kubernetes.config
    try:
        if kubeconfig is None and "KUBERNETES_SERVICE_HOST" in os.environ:
            config.load_incluster_config()
        else:
            config.load_kube_config(None if kubeconfig is None else os.fspath(kubeconfig))
    except (config.ConfigException, OSError, yaml.YAMLError) as error:
        raise RejectError(f"no usable kubeconfig: {error}", hint="Pass kubeconfig=, or set KUBECONFIG") from error
    return kubernetes, broken


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RejectError(f"{path} is no YAML: it is no UTF-8: {error}", reason="InvalidYaml") from error
    except OSError as error:
        raise RejectError(f"cannot read {path}: {error.strerror}", field="paths") from error


def _compiled(views: Mapping[tuple[str, str], FeatureView]) -> Snapshot:
    return Snapshot(views={name: compiled(view) for name, view in views.items()})


def _name(view: FeatureView) -> tuple[str, str]:
    return view.metadata.get("namespace", DEFAULT_PROJECT), view.metadata["name"]


def expanded(paths: Sequence[str | os.PathLike[str]], patterns: Sequence[str] = ("*.yaml", "*.yml")) -> list[Path]:
    """The files that paths name: a folder stands for the files in it whose names match a pattern.

    Raises:
        NotFoundError: no such file.
    """
    if isinstance(paths, str | os.PathLike):
        raise RejectError(f"a list of paths is expected, {paths!r} came", hint="Write from_files([...])", field="paths")
    files: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            files += sorted(file for pattern in patterns for file in path.glob(pattern))
        elif path.is_file():
            files.append(path)
        else:
            raise NotFoundError(f"there is no file {path}", field="paths")
    return files
