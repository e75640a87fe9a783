"""docs/features.md is executed from top to bottom: its YAML as files, its Python as doctests."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

from millrace.sdk import embedded

PAGE = Path(__file__).parents[2] / "docs" / "features.md"
YAML = re.compile(r"^```yaml\n# (\S+\.yaml)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FENCE = re.compile(r"^```.*$", re.MULTILINE)


@pytest.mark.slow
def test_every_example_of_the_page_gives_what_stands_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MILLRACE_PUSH_LOG", f"file://{tmp_path}/lake/pushed")
    text = PAGE.read_text()
    for name, content in YAML.findall(text):
        (tmp_path / name).write_text(content.replace("file:///lake/", f"file://{tmp_path}/lake/"))
        for folder in re.findall(r"file:///(lake/[a-z]+)/", content):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    # A closing fence would count as output that is expected.
    script = FENCE.sub("", text)
    example = doctest.DocTestParser().get_doctest(script, {}, PAGE.name, str(PAGE), 0)
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    try:
        result = runner.run(example, out=said.append)
    finally:
        for folder in [each for each in embedded._running if each.is_relative_to(tmp_path)]:
            embedded._running.pop(folder).stop()
    assert result.attempted > 20
    assert not result.failed, "".join(said)
