"""What real Helm makes of the chart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

CHART = Path(__file__).parents[2] / "charts" / "millrace"
STORE = {"store": {"url": "redis://store:6379"}}


def rendered(values: dict[str, Any], namespace: str = "millrace-system") -> list[dict[str, Any]]:
    """The objects of the chart; skips the test where Helm is not installed."""
    helm = pytest.importorskip("helm_python")
    with helm.Chart.load(str(CHART)) as chart:
        chart.validate_schema(values)
        manifests = chart.render(values, name="millrace", namespace=namespace)
    joined = "\n---\n".join(text for path, text in manifests.items() if path.endswith(".yaml"))
    return [document for document in yaml.safe_load_all(joined) if isinstance(document, dict)]
