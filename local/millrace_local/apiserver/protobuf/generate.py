"""Generates ``fields.json.gz``: number, name and type of every field of the messages that clients may send.

Run ``python -m millrace_local.apiserver.protobuf.generate API APIMACHINERY`` with the folders of the Go modules
``k8s.io/api`` and ``k8s.io/apimachinery`` after the table of built-in resources changed. A field's number is in the
struct tag of its Go type, beside its JSON name; the type is a pointer where a zero is a value.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path

from millrace_local.apiserver.resources import BUILTIN

_META = "k8s.io/apimachinery/pkg/apis/meta/v1"
_ROOTS = [
    (f"{_META}.DeleteOptions", "v1", "DeleteOptions"),
    ("k8s.io/api/autoscaling/v1.Scale", "autoscaling/v1", "Scale"),
    ("k8s.io/api/policy/v1.Eviction", "policy/v1", "Eviction"),
]
#: Types that are messages in protobuf and plain values in JSON.
_SPECIAL = {
    "k8s.io/apimachinery/pkg/api/resource.Quantity": "q",
    "k8s.io/apimachinery/pkg/util/intstr.IntOrString": "n",
    "k8s.io/apimachinery/pkg/runtime.RawExtension": "r",
    "k8s.io/apimachinery/pkg/types.UID": "s",
    f"{_META}.Time": "T",
    f"{_META}.MicroTime": "M",
    f"{_META}.FieldsV1": "r",
}
_STRUCT = re.compile(r"^type (\w+) struct \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_ALIAS = re.compile(r"^type (\w+) ((?:map\[\w+\]|\[\])?[\w.]+)$", re.MULTILINE)
_FIELD = re.compile(r"^\t(?:(\w+)\s+)?(\S+)\s+`json:\"([^\"]*)\".*?protobuf:\"\w+,(\d+)", re.MULTILINE)
_IMPORT = re.compile(r"^\s*(?:(\w+) )?\"(k8s\.io/[\w./-]+)\"$", re.MULTILINE)
_PLAIN = {"string": "s", "bool": "t", "[]byte": "b", "float64": "d"}
_INTEGERS = ("int", "int32", "int64", "uint32", "uint64")


class GoTypes:
    """The Go types of a set of packages."""

    def __init__(self, modules: dict[str, Path]) -> None:
        self._modules = modules
        self._structs: dict[str, dict[str, tuple[str, dict[str, str]]]] = {}
        self._aliases: dict[str, dict[str, str]] = {}

    def _load(self, package: str) -> None:
        if package in self._structs:
            return
        module = next(name for name in self._modules if package.startswith(f"{name}/"))
        folder = self._modules[module] / package.removeprefix(f"{module}/")
        structs, aliases = self._structs.setdefault(package, {}), self._aliases.setdefault(package, {})
        for file in sorted(folder.glob("*types.go")):
            text = file.read_text("utf-8")
            imports = {alias or path.rpartition("/")[2]: path for alias, path in _IMPORT.findall(text)}
            structs |= {name: (body, imports) for name, body in _STRUCT.findall(text)}
            aliases |= dict(_ALIAS.findall(text))

    def fields(self, message: str) -> Iterator[tuple[str, str, str]]:
        """The (number, JSON name, code) of a message's fields; an empty name means that JSON has them inline."""
        package, _, name = message.rpartition(".")
        self._load(package)
        body, imports = self._structs[package][name]
        for _, go_type, tag, number in _FIELD.findall(body):
            json_name, _, more = tag.partition(",")
            code = self._code(go_type, package, imports)
            always = json_name and "omitempty" not in more and code[0] not in "*[{"
            yield number, json_name, f"!{code}" if always else code

    def _code(self, go_type: str, package: str, imports: dict[str, str]) -> str:
        if go_type.startswith("*"):
            return "*" + self._code(go_type[1:], package, imports)
        if go_type in _PLAIN:
            return _PLAIN[go_type]
        if go_type in _INTEGERS:
            return "i"
        if go_type.startswith("[]"):
            return "[]" + self._code(go_type[2:], package, imports)
        if go_type.startswith("map["):
            return "{}" + self._code(go_type.partition("]")[2], package, imports)
        owner, dot, name = go_type.rpartition(".")
        full = f"{imports[owner] if dot else package}.{name}"
        return _SPECIAL.get(full) or self._named(full, imports)

    def _named(self, full: str, imports: dict[str, str]) -> str:
        package, _, name = full.rpartition(".")
        self._load(package)
        if name in self._structs[package]:
            return f"m{full}"
        behind = self._aliases[package].get(name, "string")
        if behind == "[]string":
            return "l"
        return self._code(behind, package, imports | {"resource": "k8s.io/apimachinery/pkg/api/resource"})


def table(go_types: GoTypes) -> dict[str, object]:
    """The messages by name, and which of them stands for which kind."""
    kinds: dict[str, str] = {}
    for resource in BUILTIN:
        if resource.group != "apiextensions.k8s.io":
            folder = resource.group.removesuffix(".k8s.io").replace("rbac.authorization", "rbac") or "core"
            kinds[f"{resource.api_version} {resource.kind}"] = f"k8s.io/api/{folder}/{resource.version}.{resource.kind}"
    kinds |= {f"{api_version} {kind}": message for message, api_version, kind in _ROOTS}
    messages: dict[str, dict[str, list[str]]] = {}
    waiting = list(kinds.values())
    while waiting:
        message = waiting.pop()
        if message in messages:
            continue
        messages[message] = {number: [name, code] for number, name, code in go_types.fields(message)}
        codes = (code.lstrip("!*[]{}") for _, code in messages[message].values())
        waiting += [code[1:] for code in codes if code.startswith("m")]
    return {"kinds": kinds, "messages": messages}


def main() -> None:
    """Writes the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("api", type=Path, help="folder of the Go module k8s.io/api")
    parser.add_argument("apimachinery", type=Path, help="folder of the Go module k8s.io/apimachinery")
    arguments = parser.parse_args()
    found = table(GoTypes({"k8s.io/apimachinery": arguments.apimachinery, "k8s.io/api": arguments.api}))
    text = json.dumps(found, separators=(",", ":"), sort_keys=True).replace('"k8s.io/', '"').replace("mk8s.io/", "m")
    Path(__file__).with_name("fields.json.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


if __name__ == "__main__":
    main()
