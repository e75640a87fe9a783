"""The session with the feature store in README.md runs as it stands there, and so do the commands after it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

README: Final = (Path(__file__).parents[2] / "README.md").read_text()
SECTION: Final = README.partition("## In a notebook")[2].partition("\n## ")[0]
# Where the page has its data: a path that every reader has.
DATA: Final = "/tmp/user-stats"


@pytest.mark.slow
def test_the_session_and_its_commands_run_from_an_empty_folder(tmp_path: Path) -> None:
    section = SECTION.replace(DATA, str(tmp_path / "data"))
    (tmp_path / "user-stats.yaml").write_text(block(section, "yaml"))
    script = block(section, "python")
    last, _, shown = script.rstrip().rpartition("\n")[2].partition("   # ")
    script += f"assert {last} == {shown}, {last}\n"
    said = run(tmp_path, sys.executable, "-c", script)
    assert said.returncode == 0, said.stderr
    commands = re.findall(r"^\$ (millrace .*)$", section, re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        said = run(tmp_path, str(Path(sys.executable).with_name("millrace")), *command.split()[1:])
        assert said.returncode == 0, (command, said.stderr)
    assert said.stderr.strip() in section
    assert "2 rows, 4 values compared, 0 differ" in said.stderr


def block(text: str, language: str) -> str:
    """The first block of a language."""
    found = re.search(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert found is not None, language
    return found[1]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """In an environment that names no cluster and no store."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MILLRACE_", "KUBECONFIG"))
    }
    return subprocess.run(
        arguments, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
