"""Each process imports and installs what it uses: nobody waits for, carries or patches what is another's.

A process is started where only the libraries of its extra can be imported, which are the libraries of its image.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires, version
from pathlib import Path
from typing import Any, Final

import grimp
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).parents[1]
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCAL: Final = tomllib.loads((ROOT / "local" / "pyproject.toml").read_text())["project"]
OWN: Final = tuple(
    path.name
    for folder in ("core", "http", "data", "kube", "operators", "services", "client", "local")
    for path in (ROOT / folder).iterdir()
    if path.is_dir()
)
requirements_of = runpy.run_path(str(ROOT / "images" / "requirements.py"))["requirements"]

KUBERNETES: Final = {"kopf", "kubernetes"}
WEB: Final = {"fastapi", "starlette", "uvicorn"}
ENGINES: Final = {"duckdb", "pandas", "pyarrow"}
MODELS: Final = {"onnxruntime"}


@dataclass(frozen=True)
class Process:
    """One process.

    Attributes:
        command: what is run; it reads its settings, of which one is wrong or missing, so that it ends by itself.
        rooms: the packages that it is made of; what they import in turn belongs to it, too.
        never: libraries that it does not load at its start, though they may be installed.
        extra: that names what it imports, where that is not called like it: it runs in the image of another process.
    """

    command: tuple[str, ...]
    rooms: tuple[str, ...]
    never: frozenset[str]
    extra: str = ""


PROCESSES: Final[Mapping[str, Process]] = {
    "operators": Process(
        ("millrace_operators.operator",),
        ("millrace_operators",),
        frozenset({*WEB - {"uvicorn"}, *ENGINES, *MODELS, "boto3", "kubernetes", "numpy", "redis", "sqlalchemy"}),
    ),
    "gateway": Process(
        ("millrace_services.gateway",),
        ("millrace_services.gateway", "millrace_core.features.online"),
        frozenset({*KUBERNETES, *ENGINES, *MODELS, "aiohttp", "boto3", "sqlalchemy"}),
    ),
    "registry": Process(
        ("millrace_services.registry",),
        ("millrace_services.registry",),
        frozenset({*KUBERNETES, *ENGINES, *MODELS, "aiohttp", "boto3", "redis"}),
    ),
    "inference": Process(
        ("millrace_services.inference", "serve"),
        ("millrace_services.inference",),
        frozenset({*KUBERNETES, *ENGINES, "boto3", "google", "grpc", "redis", "sqlalchemy"}),
    ),
    "evidence": Process(
        ("millrace_services.evidence",),
        ("millrace_services.evidence",),
        frozenset({*KUBERNETES, *WEB, *MODELS, *ENGINES, "redis", "sqlalchemy"}),
    ),
    "gate": Process(
        ("millrace_services.gate",),
        ("millrace_services.gate",),
        frozenset({*KUBERNETES, "boto3", "duckdb", "pandas", "redis", "sqlalchemy"}),
        extra="inference",
    ),
    "materialize": Process(
        ("millrace_services.materialize", "run"),
        ("millrace_services.materialize", "millrace_data.sources"),
        frozenset({*KUBERNETES, *WEB, *MODELS, "deltalake", "pandas", "pyiceberg", "sqlalchemy"}),
    ),
}
EXTRAS_OF_PROCESSES: Final = {name: process.extra or name for name, process in PROCESSES.items()}
# Imported without being named in an extra: what brings them is.
BROUGHT: Final = {"starlette": "fastapi", "botocore": "boto3", "hiredis": "redis", "pydantic_core": "pydantic"}
# Named in an extra without being imported by us: drivers that a database's URL names, and
# replies that the Redis client takes where it is installed, what catalogs of the type glue need,
# statistics, which the operator loads for an Experiment that has some, and YAML, for kubeconfigs that are not JSON.
UNSEEN: Final = {"psycopg", "pymysql", "boto3", "numpy", "scipy", "yaml"}

# Modules of sources whose libraries have extras of their own.
OPENED_BY_NAME: Final = ("database_door", "delta", "iceberg", "iceberg_door", "iceberg_files", "warehouse")

# Runs first in every process here: says at its end what it loaded, and finds nothing that it is not to have.
AT_START: Final = """
import atexit, json, os, sys
from importlib.machinery import PathFinder

