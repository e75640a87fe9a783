"""Kubernetes' published schemas, strict, by a validator that is not ours.

``kubernetes_validate`` reads megabytes anew for each object, so only its files are used, each read once.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource


def check(document: dict[str, Any], version: str) -> None:
    """Raises jsonschema.ValidationError where Kubernetes ("1.34") would refuse the object or drop a field of it."""
    _validator(version, document["apiVersion"], document["kind"]).validate(document)


def accepts(document: dict[str, Any], version: str) -> bool:
    """Whether ``check`` passes."""
    return bool(_validator(version, document["apiVersion"], document["kind"]).is_valid(document))


@cache
def _validator(version: str, api_version: str, kind: str) -> Draft202012Validator:
    group, _, number = api_version.rpartition("/")
    name = "-".join(filter(None, [kind.lower(), group.partition(".")[0], number]))
    schema = _read(version, f"{name}.json")
    registry: Registry[Any] = Resource.from_contents(schema) @ _definitions(version)
    return Draft202012Validator(schema, registry=registry)


@cache
def _definitions(version: str) -> Registry[Any]:
    return (Resource.from_contents(_read(version, "_definitions.json")) @ Registry()).crawl()


def _read(version: str, name: str) -> Any:
    folder = files("kubernetes_validate") / "kubernetes-json-schema" / f"v{version}.0-local-strict"
    return json.loads((folder / name).read_text("utf-8"))
