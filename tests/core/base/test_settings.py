"""Settings as the environment gives them."""

from __future__ import annotations

import pytest
from pydantic import Field

from millrace_core.base.settings import Settings


class Example(Settings):
    """A secret and a number, as settings have them."""

    password: str | None = Field(None, alias="PASSWORD")
    port: int = Field(1, alias="PORT")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n"])
def test_a_line_end_behind_a_value_is_no_part_of_it(end: str) -> None:
    """A Secret that was made by ``echo key | base64`` has one."""
    assert Example.load({"PASSWORD": f" s3 cret {end}", "PORT": f"7{end}"}) == Example(password=" s3 cret ", port=7)


@pytest.mark.parametrize("value", ["", "\n"])
def test_an_empty_value_counts_as_absent(value: str) -> None:
    assert Example.load({"PASSWORD": value, "PORT": value}) == Example()
