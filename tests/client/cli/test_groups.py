"""Groups of commands that other distributions add: they join where they are installed, and harm nobody else."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import pytest

from millrace.cli import groups
from millrace_core.base.errors import ReportError
from tests import warm_process

WORKING = '''"""Serves what was not served before.

More about it.
"""
import typer

app = typer.Typer()
app.callback()(lambda: None)
app.command("now")(lambda: print("it runs"))
'''
EXTRAS = {"extras": "commands:app"}
# What a module may do wrong, and what the caller of its command is told.
BROKEN = {
    "raises": ('"""Raises."""\nraise RuntimeError("half written")\n', "RuntimeError: half written"),
    "syntax": ('"""No Python."""\ndef\n', "SyntaxError"),
    "library": ('"""Lacks a library."""\nimport not_a_library\n', "needs not_a_library, which is not installed"),
    "nothing": ('"""Has no application."""\n', "AttributeError"),
    "another": ('"""Is something else."""\napp = 7\n', "is int, not a typer application"),
    "exits": ('"""Ends the process."""\nimport sys\nsys.exit(0)\n', "SystemExit"),
}


class Installed:
    """A folder of distributions, each with modules and entry points, which processes find on their path."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(
        self, name: str, modules: Mapping[str, str], commands: Mapping[str, str], requires: Sequence[str] = ()
    ) -> None:
        """A distribution of that name with these modules, groups of commands and requirements."""
        for module, source in modules.items():
            (self._folder / f"{module}.py").write_text(source)
        metadata = self._folder / f"{name}-1.0.dist-info"
        metadata.mkdir()
        needed = "".join(f"Requires-Dist: {each}\n" for each in requires)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{needed}")
        lines = "".join(f"{group} = {value}\n" for group, value in commands.items())
        (metadata / "entry_points.txt").write_text(f"[{groups.ENTRY_POINTS}]\n{lines}")

    def spoil(self, name: str, entry_points: str) -> None:
        """A distribution whose entry points are this text, as it is."""
        self.add(name, {}, {})
        (self._folder / f"{name}-1.0.dist-info" / "entry_points.txt").write_bytes(entry_points.encode("latin-1"))

    def millrace(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs the command line where they are installed."""
        return warm_process.run(("-m", "millrace.cli.main", *arguments), os.environ, self._folder)


@pytest.fixture
def installed(tmp_path: Path) -> Installed:
    return Installed(tmp_path)


def test_a_group_of_another_distribution_joins_the_command_line(installed: Installed) -> None:
    installed.add("others", {"serving_commands": WORKING}, {"extras": "serving_commands:app"})
    help_text = installed.millrace("--help").stdout
    assert "extras" in help_text
    assert "Serves what was not served before." in help_text
    assert installed.millrace("extras", "now").stdout == "it runs\n"


@pytest.mark.slow
@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_group_harms_only_its_own_commands(installed: Installed, fault: str) -> None:
    source, told = BROKEN[fault]
    installed.add("others", {"broken_commands": source}, {"extras": "broken_commands:app"})
    for arguments in (["--help"], ["features", "--help"]):
        ran = installed.millrace(*arguments)
        assert (ran.returncode, ran.stderr) == (0, "")
    ran = installed.millrace("extras", "now")
    assert ran.returncode == 1
    assert "`millrace extras`" in ran.stderr
    assert told in ran.stderr
    assert "others" in ran.stderr
    assert "Traceback" not in ran.stderr


# A command that imports a library when it needs it; the name that stands for it is the test's.
LAZY: Final = WORKING.replace('lambda: print("it runs")', 'lambda: __import__("LIBRARY")')
REQUIRED: Final = (
    "not-a-library>=2; extra == 'all'",
    "others-of-it; extra == 'all'",
    "not-a-library>=2; extra == 'small'",
    "always_there>=1.0",
)
# What is missing while a command runs, and what pip is to be given for it.
MISSING: Final = {
    "not_a_library": "'others[small]'",
    "always_there.inside": "others",
    "nobody_names_it": "others",
}


@pytest.mark.parametrize("library", MISSING)
def test_a_library_that_is_missing_while_a_command_runs_is_told_with_the_line_that_installs_it(
    installed: Installed, library: str
) -> None:
    source = LAZY.replace("LIBRARY", library)
    installed.add("others", {"lazy_commands": source}, {"extras": "lazy_commands:app"}, REQUIRED)
    ran = installed.millrace("extras", "now")
    name = library.partition(".")[0]
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == (
        f"millrace: `millrace extras` needs {name}, which is not installed. "
        f"Install it with: pip install {MISSING[library]}\n"
    )


def test_a_module_of_ours_that_is_missing_while_a_command_runs_is_a_fault_and_no_library(installed: Installed) -> None:
    source = LAZY.replace("LIBRARY", "millrace_core.gone")
    installed.add("others", {"lazy_commands": source}, {"extras": "lazy_commands:app"})
    assert "No module named 'millrace_core.gone'" in installed.millrace("extras", "now").stderr


def test_brackets_in_a_summary_are_shown_and_are_no_markup(installed: Installed) -> None:
    said = "Serves [red]views[/bold] of [1]."
    installed.add("others", {"commands": WORKING.replace("Serves what was not served before.", said)}, EXTRAS)
    for arguments in (["--help"], ["extras", "--help"]):
        ran = installed.millrace(*arguments)
        assert said in ran.stdout
        assert ran.returncode == 0


def test_a_group_whose_module_is_gone_harms_only_its_own_commands(installed: Installed) -> None:
    installed.add("others", {}, {"extras": "gone.commands:app", "odd": "gone"})
    assert installed.millrace("--help").returncode == 0
    assert "needs gone, which is not installed" in installed.millrace("extras", "now").stderr


@pytest.mark.parametrize("value", ["???", "", "no module:app", ":app"], ids=["signs", "empty", "a space", "no module"])
def test_an_entry_point_that_names_no_module_harms_only_its_own_commands(installed: Installed, value: str) -> None:
    installed.add("others", {"serving_commands": WORKING}, {"broken": value, "extras": "serving_commands:app"})
    assert "Serves what was not served before." in installed.millrace("--help").stdout
    assert installed.millrace("extras", "now").stdout == "it runs\n"
    refused = installed.millrace("broken")
    assert "`millrace broken` cannot be loaded" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_module_that_no_parser_can_hold_harms_only_its_own_commands(installed: Installed) -> None:
    installed.add("others", {"deep": "-" * 200_000 + "1\n"}, {"deep": "deep:app"})
    assert "deep" in installed.millrace("--help").stdout


def test_a_group_that_lacks_a_library_says_which_extra_to_install(installed: Installed) -> None:
    installed.add("others", {"commands": BROKEN["library"][0]}, {"extras": "commands:app [registry,gateway]"})
    assert "Install it with: pip install 'others[registry,gateway]'" in installed.millrace("extras").stderr


def test_no_distribution_takes_the_name_of_a_group_of_the_sdk(installed: Installed) -> None:
    installed.add("others", {"commands": WORKING}, {"features": "commands:app"})
    assert "Serves" not in installed.millrace("--help").stdout
    assert "historical" in installed.millrace("features", "--help").stdout


def test_a_group_that_two_distributions_add_is_refused_with_both_their_names(installed: Installed) -> None:
    installed.add("others", {"commands": WORKING}, EXTRAS)
    installed.add("rivals", {"commands2": WORKING}, {"extras": "commands2:app"})
    assert installed.millrace("--help").stdout.count(" extras ") == 1
    ran = installed.millrace("extras", "now")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "`millrace extras` is added by others and by rivals" in ran.stderr


@pytest.mark.parametrize(
    "text", ["no section\n", "[millrace.commands]\nserve\n", "[millrace.commands]\n= x:y\n", "\xff"]
)
def test_entry_points_that_cannot_be_read_harm_no_other_distribution(installed: Installed, text: str) -> None:
    installed.add("others", {"commands": WORKING}, EXTRAS)
    installed.spoil("broken", text)
    assert installed.millrace("--help").returncode == 0
    assert installed.millrace("extras", "now").stdout == "it runs\n"


def test_a_group_of_a_distribution_that_is_not_installed_says_what_to_install() -> None:
    with pytest.raises(ReportError, match=r"comes with millrace-local, which is not installed.*pip install ./local"):
        groups.missing(["local", "up"], {})


def test_a_group_that_is_installed_is_not_missing() -> None:
    known = groups.groups()
    assert "local" in known
    groups.missing(["local", "up"], known)
    groups.missing([], known)
