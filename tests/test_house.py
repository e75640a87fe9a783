"""Traps of the layout that no other tool sees."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
IMPORT_ROOTS = ("core", "operators", "services", "client", "local")


def test_no_import_root_hides_the_others_with_an_init_file() -> None:
    assert [root for root in IMPORT_ROOTS if (ROOT / root / "millrace" / "__init__.py").exists()] == []


def test_no_module_stands_directly_in_an_import_root() -> None:
    strays = [str(path) for root in IMPORT_ROOTS for path in (ROOT / root / "millrace").glob("*.py")]
    assert strays == []


def test_every_inner_package_is_typed() -> None:
    packages = [path.parent for root in IMPORT_ROOTS for path in (ROOT / root / "millrace").glob("*/__init__.py")]
    assert [str(package) for package in packages if not (package / "py.typed").exists()] == []
