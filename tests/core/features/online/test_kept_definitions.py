"""The copy of the definitions reads as it was written, and what is no whole copy is refused."""

from __future__ import annotations

import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.base.errors import ReportError
from millrace_core.features.online import kept_definitions
from millrace_core.features.online.edition import Edition
from millrace_core.features.online.kept_definitions import HEAD_BYTES, Head, Kept, decode, encode, head

HEAD = Head(Edition("0" * 32, 2**53), '"' + "f" * 32 + '"')
BODY = b'{"featureViews": [], "modelDeployments": []}' * 3


@given(body=st.binary(max_size=2_000), revision=st.integers(0, 2**62))
def test_a_copy_reads_as_it_was_written_and_says_its_edition_first(body: bytes, revision: int) -> None:
    written = Head(Edition("a", revision), '"tag"')
    value = encode(written, body)
    assert decode(value) == Kept(written, body)
    assert head(value[:HEAD_BYTES]) == written


def test_the_longest_head_that_there_is_fits() -> None:
    assert head(encode(HEAD, BODY)[:HEAD_BYTES]) == HEAD


@given(position=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_copy_of_which_a_bit_is_another_never_gives_another_body(position: int, bit: int) -> None:
    value = bytearray(encode(HEAD, BODY))
    value[position % len(value)] ^= 1 << bit
    with suppress(ReportError):
        assert decode(bytes(value)).body == BODY


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{}",
        b"nonsense\n",
        b"[1]\n",
        encode(HEAD, BODY).replace(b'"format":1', b'"format":2'),
        encode(HEAD, BODY)[:-20],
        encode(HEAD, BODY).replace(b'"bytes":132', b'"bytes":131'),
        encode(HEAD, BODY).replace(b'"bytes":132', b'"bytes":-32'),
        encode(HEAD, BODY).partition(b"\n")[0],
    ],
)
def test_what_is_no_whole_copy_of_this_format_is_refused(value: bytes) -> None:
    with pytest.raises(ReportError, match="the copy of the definitions in the online store") as caught:
        decode(value)
    assert caught.value.reason == kept_definitions.BAD


def test_a_copy_that_is_too_large_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_definitions, "STORED_BYTES", 100)
    with pytest.raises(ReportError, match="of which 100 at most are kept"):
        encode(HEAD, BODY)


def test_a_copy_that_would_grow_beyond_what_it_says_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    line, _, _ = encode(HEAD, BODY).partition(b"\n")
    with pytest.raises(ReportError, match="is not what its digest says"):
        decode(line + b"\n" + zlib.compress(b"0" * 10_000_000))
    monkeypatch.setattr(kept_definitions, "BODY_BYTES", 100)
    with pytest.raises(ReportError, match="would have 132 bytes, 100 at most are read"):
        decode(b'{"format":1,"catalogue":"a","revision":1,"etag":"","bytes":132,"digest":"sha256:0"}\n')
