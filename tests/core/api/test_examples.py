"""Every pattern of the schema comes with examples, which it takes."""

from __future__ import annotations

import re

import pytest

from millrace_core.api import checking
from millrace_core.api.examples import EXAMPLES, written
from millrace_core.api.kinds import KINDS, Kind
from tests.builders import feature_view
from tests.core.api.test_crdgen import nodes, schema_of


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_field_with_a_pattern_says_how_it_is_written(kind: Kind) -> None:
    for path, node in nodes(schema_of(kind)):
        if pattern := node.get("pattern"):
            assert written(pattern) in node["description"], path


@pytest.mark.parametrize(("pattern", "example"), [(p, each) for p, examples in EXAMPLES.items() for each in examples])
def test_an_example_is_one(pattern: str, example: str) -> None:
    assert re.fullmatch(pattern, example)


def test_whoever_writes_a_duration_in_words_is_told_how_it_is_written() -> None:
    [fault] = checking.check(feature_view("clicks").having("spec.ttl", "3 days").build()).faults
    assert fault.field == "spec.ttl"
    assert fault.message.endswith("Write it such as 30s, 10m, 1h30m or 7d.")
