"""Times as RFC 3339: what is none is refused in a few words."""

from __future__ import annotations

import pytest

from millrace_core.base import timestamps
from millrace_core.base.errors import RejectError


@pytest.mark.parametrize(
    "text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "9999-99-99T00:00:00Z", "x" * 10**6, "\ud800"]
)
def test_what_is_no_time_of_a_year_from_1_to_9999_is_refused_shortly(text: str) -> None:
    with pytest.raises(RejectError, match="is no time") as caught:
        timestamps.parse(text, field="f")
    assert len(str(caught.value)) < 250
