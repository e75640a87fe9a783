"""References: what each part means, and what is none."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.api import feature_reference
from millrace_core.api.feature_reference import FeatureReference
from millrace_core.base.errors import RejectError

name = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
view = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,8}[a-z0-9])?", fullmatch=True)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("user-stats:visits", FeatureReference("user-stats", "user-stats", (), "visits")),
        ("driver_hourly_stats:trips", FeatureReference("driver-hourly-stats", "driver_hourly_stats", (), "trips")),
        ("user-stats as sender:visits", FeatureReference("user-stats", "sender", (), "visits")),
        (
            "user-stats as sender(user_id=sender_id):visits",
            FeatureReference("user-stats", "sender", (("user_id", "sender_id"),), "visits"),
        ),
        (
            " pairs ( b = y , a=x ) : score ",
            FeatureReference("pairs", "pairs", (("a", "x"), ("b", "y")), "score"),
        ),
    ],
)
def test_a_reference_says_view_label_keys_and_feature(text: str, meant: FeatureReference) -> None:
    assert feature_reference.parse(text) == meant


@pytest.mark.parametrize(
    "text",
    [
        *("", "visits", ":", "a:", ":b", "a:b:c", "a b:c", "a as:c", "a as b c:d", "a():b", "a(x):b", "a(x=):b"),
        *("a(x=y,x=z):b", "a(x=y:b", "a(x=y)(z=w):b", "a(x=y):b:c", "a(x=1):b", "a:b\nc"),
    ],
)
def test_what_is_no_reference_is_refused_with_what_one_looks_like(text: str) -> None:
    with pytest.raises(
        RejectError, match=r"view:feature is expected, or view as name\(key=column\):feature"
    ) as refused:
        feature_reference.parse(text, field="spec.features.refs[3]")
    assert refused.value.field == "spec.features.refs[3]"


@given(view, st.none() | name, st.dictionaries(name, name, max_size=3), name)
def test_what_the_api_server_lets_pass_can_be_read_and_means_the_same(
    of: str, label: str | None, keys: dict[str, str], feature: str
) -> None:
    text = of + (f" as {label}" if label else "")
    text += f"({', '.join(f'{key}={column}' for key, column in keys.items())})" if keys else ""
    text += f":{feature}"
    assert re.search(feature_reference.PATTERN, text)
    assert feature_reference.parse(text) == FeatureReference(of, label or of, tuple(sorted(keys.items())), feature)


def test_who_only_looks_at_references_passes_over_what_is_none() -> None:
    assert [each.feature for each in feature_reference.readable(["a:b", 7, "nothing", "c as d:e"])] == ["b", "e"]
    assert list(feature_reference.readable(None)) == []


@pytest.mark.parametrize(
    ("refs", "words"),
    [
        (
            ["a as p(user_id=sender):amount", "a as p(user_id=receiver):visits"],
            "'p' would stand for both a(user_id=sender) and a(user_id=receiver)",
        ),
        (["a as p:amount", "b as p:visits"], "'p' would stand for both a and b"),
        (["a as b:amount", "b:visits"], "'b' would stand for both a and b"),
        (["a:amount", "a(user_id=sender):visits"], "'a' would stand for both a and a(user_id=sender)"),
    ],
)
def test_a_name_stands_for_one_view_under_one_set_of_keys(refs: list[str], words: str) -> None:
    with pytest.raises(RejectError) as refused:
        feature_reference.refuse_shared_labels(map(feature_reference.parse, refs))
    assert words in str(refused.value)
    assert "as <name>" in refused.value.hint


def test_a_name_may_come_again_for_the_same_rows() -> None:
    refs = ["a as p(x=y,z=w):amount", "a as p(z=w, x=y):visits", "a:amount", "b:amount"]
    feature_reference.refuse_shared_labels(map(feature_reference.parse, refs))


@pytest.mark.parametrize(
    "text", ["a({blanks}x", "a{blanks}x", "a as b{blanks}(", "a as{blanks}(", "a({blanks}k{blanks}=", "a(){blanks}"]
)
def test_blanks_without_end_are_refused_at_once(text: str) -> None:
    # Shared out among two parts of the pattern they would take minutes, among three weeks.
    with pytest.raises(RejectError, match="is no reference"):
        feature_reference.parse(text.format(blanks=" " * 200_000))
