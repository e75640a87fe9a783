from __future__ import annotations

from pathlib import Path

import pytest

from millrace.api.featureview import FeatureView
from millrace.api.loading import load_yaml
from millrace.features import definition

SAMPLES = sorted((Path(__file__).parent.parent / "manifests" / "samples").rglob("*.yaml"))


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_sample_is_what_the_kinds_accept(path: Path) -> None:
    found = load_yaml(path.read_text(encoding="utf-8"), origin=path.name)
    assert found
    for each in found:
        if isinstance(each, FeatureView):
            definition.compile(each.metadata["name"], "default", each.spec)
