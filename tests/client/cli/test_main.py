"""The command line as a whole: help, version, and what a mistake looks like."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest

from millrace.base.errors import ReportError
from millrace.cli import groups


def millrace(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "millrace.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_help_names_every_group_with_its_summary() -> None:
    said = millrace("--help").stdout
    for name, group in groups.GROUPS.items():
        assert name in said
        assert group.summary[:40] in said


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
        "groups = ('millrace.local', 'millrace.sdk')\n"
        "try: main()\n"
        "finally: print([name for name in sys.modules if name.startswith(groups)], file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ran.stderr.strip() == "[]"


def test_a_group_whose_library_is_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    group = groups.Group("millrace.nowhere.commands", "Nothing.", extra="local")
    monkeypatch.setattr(groups, "GROUPS", {"nowhere": group})
    with pytest.raises(ReportError, match=r"needs millrace.nowhere, which is not installed.*millrace\[local\]"):
        groups.load("nowhere")
