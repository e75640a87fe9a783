"""Whether two values are the same, bit by bit; what counts as skew is tried with real stores in tests/client."""

from __future__ import annotations

import math
from typing import Any

import pytest

from millrace_core.features.offline.verify import same


@pytest.mark.parametrize(
    ("online", "offline", "wanted"),
    [
        (1.5, 1.5, True),
        (0.1 + 0.2, 0.3, False),
        (math.nan, math.nan, True),
        (math.nan, None, False),
        (0.0, -0.0, False),
        (math.inf, -math.inf, False),
        (1, 1.0, False),
        (True, 1, False),
        (None, None, True),
        ("é", "é", True),
        (b"\0", b"", False),
        ([1.0, math.nan], [1.0, math.nan], True),
        ([1.0], [1.0, 2.0], False),
        ([None], [0.0], False),
    ],
)
def test_values_are_the_same_in_every_bit_or_not_at_all(online: Any, offline: Any, wanted: bool) -> None:
    assert same(online, offline) is wanted
