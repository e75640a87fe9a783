"""Outcomes of a batch are read as if each had come alone, whatever stands beside them."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace_core.experiments import outcome_request
from millrace_core.experiments.assignment import Assignment
from millrace_core.experiments.published import Experiments, OutcomeMetric, PublishedExperiment
from tests.examples import examples

NOW = 1_800_000_000_000_000
METRICS = (OutcomeMetric("ctr", "proportion", "click"),)
EXPERIMENT = PublishedExperiment(
    "ns", "ab", "uid", "Running", "a", 0, "x", Assignment("s", "a", {}, {}, 0), {}, METRICS
)
KNOWN = Experiments({("ns", "ab"): EXPERIMENT})
GOOD = {"experiment": "ab", "unit": "u", "metric": "click", "value": 1, "time": "2026-11-30T21:10:05Z", "id": "1"}

odd = st.sampled_from(
    [
        None,
        True,
        0,
        -1,
        1.5,
        1e100,
        1.1e100,
        2**63,
        "",
        "ab",
        "ns/ab",
        "no",
        "click",
        "a\0b",
        "x" * 257,
        "a b",
        [],
        {},
    ]
)
items = st.one_of(
    odd,
    st.dictionaries(st.sampled_from([*GOOD, "extra"]), odd, max_size=2).map(lambda change: GOOD | change),
    st.sampled_from([*GOOD]).map(lambda name: {key: value for key, value in GOOD.items() if key != name}),
)


def read(items: list[Any]) -> list[Any]:
    """What became of each: an outcome, or the words of its refusal."""
    body = orjson.dumps({"outcomes": items})
    found = outcome_request.parse(body, KNOWN, "ns", NOW, 0)
    by_place = {place: taken for place, (_, taken) in zip(found.places, found.taken, strict=True)}
    by_place |= {each.place: (each.error.field.partition(".")[2], each.error.message) for each in found.refused}
    return [by_place[place] for place in range(len(items))]


@settings(max_examples=examples(1))
@given(st.lists(items, min_size=1, max_size=6))
def test_each_is_read_as_if_it_had_come_alone(drawn: list[Any]) -> None:
    alone = [read([each])[0] for each in drawn]
    assert read(drawn) == alone
    assert read([GOOD, *drawn])[1:] == alone  # behind one whose experiment and time are known by then
