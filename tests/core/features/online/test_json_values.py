"""Values of JSON and of Python as values of features."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any, get_args

import pytest

from millrace_core.api.feature import FeatureType
from millrace_core.base.errors import RejectError
from millrace_core.features.online.json_values import converter

MIDNIGHT = datetime(1970, 1, 2, tzinfo=UTC)
DAY = 86_400_000_000


@pytest.mark.parametrize(
    ("kind", "value", "converted"),
    [
        ("bool", False, False),
        ("int32", -(2**31), -(2**31)),
        ("int64", 2**63 - 1, 2**63 - 1),
        ("float32", 1, 1.0),
        ("float32", 2**53 + 1, 2.0**53),
        ("float64", 2**53 + 2, 2.0**53 + 2),
        ("float64", "-Infinity", -math.inf),
        ("string", "é", "é"),
        ("bytes", "AP8=", b"\x00\xff"),
        ("bytes", b"\x00\xff", b"\x00\xff"),
        ("timestamp", "1970-01-02 00:00:00", DAY),
        ("timestamp", MIDNIGHT, DAY),
        ("array<float32>", [1, None, "Infinity"], [1.0, None, math.inf]),
        ("array<timestamp>", (MIDNIGHT,), [DAY]),
    ],
)
def test_the_forms_of_each_type_are_taken(kind: FeatureType, value: Any, converted: Any) -> None:
    found = converter(kind)(value)
    assert (type(found), found) == (type(converted), converted)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("bool", 1),
        ("int32", 2**31),
        ("int64", -(2**63) - 1),
        ("int64", 1.0),
        ("int64", True),
        ("float64", True),
        ("float64", "nan"),
        pytest.param("float64", 10**400, id="beyond the greatest double"),
        ("float64", 2**53 + 1),
        ("float32", 1e39),
        pytest.param("float32", -(10**400), id="below the least float"),
        ("array<float64>", [2**53 + 1]),
        ("string", b"a"),
        ("string", "\ud800"),
        ("bytes", "no base64!"),
        ("timestamp", 0),
        ("timestamp", "yesterday"),
        ("array<string>", "ab"),
        ("array<int32>", [2**31]),
    ],
)
def test_a_value_of_another_type_is_refused(kind: FeatureType, value: Any) -> None:
    with pytest.raises((TypeError, ValueError, RejectError)):
        converter(kind)(value)


def test_every_type_has_a_converter() -> None:
    assert all(callable(converter(kind)) for kind in get_args(FeatureType))
