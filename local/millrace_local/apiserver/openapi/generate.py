"""Generates ``builtin.json.gz``: the published schemas of the built-in kinds that the API server serves.

Run ``python -m millrace_local.apiserver.openapi.generate`` after the table of built-in resources changed. The schemas
are those that Kubernetes publishes, as the development dependency ``kubernetes-validate`` carries them, with
descriptions and list types; only what the served kinds refer to is kept. The server reads only the generated file.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

from millrace_local.apiserver.openapi.builtin import DATA_FILE, KUBERNETES_VERSION
from millrace_local.apiserver.resources import BUILTIN

_SOURCE = f"kubernetes-json-schema/{KUBERNETES_VERSION}-local/_definitions.json"
_REF = "#/$defs/"

# Kinds without a resource of their own: bodies of subresources and of the API itself.
_ALSO = {
    ("autoscaling", "v1", "Scale"),
    ("policy", "v1", "Eviction"),
    ("authentication.k8s.io", "v1", "TokenRequest"),
    ("", "v1", "APIGroup"),
    ("", "v1", "APIGroupList"),
    ("", "v1", "APIResourceList"),
    ("", "v1", "APIVersions"),
    ("", "v1", "DeleteOptions"),
    ("", "v1", "Status"),
    ("", "v1", "WatchEvent"),
}


def published() -> dict[str, Any]:
    """All definitions of the Kubernetes version that the API server imitates, by their published names."""
    text = resources.files("kubernetes_validate").joinpath(_SOURCE).read_text("utf-8")
    definitions: dict[str, Any] = json.loads(text)["$defs"]
    return {name: _cleaned(schema) for name, schema in definitions.items()}


def _cleaned(schema: Any) -> Any:
    """A schema without what that package adds for validators: null types, enums of the kind's own name."""
    if isinstance(schema, list):
        return [_cleaned(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    out: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "type" and isinstance(value, list):
            out["type"] = next(name for name in value if name != "null")
        elif key == "$ref":
            out["$ref"] = value.removeprefix(_REF)
        elif key == "properties":
            out["properties"] = {name: _property(name, sub) for name, sub in value.items()}
        else:
            out[key] = _cleaned(value)
    return out


def _property(name: str, schema: Any) -> Any:
    cleaned = _cleaned(schema)
    if name in {"apiVersion", "kind"}:
        cleaned.pop("enum", None)
    return cleaned


def selected(definitions: dict[str, Any]) -> dict[str, Any]:
    """The definitions that the served kinds and their lists refer to; each names only the served kinds it describes."""
    served = {(row.group, row.version, kind) for row in BUILTIN for kind in (row.kind, row.plural_list_kind)} | _ALSO
    waiting = [name for name, schema in definitions.items() if served & set(_kinds(schema))]
    kept: dict[str, Any] = {}
    while waiting:
        name = waiting.pop()
        if name not in kept:
            kept[name] = _only_served(definitions[name], served)
            waiting.extend(_references(definitions[name]))
    return dict(sorted(kept.items()))


def _kinds(schema: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    for entry in schema.get("x-kubernetes-group-version-kind", ()):
        yield entry["group"], entry["version"], entry["kind"]


def _only_served(schema: dict[str, Any], served: set[tuple[str, str, str]]) -> dict[str, Any]:
    key = "x-kubernetes-group-version-kind"
    kinds = [
        {"group": group, "version": version, "kind": kind}
        for group, version, kind in _kinds(schema)
        if (group, version, kind) in served
    ]
    rest = {name: value for name, value in schema.items() if name != key}
    return {**rest, key: kinds} if kinds else rest


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key == "$ref" and isinstance(value, str):
                yield value
            else:
                yield from _references(value)
    elif isinstance(schema, list):
        for item in schema:
            yield from _references(item)


def encoded(definitions: dict[str, Any]) -> bytes:
    """The file's bytes; the same for the same definitions."""
    text = json.dumps(definitions, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    return gzip.compress(text.encode(), compresslevel=9, mtime=0)


def main() -> None:
    """Writes the file, or with ``--check`` returns 1 if it is out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if the file is out of date")
    arguments = parser.parse_args()
    target = Path(__file__).with_name(DATA_FILE)
    content = gzip.decompress(encoded(selected(published())))
    if target.exists() and gzip.decompress(target.read_bytes()) == content:
        return
    if arguments.check:
        raise SystemExit(f"{target.name} is out of date: run python -m {__spec__.name}")
    target.write_bytes(encoded(json.loads(content)))


if __name__ == "__main__":
    main()
