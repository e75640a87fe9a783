"""Run records are upserted by key, listed newest first, and never grow without bound."""

from __future__ import annotations

import pytest

from millrace_core.base.errors import RejectError
from millrace_services.registry.runs import Runs


@pytest.fixture
def runs(database) -> Runs:
    return Runs(database, kept=3)


def names(runs: Runs, **wanted) -> list[str]:
    listed = runs.list(**{"kind": "", "namespace": "", "view": "", "limit": 100, **wanted})
    return [record["name"] for record in listed]


def test_the_newest_come_first_and_a_limit_holds(runs):
    for number in range(3):
        runs.put(f"r{number}", {"view": "v"})
    assert names(runs) == ["r2", "r1", "r0"]
    assert names(runs, limit=1) == ["r2"]


def test_a_record_that_comes_again_is_replaced_in_its_place(runs):
    runs.put("r0", {"view": "v", "rows": 1})
    runs.put("r1", {"view": "v"})
    runs.put("r0", {"view": "v", "rows": 2})
    assert names(runs) == ["r1", "r0"]
    assert runs.list(kind="", namespace="", view="v", limit=9)[1]["rows"] == 2


def test_records_are_told_apart_by_namespace_kind_and_view(runs):
    runs.put("same", {"namespace": "a", "view": "v"})
    runs.put("same", {"namespace": "b", "view": "w", "kind": "drift"})
    assert names(runs) == ["same", "same"]
    assert names(runs, namespace="a") == names(runs, view="w") == names(runs, kind="drift") == ["same"]
    assert names(runs, namespace="a", view="w") == []


def test_only_the_newest_of_each_view_are_kept(runs):
    for number in range(5):
        runs.put(f"r{number}", {"view": "v"})
    runs.put("other", {"view": "w"})
    assert names(runs, view="v") == ["r4", "r3", "r2"]
    assert names(runs, view="w") == ["other"]


def test_a_field_of_the_wrong_type_is_named(runs):
    with pytest.raises(RejectError, match="view: 5 came, a text is expected"):
        runs.put("r", {"view": 5})
