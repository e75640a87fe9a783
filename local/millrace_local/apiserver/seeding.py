"""Objects that exist from the start: CRDs and others, from YAML files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from millrace_core.base.errors import NotFoundError, RejectError
from millrace_local.apiserver.decoding import yaml_documents
from millrace_local.apiserver.errors import StatusError
from millrace_local.apiserver.options import WriteOptions
from millrace_local.apiserver.request import RequestTarget
from millrace_local.apiserver.server import ApiServer

_OPTIONS = WriteOptions(manager="millrace-apiserver")


def seed(server: ApiServer, paths: Sequence[Path]) -> None:
    """Creates the objects of YAML files, and updates those that exist.

    Raises:
        NotFoundError: a path does not exist.
        RejectError: a file is not YAML, or holds an object that the server refuses.
    """
    for path in paths:
        for file in _files(path):
            for document in _documents(file):
                _put(server, document, file)


def _files(path: Path) -> Iterable[Path]:
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.suffix in (".yaml", ".yml"))
    if not path.exists():
        raise NotFoundError(f"{path} does not exist", hint="Give a YAML file or a folder of them", field="--crds")
    return [path]


def _documents(file: Path) -> Iterable[Any]:
    try:
        return yaml_documents(file.read_bytes())
    except StatusError as error:
        raise RejectError(f"{file}: {error.message}", field="--crds") from error


def _put(server: ApiServer, document: Any, file: Path) -> None:
    if not isinstance(document, dict):
        raise RejectError(f"{file}: expected an object, got {type(document).__name__}", field="--crds")
    resource = server.registry.of_kind(document.get("apiVersion", ""), document.get("kind", ""))
    if resource is None:
        raise RejectError(f"{file}: no such kind: {document.get('apiVersion')} {document.get('kind')}", field="--crds")
    name = document.get("metadata", {}).get("name", "")
    namespace = document["metadata"].get("namespace", "default") if resource.namespaced else ""
    try:
        if server.store.get(resource.storage, namespace, name) is None:
            server.writer.create(RequestTarget(resource, namespace), document, _OPTIONS)
        else:
            target = RequestTarget(resource, namespace, name)
            server.writer.update(target, lambda live: _over(live, document), _OPTIONS)
    except StatusError as error:
        raise RejectError(f"{file}: {error.message}", field="--crds") from error


def _over(live: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    metadata = {**live["metadata"]}
    for name in ("labels", "annotations"):
        if name in wanted["metadata"]:
            metadata[name] = {**(metadata.get(name) or {}), **wanted["metadata"][name]}
    return {**wanted, "metadata": metadata, **({"status": live["status"]} if "status" in live else {})}
