"""Traps of the layout that no other tool sees."""

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
