"""Label and field selectors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_local.apiserver.errors import StatusError
from millrace_local.apiserver.selectors import field_selector, label_selector


@given(st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz")), st.sampled_from("abc"), st.sampled_from("xyz"))
def test_every_label_is_in_a_selector_or_in_its_opposite(labels: dict[str, str], key: str, value: str) -> None:
    pairs = [
        (f"{key}={value}", f"{key}!={value}"),
        (f"{key} in ({value},q)", f"{key} notin ({value},q)"),
        (key, f"!{key}"),
    ]
    for selector, opposite in pairs:
        assert label_selector(selector)(labels) is not label_selector(opposite)(labels)
    assert label_selector(f"{key}={value}")(labels) is (labels.get(key) == value)


def test_field_selectors_are_split_and_unescaped() -> None:
    assert field_selector(r"a=x\,y,b!=z,a==\=", ("a", "b")) == [("a", True, "x,y"), ("b", False, "z"), ("a", True, "=")]
    with pytest.raises(StatusError, match="field label not supported: c"):
        field_selector("c=1", ("a",))
