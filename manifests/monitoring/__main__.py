"""Writes the dashboards and the PrometheusRule, for kubectl and for the chart: ``python -m manifests.monitoring``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

from manifests.monitoring import grafana
from manifests.monitoring.experiments import EXPERIMENTS
from manifests.monitoring.features import FEATURES
from manifests.monitoring.operators import OPERATORS
from manifests.monitoring.serving import SERVING

DASHBOARDS = (SERVING, FEATURES, OPERATORS, EXPERIMENTS)
HERE = Path(__file__).parent
CHART = HERE.parents[1] / "charts" / "millrace" / "monitoring"


def prometheus_rule(rules: str) -> str:
    """The rules as an object of the Prometheus Operator."""
    head: dict[str, Any] = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "millrace", "labels": {"app.kubernetes.io/part-of": "millrace"}},
    }
    text = yaml.safe_dump(head, sort_keys=False)
    lines = [f"  {line}" if line and not line.startswith("#") else "" for line in rules.splitlines()]
    body = "\n".join(line for line in lines if line)
    return f"# Made of rules.yaml by `make generate`.\n{text}spec:\n{body}\n"


def files() -> dict[Path, str]:
    """What is written where."""
    made = {
        f"{each.name}.json": json.dumps(grafana.model(each), indent=1, ensure_ascii=False) + "\n" for each in DASHBOARDS
    }
    rules = (HERE / "rules.yaml").read_text()
    here = {HERE / "dashboards" / name: text for name, text in made.items()}
    chart = {CHART / name: text for name, text in {**made, "rules.yaml": rules}.items()}
    return {**here, **chart, HERE / "prometheus-rule.yaml": prometheus_rule(rules)}


def main() -> int:
    """Writes all of it."""
    for path, text in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
