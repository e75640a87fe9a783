"""One sentence after the other, whoever wrote them."""

import pytest

from millrace_core.base.errors import MillraceError


@pytest.mark.parametrize(
    ("message", "hint", "said"),
    [
        ("it is full", "", "url: it is full"),
        ("it is full", "Empty it", "url: it is full. Empty it"),
        ("the store says: are you sure?", "Ask again", "url: the store says: are you sure? Ask again"),
        ("the store says: No.", "Ask again", "url: the store says: No. Ask again"),
    ],
)
def test_a_hint_follows_after_one_mark(message: str, hint: str, said: str) -> None:
    error = MillraceError(message, hint=hint, field="url")
    assert str(error) == said
    assert f"url: {error.as_dict()['message']}" == said
