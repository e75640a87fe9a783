"""Private names of libraries that we lean on: each is in the table below, is there, and is bounded in pyproject.toml.

When one of these fails after an upgrade: look at what the library does now, change the file that the table names, and
then raise the upper bound.
"""

from __future__ import annotations

import ast
import importlib
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("core/millrace_core", "data/millrace_data", "client/millrace", "services/millrace_services/materialize")

# What we lean on, by the file that does: library, and the private names.
TABLE: dict[str, tuple[str, frozenset[str]]] = {
    "data/millrace_data/sources/delta.py": ("deltalake", frozenset({"_table"})),
    "data/millrace_data/sources/iceberg_files.py": (
        "pyiceberg",
        frozenset({"_read_all_delete_files", "_record_batches_from_scan_tasks_and_deletes", "_io"}),
    ),
    "data/millrace_data/sources/warehouse.py": ("pymysql", frozenset({"_result"})),
}
# Documented, although they begin so.
DOCUMENTED = {"_replace", "_asdict", "_fields", "_make", "_exit"}


def private(text: str) -> bool:
    return text.startswith("_") and not text.startswith("__") and text not in DOCUMENTED


def own_names(tree: ast.Module) -> set[str]:
    """Names that a module gives to its own things."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
            found.add(node.attr)
    return found


def foreign_names(tree: ast.Module) -> Iterator[str]:
    """Private names that a module reads from what is not its own."""
    own = own_names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not (node.module or "").startswith("millrace"):
            yield from (each.name for each in node.names if private(each.name))
        elif isinstance(node, ast.Attribute) and private(node.attr) and node.attr not in own:
            yield node.attr
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("getattr", "setattr"):
            yield from (
                each.value
                for each in node.args[1:2]
                if isinstance(each, ast.Constant) and private(str(each.value)) and each.value not in own
            )


def test_private_names_of_libraries_are_used_only_where_the_table_says() -> None:
    found: dict[str, frozenset[str]] = {}
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if names := frozenset(foreign_names(ast.parse(path.read_text()))):
                found[str(path.relative_to(ROOT))] = names
    assert found == {path: names for path, (_, names) in TABLE.items()}


@pytest.mark.parametrize("library", sorted({library for library, _ in TABLE.values()}))
def test_a_library_whose_private_names_are_used_has_an_upper_bound(library: str) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    [line] = {each for lines in extras.values() for each in lines if each.startswith((f"{library}>", f"{library}["))}
    assert ",<" in line, f"{library} needs an upper bound in pyproject.toml: {line}"


def require(library: str, owner: Any, name: str) -> None:
    where = next(path for path, (of, _) in TABLE.items() if of == library)
    assert hasattr(owner, name), (
        f"{library} {version(library)} has no {owner!r}.{name} any more, on which {where} leans"
    )


@pytest.mark.slow
def test_deltalake_tells_the_files_of_a_version_with_what_is_known_of_them(tmp_path: Path) -> None:
    deltalake = importlib.import_module("deltalake")
    deltalake.write_deltalake(str(tmp_path), pa.table({"x": [1, 2]}))
    table = deltalake.DeltaTable(str(tmp_path))
    require("deltalake", table, "_table")
    require("deltalake", table._table, "dataset_partitions")
    [(path, known)] = table._table.dataset_partitions(pa.schema(table.schema().to_arrow()), None)
    assert path.endswith(".parquet")
    assert "x" in str(known)


def test_pyiceberg_reads_deletes_and_batches_of_a_file() -> None:
    module = importlib.import_module("pyiceberg.io.pyarrow")
    require("pyiceberg", module, "_read_all_delete_files")
    require("pyiceberg", module.ArrowScan, "_record_batches_from_scan_tasks_and_deletes")
    require("pyiceberg", module.PyArrowFileIO, "parse_location")
    assert "_io" in module.ArrowScan.__annotations__, "ArrowScan of pyiceberg keeps its FileIO under another name"


def test_pymysql_says_whether_a_result_is_still_being_read() -> None:
    connections, cursors = importlib.import_module("pymysql.connections"), importlib.import_module("pymysql.cursors")
    connection = connections.Connection(defer_connect=True)
    require("pymysql", connection, "_result")
    require("pymysql", cursors.SSCursor(connection), "_result")
    require("pymysql", connections.MySQLResult(connection), "unbuffered_active")
