"""Tokens: of a file that changes, of the environment, and never shown."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path

import pytest

from millrace_core.base import bearer
from millrace_core.base.bearer import OPEN, Bearer, TokenSettings
from millrace_core.base.errors import RejectError

ONE, TWO, THREE = "one-" + "a" * 20, "two-" + "b" * 20, "three-" + "c" * 20


def replaced(file: Path, content: str) -> None:
    """As Kubernetes does with the files of a Secret, at once."""
    other = file.with_name("other")
    other.write_text(content)
    other.replace(file)


def sent(tokens: Bearer) -> str:
    return tokens.headers()["authorization"].removeprefix("Bearer ")


def test_each_line_is_taken_and_the_first_is_sent(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_bytes(f"\r\n  {ONE}  \r\n\n{TWO}\r\n".encode())
    tokens = Bearer(file=file)
    assert sent(tokens) == ONE
    assert tokens.admits(ONE.encode())
    assert tokens.admits(TWO.encode())
    assert not any(map(tokens.admits, [b"", THREE.encode(), ONE[:-1].encode(), f"{ONE}\n{TWO}".encode(), b"\xff"]))


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(ONE)
    tokens = Bearer(file=file)
    for content, first, taken in [
        (f"{ONE}\n{TWO}", ONE, {ONE, TWO}),
        (f"{TWO}\n{ONE}", TWO, {ONE, TWO}),
        (TWO, TWO, {TWO}),
    ]:
        replaced(file, content)
        assert {each for each in (ONE, TWO, THREE) if tokens.admits(each.encode())} == taken
        assert sent(tokens) == first


def test_a_file_that_is_gone_or_half_written_leaves_the_tokens_as_they_were_and_is_told_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "tokens"
    file.write_text(ONE)
    tokens = Bearer(file=file)
    for broken in (lambda: file.write_text(""), lambda: file.write_text("x"), file.unlink):
        caplog.clear()
        broken()
        with caplog.at_level(logging.WARNING):
            assert [tokens.admits(ONE.encode()) for _ in range(3)] == [True] * 3
            assert not tokens.admits(b"")
        assert len(caplog.records) == 1
    replaced(file, TWO)
    assert sent(tokens) == TWO


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b" \r\n\n", "is empty"),
        (b"short", "has 5 characters, 16 to 4096 are expected"),
        (b"a" * 5000, "has 5000 characters"),
        (ONE.encode() + b"\n" + b"two words of a token", "line 2 of"),
        ("größe-" + "a" * 20, "other characters"),
        (b"\xff\xfe" + b"a\0" * 20, "other characters"),
        (b"a\n" * 70_000, "more than 65536 bytes"),
    ],
)
def test_a_file_without_a_good_token_is_refused_and_none_of_it_is_shown(
    tmp_path: Path, content: bytes | str, said: str
) -> None:
    file = tmp_path / "tokens"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(RejectError) as raised:
        TokenSettings(token_file=file).bearer()
    assert (raised.value.field, raised.value.reason) == ("MILLRACE_TOKEN_FILE", "BadToken")
    assert said in str(raised.value)
    assert not {"short", "two words", "größe"} & {
        each for each in ("short", "two words", "größe") if each in str(raised.value)
    }


def test_a_file_that_is_not_there_is_refused_and_no_setting_means_no_token(tmp_path: Path) -> None:
    with pytest.raises(RejectError, match="No such file"):
        TokenSettings.load({"MILLRACE_TOKEN_FILE": str(tmp_path / "none")}).bearer()
    for environ in ({}, {"MILLRACE_TOKEN_FILE": ""}):
        found = TokenSettings.load(environ).bearer()
        assert (found.headers(), bool(found)) == ({}, False)
        assert not found.admits(b"")


def test_a_user_gives_a_token_or_a_file_and_what_is_given_goes_before_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "mine"
    file.write_text(f"{TWO}\n")
    environ = {"MILLRACE_TOKEN": f"{ONE}\r\n", "MILLRACE_TOKEN_FILE": str(file)}
    assert sent(bearer.of(environ)) == ONE
    assert sent(bearer.of({"MILLRACE_TOKEN": "", "MILLRACE_TOKEN_FILE": str(file)})) == TWO
    assert sent(bearer.of(environ, file)) == TWO
    assert sent(bearer.of(environ, THREE)) == THREE
    assert bearer.of({}) is OPEN
    for given, environ, field in (("no token", {}, "token"), (None, {"MILLRACE_TOKEN": "a\r\nb"}, "MILLRACE_TOKEN")):
        with pytest.raises(RejectError) as raised:
            bearer.of(environ, given)
        assert raised.value.field == field


def test_it_shows_no_token_and_goes_to_other_processes(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(ONE)
    for tokens in (Bearer([ONE]), Bearer(file=file)):
        assert ONE not in repr(tokens)
        assert sent(pickle.loads(pickle.dumps(tokens))) == ONE
