"""The JSONPath of printer columns and scale paths."""

from __future__ import annotations

from typing import Any

import pytest

from millrace_core.base.errors import RejectError
from millrace_local.apiserver import jsonpath

DOCUMENT = {
    "spec": {"size": 3, "list": [{"a": 1}, {"a": 2}], "odd.key": "dots", "on": True},
    "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Old", "status": "False"}]},
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".spec.size", [3]),
        ("{.spec.size}", [3]),
        ("spec.size", [3]),
        ("$.spec.size", [3]),
        (".spec.list[1].a", [2]),
        (".spec.list[-1].a", [2]),
        (".spec.list[*].a", [1, 2]),
        (".spec.list[7].a", []),
        (".spec['odd.key']", ["dots"]),
        (".spec.odd\\.key", ["dots"]),
        ('.status.conditions[?(@.type=="Ready")].status', ["True"]),
        (".status.conditions[?(@.type=='Ready')].status", ["True"]),
        ('.status.conditions[?(@.type != "Ready")].type', ["Old"]),
        (".spec.list[?(@.a)].a", [1, 2]),
        (".spec.missing.deeper", []),
        (".spec.size.deeper", []),
    ],
)
def test_paths_find_what_they_name(path: str, found: list[Any]) -> None:
    assert jsonpath.find(DOCUMENT, path) == found


@pytest.mark.parametrize("path", [".spec[", ".a..b", "[?(@.x==]", ".a[b]"])
def test_paths_that_cannot_be_read_are_refused(path: str) -> None:
    with pytest.raises(RejectError, match="is not a simple JSONPath"):
        jsonpath.check(path)
