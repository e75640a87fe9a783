"""What documents, comments and messages name is there: files, modules by their dotted name, extras to install."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
FOLDERS: Final = {
    "millrace_core": "core",
    "millrace_http": "http",
    "millrace_data": "data",
    "millrace_kube": "kube",
    "millrace_operators": "operators",
    "millrace_services": "services",
    "millrace": "client",
    "millrace_local": "local",
}
# Paths of files of ours: below a package, or a document, an image, a benchmark.
PATH: Final = re.compile(
    r"(?<![\w/.-])(?:(?:core|http|data|kube|operators|services|client|local)/millrace\w*|docs|images|benchmarks|charts|manifests)"
    r"/[\w./-]*[\w]"
)
MODULE: Final = re.compile(
    r"(?<![\w/.@-])millrace_(?:core|http|data|kube|operators|services|local)(?:\.\w+)+(?![\w(/-])"
)
SUFFIXES: Final = {".md", ".py", ".yaml", ".toml", ".yml"}


def texts() -> Iterator[tuple[str, str]]:
    """Every tracked text with its path, without tests, whose samples name what is not there on purpose."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.splitlines():
        path = ROOT / name
        if path.suffix in SUFFIXES and not name.startswith("tests/") and path.is_file() and not path.is_symlink():
            yield name, path.read_text()


def module_is_there(name: str) -> bool:
    """Whether it is a module, or a name that its module's text has."""
    parts = name.split(".")
    place = ROOT / FOLDERS[parts[0]] / parts[0]
    for index, part in enumerate(parts[1:], start=1):
        if (place / part).is_dir():
            place /= part
            continue
        module = place / f"{part}.py"
        rest = parts[index + 1 :] if module.exists() else parts[index:]
        text = (module if module.exists() else place / "__init__.py").read_text()
        return all(re.search(rf"\b{re.escape(each)}\b", text) for each in rest)
    return True


def test_every_file_that_a_text_names_is_there() -> None:
    missing = {
        f"{name}: {path}"
        for name, text in texts()
        for path in PATH.findall(text)
        if not any((ROOT / each).exists() for each in (path, f"{path}.py"))
    }
    assert sorted(missing) == []


def test_every_file_that_a_document_names_without_its_folder_is_somewhere() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    known = {Path(name).name for name in listed.splitlines()}
    missing = {
        f"{name}: {file}"
        for name, text in texts()
        if name.endswith(".md")
        for file in re.findall(r"`(\w+\.py)`", text)
        if file not in known
    }
    assert sorted(missing) == []


def test_every_extra_that_a_text_names_is_there() -> None:
    extras = {
        distribution: {*tomllib.loads(project.read_text())["project"]["optional-dependencies"]}
        for distribution, project in (
            ("millrace", ROOT / "pyproject.toml"),
            ("millrace-local", ROOT / "local" / "pyproject.toml"),
        )
    }
    named = [
        (name, distribution, extra)
        for name, text in texts()
        for distribution, list_ in re.findall(r"(?<![\w-])(millrace|millrace-local)\[([a-z,-]+)\]", text)
        for extra in list_.split(",")
    ]
    assert named
    assert [each for each in named if each[2] not in extras[each[1]]] == []


def test_every_module_that_a_text_names_is_there() -> None:
    missing = {
        f"{name}: {module}" for name, text in texts() for module in MODULE.findall(text) if not module_is_there(module)
    }
    assert sorted(missing) == []
