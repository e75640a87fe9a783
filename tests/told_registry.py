"""Tells a registry what there is, as the operator does once it has listed everything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

KINDS = ("FeatureView", "ModelDeployment", "Experiment")


def tell(url: str, *documents: dict[str, Any], headers: Mapping[str, str] | None = None) -> None:
    """Makes the registry hold exactly these objects."""
    revision = httpx.get(f"{url}/v1/catalogue/state", headers=headers).json()["revision"]
    # Views last: whoever sees one of them that is new sees all that is told here.
    for kind in sorted(KINDS, key=lambda kind: kind == "FeatureView"):
        items = [document for document in documents if document["kind"] == kind]
        body = {"items": items, "empties": 0 if items else revision}
        answer = httpx.put(f"{url}/v1/catalogue/{kind}", json=body, headers=headers)
        assert answer.is_success, answer.text
        revision = answer.json()["revision"]
