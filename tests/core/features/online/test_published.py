"""What the registry publishes: a document that is wrong spoils no other."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.base.errors import NotFoundError, RejectError
from millrace_core.features.online.published import Snapshot, snapshot

VIEW = {
    "entities": [{"name": "id", "type": "int64"}],
    "source": {"parquet": {"uri": "file:///x"}, "timestampField": "at"},
    "features": [{"name": "x", "type": "int64"}],
}
REFS = {"features": {"refs": ["good:x"]}}
FIELDS = ("metadata", "spec", "name", "namespace", "features", "refs", "entities", "source")
NOTHING: Any = object()
# JSON of any form, such as another program may have written.
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=8,
)


def document(name: str, spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "shop"}
    return {"metadata": metadata} if spec is NOTHING else {"metadata": metadata, "spec": spec}


def taken(views: list[Any], deployments: list[Any]) -> Snapshot:
    """A snapshot of these documents between good ones."""
    body = {
        "featureViews": [document("good", VIEW), *views, document("fine", VIEW)],
        "modelDeployments": [document("good", REFS), *deployments, document("plain", {}), document("fine", REFS)],
    }
    return snapshot(orjson.dumps(body), "1")


def assert_others_are_there(found: Snapshot) -> None:
    for name in ("good", "fine"):
        assert found.view("shop", name).view == name
        assert found.feature_service("shop", name) == ("good:x",)
    with pytest.raises(NotFoundError):
        found.feature_service("shop", "plain")


@pytest.mark.parametrize("spec", [NOTHING, None, "text", [], {"features": 1}, {"features": {}}, {"features": []}])
def test_what_is_wrong_is_said_as_wrong_and_not_as_absent(spec: Any) -> None:
    found = taken([document("bad", spec)], [document("bad", spec)])
    assert_others_are_there(found)
    with pytest.raises(RejectError, match="'bad' is not usable") as caught:
        found.view("shop", "bad")
    assert caught.value.field == "features"
    with pytest.raises(RejectError, match="ModelDeployment 'bad' is not usable") as caught:
        found.feature_service("shop", "bad")
    assert caught.value.field == "feature_service"


@pytest.mark.parametrize("nameless", [{}, {"metadata": {}}, {"metadata": None}, {"metadata": {"name": [1]}}, 7, None])
def test_a_document_without_a_name_is_told_by_its_place(nameless: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert_others_are_there(taken([nameless], [nameless]))
    for kind in ("feature view", "ModelDeployment"):
        assert f"{kind} number 1 of the registry's answer has no usable name" in caplog.text


@given(ANYTHING, ANYTHING)
def test_no_document_whatever_it_is_spoils_another(view: Any, deployment: Any) -> None:
    assert_others_are_there(taken([view, document("any", view)], [deployment, document("any", deployment)]))
