"""Signals in words."""

from __future__ import annotations

import pytest

from millrace_core.base import signals


@pytest.mark.parametrize(
    ("code", "number", "expected"),
    [
        (0, 0, "ended with exit code 0"),
        (2, 0, "ended with exit code 2"),
        (128, 0, "ended with exit code 128"),
        (139, 0, "ended by SIGSEGV (an access to memory that is not there, a fault of native code or a broken model)"),
        (255, 0, "ended with exit code 255"),
        (1, 15, "ended by SIGTERM (it was told to end)"),
        (138, 0, "ended by SIGUSR1"),
        (161, 0, "ended by signal 33"),
    ],
)
def test_how_a_container_ended_is_told_by_its_signal_where_it_had_one(code, number, expected):
    assert signals.ended(code, number) == expected
