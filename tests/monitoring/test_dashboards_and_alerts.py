"""Every query of a dashboard and of an alert is PromQL over metrics that there are, and every alert is explained."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from manifests.monitoring import __main__ as generating
from tests.monitoring.test_metrics import documented

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "manifests" / "monitoring"
# Grafana fills these in.
VARIABLES = {"$__rate_interval": "5m", "$namespace": ".*", "$deployment": ".*", "$view": ".*", "$experiment": ".*"}
SUFFIX = re.compile(r"_(bucket|sum|count)$")
PROCESSES = ("gateway", "registry", "inference", "operator")
# Of the target, or of the histogram; and of NVIDIA's exporter.
GIVEN = {"namespace", "pod", "job", "le", "gpu"}
OF_MODELS = {"model", "version", "deployment"}


def known() -> dict[str, set[str]]:
    """Labels by metric, of all processes; a test beside this one holds them to what running processes expose."""
    found: dict[str, set[str]] = {}
    for process in PROCESSES:
        for name, labels in documented(process).items():
            more = OF_MODELS if process == "inference" else set()
            found[name] = found.get(name, set()) | labels | more
    return found


def dashboards() -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text()) for path in sorted((MONITORING / "dashboards").glob("*.json"))}


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((MONITORING / "rules.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def queries() -> Iterator[tuple[str, str]]:
    for name, dashboard in dashboards().items():
        for panel in dashboard["panels"]:
            for target in panel.get("targets", ()):
                text = target["expr"]
                for variable, value in VARIABLES.items():
                    text = text.replace(variable, value)
                assert "$" not in text, text
                yield f"{name}: {panel['title']}", text
    for rule in rules():
        yield rule["alert"], rule["expr"]


def selectors(node: Any) -> Iterator[tuple[str, set[str]]]:
    """Metrics of a query, with the labels that their selectors name."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node.name, {matcher.name for matcher in node.matchers.matchers}
    parts = ("expr", "lhs", "rhs", "vector_selector", "args")
    for part in parts:
        for child in _several(getattr(node, part, None)):
            yield from selectors(child)


def _several(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [] if value is None else [value]


@pytest.mark.parametrize(("place", "query"), [pytest.param(*each, id=each[0]) for each in queries()])
def test_a_query_is_of_metrics_and_labels_that_there_are(place: str, query: str) -> None:
    metrics = known()
    found = list(selectors(promql_parser.parse(query)))
    assert found
    for name, labels in found:
        if name.startswith("DCGM_"):
            continue
        family = name if name in metrics else SUFFIX.sub("", name)
        assert family in metrics, name
        assert labels <= metrics[family] | GIVEN, name
    grouped = {label for by in re.findall(r"by \(([^)]*)\)", query) for label in by.split(", ")}
    everywhere = set.union(*(metrics.get(SUFFIX.sub("", name), metrics.get(name, set())) for name, _ in found))
    assert grouped <= everywhere | GIVEN


def test_the_choices_of_a_dashboard_are_labels_that_there_are() -> None:
    for name, dashboard in dashboards().items():
        for variable in dashboard["templating"]["list"][1:]:
            metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]).groups()
            assert label in known()[metric] | GIVEN, name


def test_no_two_panels_of_a_dashboard_lie_on_one_another() -> None:
    for name, dashboard in dashboards().items():
        places = [panel["gridPos"] for panel in dashboard["panels"]]
        cells = [
            (place["x"] + x, place["y"] + y) for place in places for x in range(place["w"]) for y in range(place["h"])
        ]
        assert len(cells) == len(set(cells)), name
        assert len({panel["id"] for panel in dashboard["panels"]}) == len(places)


def test_every_alert_is_explained_and_nothing_else_is() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    assert re.findall(r"^\| `(Millrace\w+)` \|", text, re.MULTILINE) == [rule["alert"] for rule in rules()]


def test_every_alert_has_a_severity_and_a_case() -> None:
    cases = yaml.safe_load((MONITORING / "rules.test.yaml").read_text())["tests"]
    told = {test["alertname"] for case in cases for test in case["alert_rule_test"] if test["exp_alerts"]}
    assert told == {rule["alert"] for rule in rules()}
    assert {rule["labels"]["severity"] for rule in rules()} == {"critical", "warning"}


def test_what_is_generated_is_current() -> None:
    for path, text in generating.files().items():
        assert path.read_text() == text, f"{path.name} is not current: run `make generate`"
    rule = yaml.safe_load((MONITORING / "prometheus-rule.yaml").read_text())
    assert rule["spec"] == yaml.safe_load((MONITORING / "rules.yaml").read_text())


def test_promtool_finds_the_rules_well_and_each_says_what_its_case_expects() -> None:
    promtool = shutil.which("promtool") or shutil.which("promtool", path=str(Path(sys.executable).parent))
    if promtool is None:
        pytest.skip("promtool is not installed")
    for command, file in (("check", "rules.yaml"), ("test", "rules.test.yaml")):
        ended = subprocess.run(
            [promtool, command, "rules", file], cwd=MONITORING, capture_output=True, text=True, timeout=120, check=False
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
