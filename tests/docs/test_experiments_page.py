"""docs/experiments.md is run from top to bottom: its JSON as files, its commands beside what they print."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from millrace.cli.main import run
from millrace_core.api import checking

PAGE = (Path(__file__).parents[2] / "docs" / "experiments.md").read_text()
FILE = re.compile(r"^```json\n# (\S+\.json)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SESSION = re.compile(r"^```console\n\$ millrace ([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def test_what_the_page_applies_is_taken() -> None:
    pieces = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    [whole] = [yaml.safe_load(each) for each in pieces if "kind: Experiment" in each]
    [of_metrics] = [yaml.safe_load(each) for each in pieces if each.startswith("  metrics:\n  - name: errors")]
    specs = [yaml.safe_load(each) for each in pieces if each.startswith("spec:\n  type: ")]
    assert checking.check(whole).faults == []
    envelope = {key: whole[key] for key in ("apiVersion", "kind", "metadata")}
    assert [each["spec"]["type"] for each in specs] == ["BlueGreen", "Shadow", "ABTest", "Bandit"]
    for spec in (*specs, {"spec": {**whole["spec"], **of_metrics}}):
        assert checking.check({**envelope, **spec}).faults == []


def test_every_command_of_the_page_prints_what_stands_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in FILE.findall(PAGE):
        (tmp_path / name).write_text(content)
    sessions = SESSION.findall(PAGE)
    assert len(sessions) == PAGE.count("```console") == 5
    for command, expected in sessions:
        with pytest.raises(SystemExit):
            run(command.split())
        assert capsys.readouterr().out == expected, command
