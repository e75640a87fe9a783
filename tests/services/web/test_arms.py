"""Arms that metrics tell apart are few, whatever clients send."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from millrace_services.web.arms import MOST, NONE, OTHER, Arms

NAMES = st.one_of(
    st.from_regex(r"[a-z0-9-]{1,70}", fullmatch=True), st.binary(max_size=8).map(lambda b: b.decode("latin-1"))
)


def arm(arms: Arms, name: str) -> str:
    return arms.of([(b"host", b"m"), (b"x-millrace-arm", name.encode("latin-1"))])


def test_an_arm_is_the_header_that_the_mesh_sets():
    arms = Arms("x-millrace-arm")
    assert arm(arms, "treatment") == "treatment"
    assert arms.of([(b"host", b"treatment")]) == NONE


@given(st.lists(NAMES, max_size=60))
def test_there_are_no_more_than_a_few_and_each_is_a_name_or_other(sent):
    arms = Arms("x-millrace-arm")
    told = [arm(arms, name) for name in sent]
    assert len({*told}) <= MOST + 1
    for name, said in zip(sent, told, strict=True):
        assert said in {name, OTHER}
    assert [arm(arms, name) for name in sent] == told
