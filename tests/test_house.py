"""Traps of the layout that no other tool sees."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = {
    "core": "millrace_core",
    "http": "millrace_http",
    "data": "millrace_data",
    "kube": "millrace_kube",
    "operators": "millrace_operators",
    "services": "millrace_services",
    "client": "millrace",
    "local": "millrace_local",
}


def test_each_folder_holds_one_package_and_the_import_tells_the_folder() -> None:
    found = {folder: sorted(path.name for path in (ROOT / folder).iterdir() if path.is_dir()) for folder in PACKAGES}
    assert found == {folder: [package] for folder, package in PACKAGES.items()}


def test_every_package_is_typed() -> None:
    assert [folder for folder, package in PACKAGES.items() if not (ROOT / folder / package / "py.typed").exists()] == []


def test_every_folder_with_modules_is_a_package_so_that_tools_see_its_imports() -> None:
    modules = (path for folder, package in PACKAGES.items() for path in (ROOT / folder / package).rglob("*.py"))
    assert sorted({str(path.parent) for path in modules if not (path.parent / "__init__.py").exists()}) == []


def test_what_came_is_shown_by_the_one_function_that_bounds_it() -> None:
    modules = (path for folder, package in PACKAGES.items() for path in (ROOT / folder / package).rglob("*.py"))
    # A format's precision cuts the text only after all of it was made; deep values have none.
    assert [str(path) for path in modules if "!r:." in path.read_text()] == []


def test_a_fixture_of_a_package_stands_in_one_and_ends_with_it() -> None:
    # Anywhere else pytest silently takes the scope for the session's, and servers work on until its end.
    scoped = [
        path
        for path in (ROOT / "tests").rglob("*.py")
        if path != Path(__file__) and 'scope="package"' in path.read_text()
    ]
    assert len(scoped) > 2
    folders = {folder for path in scoped for folder in path.parents if folder.is_relative_to(ROOT / "tests")}
    assert sorted(str(folder) for folder in folders if not (folder / "__init__.py").exists()) == []


MODULE = 400
FUNCTION = 40
# Each with its reason.
LONG_MODULES: dict[str, str] = {}
LONG_FUNCTIONS: dict[str, str] = {
    "operators/millrace_operators/modeldeployment/gate_job.py: gate_job": "one object, which reads as its YAML",
    "operators/millrace_operators/modeldeployment/observe.py: observe": "one value of all that a turn goes by",
    "operators/millrace_operators/modeldeployment/reconcile.py: reconcile": "the steps of a turn, in their order",
    "services/millrace_services/registry/app.py: _catalogue_routes": "the routes of a room, each a function of its own",
}


def test_no_module_is_too_long_to_be_read_in_one_go() -> None:
    lines = {name: text.count("\n") for name, text in _sources().items()}
    assert {name for name, count in lines.items() if count > MODULE} == set(LONG_MODULES)


def test_no_function_is_too_long_to_be_seen_at_once() -> None:
    """Docstrings aside; of a command its flags, too, which are its signature."""
    long = {
        f"{name}: {function.name}"
        for name, text in _sources().items()
        for function in ast.walk(ast.parse(text))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) and _lines(function) > FUNCTION
    }
    assert long == set(LONG_FUNCTIONS)


def _sources() -> dict[str, str]:
    folders = [ROOT / folder / package for folder, package in PACKAGES.items()]
    paths = (path for folder in [*folders, ROOT / "benchmarks"] for path in folder.rglob("*.py"))
    return {str(path.relative_to(ROOT)): path.read_text() for path in paths}


def _lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    is_command = any("app.command" in ast.unparse(each) for each in function.decorator_list)
    docstring = ast.get_docstring(function, clean=False)
    body = function.body[1:] if docstring is not None and len(function.body) > 1 else function.body
    if is_command:
        return (function.end_lineno or 0) - body[0].lineno + 1
    return (function.end_lineno or 0) - function.lineno + 1 - (docstring.count("\n") + 1 if docstring else 0)
