"""Commands of all kinds: the id, the verb, and bounds on what goes into a status."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.api.command import LONGEST_ID, LONGEST_RECORD, Command, parse, recorded, unhandled
from millrace_core.base.errors import RejectError

USAGE = '"<id>:go"'


def test_a_command_is_an_id_a_verb_and_its_arguments() -> None:
    assert parse(" 7 : promote  v2 ", USAGE) == Command("7", "promote", ("v2",))
    assert parse("a:go", USAGE) == Command("a", "go", ())


@pytest.mark.parametrize("text", ["", "go", ":go", " :go", "7:", "7: "])
def test_a_text_without_id_or_verb_is_refused_with_the_usage(text: str) -> None:
    with pytest.raises(RejectError, match=r"is no command.*<id>:go.*not used before"):
        parse(text, USAGE)


def test_an_id_has_63_characters_at_most() -> None:
    assert parse(f"{'x' * LONGEST_ID}:go", USAGE).id == "x" * LONGEST_ID
    with pytest.raises(RejectError, match="has 64 characters, at most 63"):
        parse(f"{'x' * (LONGEST_ID + 1)}:go", USAGE)


@given(st.text(max_size=300) | st.text(min_size=1).map(lambda text: text * 1000))
def test_whatever_comes_what_goes_into_the_status_is_short_and_stays_the_same(text: str) -> None:
    written = recorded(text)
    assert len(written) <= LONGEST_RECORD
    assert recorded(written) == written
    assert written.isprintable()
    assert not unhandled(text, written)
    try:
        answer = parse(text, USAGE).id
    except RejectError as error:
        answer = str(error)
    assert len(answer) < 300
    assert answer.isprintable()


def test_the_same_id_with_another_verb_or_argument_is_another_command() -> None:
    assert recorded("a1:pause") == "a1:pause"
    assert len({recorded(text) for text in ("a1:pause", "a1:resume", "a1:promote", "a1:promote v2", "a2:pause")}) == 5


def test_spaces_make_no_other_command() -> None:
    assert recorded(" 7 :  promote  v2\n") == recorded("7:promote v2")


def test_long_commands_that_differ_at_their_ends_are_told_apart() -> None:
    assert recorded(f"1:{'x' * 1000}a") != recorded(f"1:{'x' * 1000}b")


@pytest.mark.parametrize("handled", [None, "", "1:go"])
def test_an_annotation_that_is_empty_or_blank_is_no_command(handled: str | None) -> None:
    for text in ("", " ", "\t\n "):
        assert not unhandled(text, handled)
    assert unhandled("2:go", handled) == "2:go"


def test_what_cannot_be_printed_is_no_part_of_a_command_and_is_recorded_escaped() -> None:
    assert recorded("1\x00:go \x1b[31m") == "1\\x00:go \\x1b[31m"
    for text in ("1\x00:go", "1:g\x1bo", "1:go \x7f"):
        with pytest.raises(RejectError, match="is no command"):
            parse(text, USAGE)
