"""The version that clients see."""

from __future__ import annotations

from millrace_core.identity.model_version import model_version


def test_a_version_is_the_first_8_hex_digits_of_the_digest() -> None:
    assert model_version("sha256:0123456789abcdef" + "0" * 48) == "01234567"
