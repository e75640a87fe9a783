"""What real Helm makes of the chart."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

CHART = Path(__file__).parents[2] / "charts" / "millrace"
STORE = {"store": {"url": "redis://store:6379"}}
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def rendered(values: dict[str, Any], namespace: str = "millrace-system") -> list[dict[str, Any]]:
    """The objects of the chart, made anew for each caller; skips the test where Helm is not installed."""
    documents = yaml.load_all(_text(json.dumps(values), namespace), Loader=_LOADER)
    return [document for document in documents if isinstance(document, dict)]


@cache
def _text(values: str, namespace: str) -> str:
    """All of the manifests; many tests ask for the same values."""
    helm = pytest.importorskip("helm_python")
    with helm.Chart.load(str(CHART)) as chart:
        chart.validate_schema(json.loads(values))
        manifests = chart.render(json.loads(values), name="millrace", namespace=namespace)
    return "\n---\n".join(text for path, text in manifests.items() if path.endswith(".yaml"))