refused = {*json.loads(os.environ["TEST_REFUSED"])}

class _Installed(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in refused else super().find_spec(name, path, target)

sys.meta_path = [_Installed if finder is PathFinder else finder for finder in sys.meta_path]
atexit.register(lambda: print(
    json.dumps([*sys.modules]), file=open(os.environ["TEST_LOADED"], "w")
))
"""
WRONG: Final = {"MILLRACE_LOG_LEVEL": "loud"}


@dataclass(frozen=True)
class Ended:
    """How a process ended, and the modules that it had loaded."""

    code: int
    output: str
    modules: frozenset[str]

    @property
    def loaded(self) -> frozenset[str]:
        """The libraries, and packages of ours."""
        return frozenset(name.partition(".")[0] for name in self.modules)


def run(folder: Path, arguments: Iterable[str], allowed: frozenset[str] | None = None) -> Ended:
    """Runs Python with these arguments; of what is installed only the modules ``allowed`` can be imported, if given."""
    refused = third_party() - allowed if allowed is not None else ()
    (folder / "sitecustomize.py").write_text(AT_START)
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("MILLRACE_", "COV_"))}
    environ |= WRONG | {"PYTHONPATH": str(folder), "TEST_LOADED": str(folder / "loaded.json")}
    environ |= {"TEST_REFUSED": json.dumps([*refused]), "NO_COLOR": "1"}
    ended = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environ,
        cwd=folder,
    )
    loaded = json.loads((folder / "loaded.json").read_text())
    return Ended(ended.returncode, ended.stdout + ended.stderr, frozenset(loaded))


@cache
def modules_by_distribution() -> Mapping[str, frozenset[str]]:
    """The top-level modules of every installed distribution, by its name in lower case with hyphens."""
    found: dict[str, set[str]] = {}
    for module, distributions in packages_distributions().items():
        for name in distributions:
            found.setdefault(canonicalize_name(name), set()).add(module)
    return {name: frozenset(modules) for name, modules in found.items()}


def third_party() -> frozenset[str]:
    """The top-level modules of all that is installed but ours."""
    return frozenset().union(*modules_by_distribution().values()) - {*OWN}


def installed_with(requirements: Iterable[str]) -> frozenset[str]:
    """The top-level modules that there are once these requirements are installed."""
    wanted = [(Requirement(each), "") for each in requirements]
    seen: set[tuple[str, str]] = set()
    modules: set[str] = set()
    while wanted:
        requirement, extra = wanted.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        for asked in ("", *requirement.extras):
            if (name, asked) not in seen:
                seen.add((name, asked))
                modules |= modules_by_distribution().get(name, frozenset())
                try:
                    wanted += [(Requirement(each), asked) for each in requires(name) or ()]
                except PackageNotFoundError:
                    continue
    return frozenset(modules)


def local_requirements(*extras: str) -> list[str]:
    """What is installed with millrace-local: its own requirements, and those of the processes that it runs."""
    [ours] = [each for each in LOCAL["dependencies"] if each.startswith("millrace[")]
    processes = Requirement(ours).extras
    others = [each for each in LOCAL["dependencies"] if each != ours]
    others += [each for extra in extras for each in LOCAL["optional-dependencies"][extra]]
    named = PROJECT["optional-dependencies"]
    return [*PROJECT["dependencies"], *others, *(each for extra in processes for each in requirements_of(named, extra))]


@pytest.mark.slow
@pytest.mark.parametrize("name", PROCESSES)
def test_a_process_starts_with_its_own_libraries_alone_and_waits_for_no_other(name: str, tmp_path: Path) -> None:
    process = PROCESSES[name]
    allowed = installed_with(requirements_of(PROJECT["optional-dependencies"], EXTRAS_OF_PROCESSES[name]))
    assert "typer" not in allowed
    ended = run(tmp_path, ("-m", *process.command), allowed)
    # It has imported all that it starts with, and has come to its settings.
    assert re.search("MILLRACE_(LOG_LEVEL|FEATURE_VIEW|LAKE_URI|GATES)", ended.output), ended.output
    assert "Traceback" not in ended.output
    assert ended.code == 2
    assert process.rooms[0].partition(".")[0] in ended.loaded
    assert not process.never & ended.loaded


def test_the_client_imports_no_library_at_all_until_something_of_it_is_used(tmp_path: Path) -> None:
    loaded, always = (run(tmp_path, ("-c", program)).loaded for program in ("import millrace", ""))
    assert (loaded - always) & third_party() == set()
    assert loaded & {*OWN} == {"millrace", "millrace_core"}


@pytest.mark.slow
def test_every_public_name_of_the_client_works_without_the_libraries_of_the_processes(tmp_path: Path) -> None:
    allowed = installed_with(PROJECT["dependencies"])
    assert not allowed & {*KUBERNETES, *WEB, *MODELS, "aiohttp", "sqlalchemy"}
    ended = run(tmp_path, ("-c", "import millrace\nfor name in millrace.__all__: getattr(millrace, name)"), allowed)
    assert (ended.code, ended.output) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [["--help"], ["features", "--help"], ["datasets", "--help"], ["experiment", "--help"]]
)
def test_the_command_works_without_the_libraries_of_the_processes(arguments: list[str], tmp_path: Path) -> None:
    ended = run(tmp_path, ("-m", "millrace.cli.main", *arguments), installed_with(PROJECT["dependencies"]))
    assert ended.code == 0, ended.output
    if "datasets" not in arguments:
        assert not ended.loaded & {*ENGINES, "httpx", "millrace_data", "numpy", "redis", "yaml"}


def test_statistics_of_experiments_say_which_extra_they_need(tmp_path: Path) -> None:
    arguments = ("--kind", "proportion", "--baseline", "0.1", "--mde", "10%")
    command = ("-m", "millrace.cli.main", "experiment", "plan", *arguments)
    ended = run(tmp_path, command, installed_with(PROJECT["dependencies"]))
    assert ended.code == 1
    assert re.search(r"need scipy, .*Install it with: pip install 'millrace\[experiments\]'", ended.output)


def test_serving_without_its_libraries_says_which_extra_it_needs(tmp_path: Path) -> None:
    command = ("-m", "millrace.cli.main", "serve", "model.onnx")
    ended = run(tmp_path, command, installed_with(PROJECT["dependencies"]))
    assert ended.code == 1
    assert re.search(r"`millrace serve` needs .*Install it with: pip install 'millrace\[inference\]'", ended.output)


def test_local_commands_that_lack_a_library_say_what_to_install(tmp_path: Path) -> None:
    ended = run(tmp_path, ("-m", "millrace.cli.main", "local", "up"), installed_with(PROJECT["dependencies"]))
    assert ended.code == 1
    assert re.search("`millrace local` needs .*Install it with: pip install millrace-local", ended.output)


# What the client can do with an extra more, and what is to be installed for it.
EXTRAS: Final = {
    "FeatureStore.from_cluster()": "cluster",
    "FeatureStore.from_files([], online='embedded')._store_url()": "embedded",
    "TrainingSet(pyarrow.table({'a': [1]}), None).to_pandas()": "notebook",
    "TrainingSet(pyarrow.table({'a': [1]}), None).to_polars()": "notebook",
}


@pytest.mark.slow
@pytest.mark.parametrize("call", EXTRAS)
def test_what_needs_an_extra_says_which_one(call: str, tmp_path: Path) -> None:
    program = (
        "import os, sys, pyarrow\nfrom millrace import FeatureStore, MillraceError, TrainingSet\n"
        "os.chdir(sys.argv[1])\n"
        f"try: {call}\nexcept MillraceError as error: print(error)"
    )
    ended = run(tmp_path, ("-c", program, str(tmp_path)), installed_with(PROJECT["dependencies"]))
    assert f"pip install 'millrace[{EXTRAS[call]}]'" in ended.output
    assert "Traceback" not in ended.output


# What no process of the laptop mode loads at its start, and each takes a while: some only happen to be installed, some
# are for what comes later, and some are another's.
LATER: Final = frozenset(
    {*KUBERNETES, *ENGINES, *MODELS, "alembic", "boto3", "google", "grpc", "kubernetes_validate", "pygments", "rich"}
)
# Each process of the laptop mode: its command, which ends by itself, its exit code, and what else it does not load, as
# modules or the packages that hold them. All of them share the machine, and a person waits for the last.
LAPTOP: Final[Mapping[str, tuple[tuple[str, ...], int, frozenset[str]]]] = {
    "command": (
        ("millrace.cli.main", "local", "status"),
        3,
        frozenset({*WEB, "aiohttp", "asyncio", "cryptography", "httpx", "numpy", "orjson", "prometheus_client", "re2"}),
    ),
    "supervisor": (
        ("millrace_local.stack", "--help"),
        0,
        frozenset(
            {*WEB, "aiohttp", "cryptography", "httpx", "millrace_core.schema", "millrace_kube.client", "numpy"}
            | {"prometheus_client", "pydantic", "yaml"}
        ),
    ),
    "apiserver": (
        ("millrace_local.apiserver", "--data", ".", "--kubeconfig", "kubeconfig", "--crds", "absent"),
        2,
        frozenset({*WEB - {"uvicorn"}, "aiohttp", "httpx", "numpy", "prometheus_client", "pydantic"}),
    ),
    "agent": (
        ("millrace_local.agent", "--help"),
        0,
        frozenset(
            {*WEB, "cryptography", "httpx", "millrace_core.schema", "numpy", "prometheus_client", "pydantic", "yaml"}
        ),
    ),
    "gateway": (
        ("millrace_services.gateway",),
        2,
        frozenset({"aiohttp", "cryptography", "millrace_core.api.experiment", "millrace_core.api.modeldeployment"}),
    ),
    "registry": (("millrace_services.registry",), 2, frozenset({"aiohttp", "cryptography", "httpx", "numpy", "redis"})),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LAPTOP)
def test_a_process_of_the_laptop_mode_starts_with_its_libraries_alone_and_without_what_only_others_need(
    name: str, tmp_path: Path
) -> None:
    command, code, never = LAPTOP[name]
    ended = run(tmp_path, ("-m", *command), installed_with(local_requirements()))
    assert ended.code == code, ended.output
    assert "Traceback" not in ended.output
    assert sorted(each for each in LATER | never if each in ended.modules) == []


@pytest.mark.slow
def test_the_demo_says_which_extra_it_needs(tmp_path: Path) -> None:
    ended = run(tmp_path, ("-m", "millrace_local.demo"), installed_with(local_requirements()))
    assert ended.code == 2
    assert re.search(r"The demo stopped: it needs sklearn, .*pip install 'millrace-local\[demo\]'", ended.output)


@cache
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(*OWN, include_external_packages=True, exclude_type_checking_imports=True, cache_dir=None)


def imported_by(rooms: Iterable[str], but: Iterable[str] = ()) -> Mapping[str, str]:
    """Per library one of the modules that import it, of these rooms and of what they import of ours, now or later."""
    wanted = [
        module for room in rooms for module in (room, *graph().find_descendants(room)) if module in graph().modules
    ]
    seen, found = {*but}, {}
    while wanted:
        module = wanted.pop()
        if module in seen:
            continue
        seen.add(module)
        for each in graph().find_modules_directly_imported_by(module):
            if each.partition(".")[0] in OWN:
                wanted.append(each)
            elif each not in sys.stdlib_module_names:
                found[each] = module
    return found


def named(requirements: Iterable[str]) -> frozenset[str]:
    """The modules of the distributions that the requirements name, without those that they bring."""
    names = {canonicalize_name(Requirement(each).name) for each in requirements}
    return frozenset(module for name in names for module in modules_by_distribution().get(name, frozenset()))


def unnamed(imported: Mapping[str, str], known: frozenset[str]) -> Mapping[str, str]:
    """What is imported of libraries that no requirement names, with a module that does."""
    return {name: module for name, module in imported.items() if not {name, BROUGHT.get(name)} & known}


def check(requirements: list[str], imported: Mapping[str, str]) -> None:
    """The requirements name every library that is imported, and no other."""
    known = named(requirements)
    assert unnamed(imported, known) == {}
    used = {*imported, *(BROUGHT[name] for name in imported if name in BROUGHT), *UNSEEN}
    assert [each for each in requirements if not named([each]) & used] == []


@pytest.mark.parametrize("extra", dict.fromkeys(EXTRAS_OF_PROCESSES.values()))
def test_an_extra_names_all_that_its_processes_may_import_and_nothing_else(extra: str) -> None:
    rooms = [room for name, each in EXTRAS_OF_PROCESSES.items() if each == extra for room in PROCESSES[name].rooms]
    check(requirements_of(PROJECT["optional-dependencies"], extra), imported_by(rooms))


def test_the_client_depends_on_all_that_it_may_import_and_on_nothing_else() -> None:
    # Opened by name, each with an extra of its own; models of Google's store are fetched by servers alone.
    tables = {f"millrace_data.sources.{name}" for name in OPENED_BY_NAME}
    imported = {**imported_by(["millrace", "millrace_data"], but=tables)}
    for name in ("sqlalchemy", "pyiceberg", "polars", "scipy", "cryptography"):
        imported.pop(name, None)
    check(PROJECT["dependencies"], imported)


def test_the_laptop_mode_depends_on_all_that_it_may_import() -> None:
    imported = imported_by(["millrace_local"])
    known = named(local_requirements("demo"))
    assert unnamed(imported, known) == {}


def test_both_distributions_and_the_chart_are_of_one_version() -> None:
    chart = yaml.safe_load((ROOT / "charts" / "millrace" / "Chart.yaml").read_text())
    assert {PROJECT["version"], LOCAL["version"], chart["version"], chart["appVersion"]} == {PROJECT["version"]}
    assert any(each.endswith(f"=={PROJECT['version']}") for each in LOCAL["dependencies"])


def test_the_lock_and_the_constraints_for_pip_are_the_same() -> None:
    lock = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    locked = {(canonicalize_name(each["name"]), each["version"]) for each in lock}
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {tuple(line.partition(" ")[0].split("==")) for line in lines}
    assert pinned <= locked
    ours: dict[str, Any] = {each["name"]: each for each in lock if each["name"] in {"millrace", "millrace-local"}}
    for project in (PROJECT, LOCAL):
        extras = project["optional-dependencies"].values()
        declared = [Requirement(each) for each in [*project["dependencies"], *(r for extra in extras for r in extra)]]
        listed = ours[project["name"]]["metadata"]["requires-dist"]
        for name in {each["name"] for each in listed} | {canonicalize_name(each.name) for each in declared}:
            bounds = {each.specifier for each in declared if canonicalize_name(each.name) == name}
            assert (
                name in ours or {SpecifierSet(each["specifier"]) for each in listed if each["name"] == name} == bounds
            )


def test_the_installed_version_is_that_of_the_checkout() -> None:
    assert version("millrace") == PROJECT["version"]
