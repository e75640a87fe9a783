"""The command line as a whole: help, version, and what a mistake looks like."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import yaml

from millrace.cli import groups
from tests import warm_process
from tests.builders import feature_view


def millrace(*arguments: str) -> subprocess.CompletedProcess[str]:
    return warm_process.run(("-m", "millrace.cli.main", *arguments), os.environ, Path.cwd())


def test_the_help_names_every_group_with_its_summary() -> None:
    said = millrace("--help").stdout
    found = groups.groups()
    assert {"features", "datasets", "local"} <= {*found}
    for name, group in found.items():
        assert name in said
        assert groups.summary(group)[:40] in said


def test_the_version_is_that_of_the_distribution() -> None:
    assert millrace("--version").stdout.strip() == version("millrace")


def test_an_unknown_command_is_a_mistake_without_a_stack_trace() -> None:
    ran = millrace("lokal")
    assert ran.returncode == 2
    assert "No such command 'lokal'" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_the_help_imports_no_group() -> None:
    program = (
        "import sys; sys.argv = ['millrace', '--help']\n"
        "from millrace.cli.main import main\n"
        "groups = ('millrace_local', 'millrace.sdk')\n"
        "try: main()\n"
        "finally: print([name for name in sys.modules if name.startswith(groups)], file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ran.stderr.strip() == "[]"


def test_help_and_lists_start_without_what_they_do_not_use(tmp_path: Path) -> None:
    (tmp_path / "views.yaml").write_text(yaml.safe_dump(feature_view("stats").build()))
    program = (
        "import atexit, sys\n"
        "from millrace.cli.main import main\n"
        "atexit.register(lambda: print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr))\n"
        "main()"
    )
    for arguments in (["--help"], ["list", "--files", str(tmp_path)]):
        command = [sys.executable, "-c", program, "features", *arguments]
        said = subprocess.run(command, capture_output=True, text=True, check=True)
        assert "features" in said.stdout
        loaded = said.stderr.split()
        assert "typer" in loaded
        assert not {"pyarrow", "numpy", "redis", "fastapi", "kubernetes", "sqlalchemy"} & {*loaded}
