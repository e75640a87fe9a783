"""Texts that RE2 reads as Go does, though Python's differ from them."""

import pytest

from millrace_core.base.re2 import PatternError, compile_pattern, literal


def test_a_pattern_that_would_go_back_for_ever_does_not() -> None:
    # Python's own engine would take 2**100_000 steps.
    assert not compile_pattern("^(a+)+$").search("a" * 100_000 + "b")
    assert not compile_pattern("^(a|a)*$").search("a" * 100_000 + "b")


@pytest.mark.parametrize("pattern", [r"a\C", r"\C", "(?P<x>a)(?P<x>b)", "\ud800", "(((((a{10}){10}){10}){10}){10})"])
def test_what_only_the_library_would_take_is_refused(pattern: str) -> None:
    with pytest.raises(PatternError, match="error parsing regexp"):
        compile_pattern(pattern)


def test_a_backslash_before_c_that_is_a_text_is_one() -> None:
    assert compile_pattern(r"^\Q\C\E\\C$").search(r"\C\C")


def test_texts_with_half_a_character_are_matched_and_no_error() -> None:
    assert compile_pattern("^a.+$").search("a\ud800")
    assert not compile_pattern("^a$").search("a\ud800")


@pytest.mark.parametrize("text", ["a.b*c", "a b\n", r"\Q(", "é[]{}^$|+?", "\0", ""])
def test_a_literal_matches_its_text_alone(text: str) -> None:
    pattern = compile_pattern(literal(text))
    assert pattern.fullmatch(text)
    assert not pattern.fullmatch(text + "x")


def test_pieces_are_found_from_left_to_right() -> None:
    assert list(compile_pattern("[a-z]+").found("ab 1 é cd")) == ["ab", "cd"]
