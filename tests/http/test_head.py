"""Which heads are refused, at the boundary of each limit."""

from __future__ import annotations

import pytest

from millrace_http.head import checked
from millrace_http.limits import Limits
from millrace_http.refusal import Header, Refusal

LIMITS = Limits(target_bytes=20, head_bytes=100, headers=4)
HOST = (b"host", b"x")


def status(*headers: Header, target: bytes = b"/", version: str = "1.1", small: bool = False) -> int:
    """Of the refusal; 200 where there is none."""
    try:
        checked(version, target, headers, LIMITS, small=small)
    except Refusal as refusal:
        return refusal.status
    return 200


def test_a_target_is_as_long_as_its_limit_and_no_longer() -> None:
    assert [status(HOST, target=b"/" + b"a" * size) for size in (19, 20)] == [200, 414]


def test_headers_are_as_many_and_as_large_as_their_limits_and_no_more() -> None:
    assert [status(HOST, *[(b"a", b"b")] * count) for count in (3, 4)] == [200, 431]
    assert [status(HOST, (b"a", b"b" * size)) for size in (94, 95)] == [200, 431]


def test_sizes_that_are_known_to_be_small_are_not_summed() -> None:
    assert status(HOST, (b"a", b"b" * 200), small=True) == 200


@pytest.mark.parametrize(("target", "expected"), [(b"/a%20b", 200), (b"/a%00b", 400), (b"/a%25", 200)])
def test_of_bytes_that_are_written_as_numbers_zero_is_refused(target: bytes, expected: int) -> None:
    assert status(HOST, target=target) == expected


@pytest.mark.parametrize(
    ("headers", "version", "expected"),
    [
        ([], "1.1", 400),
        ([], "1.0", 200),
        ([HOST], "1.0", 200),
        ([HOST, HOST], "1.1", 400),
        ([HOST, HOST], "1.0", 400),
        ([HOST], "2.0", 505),
        ([(b"host", b"a/b")], "1.1", 400),
        ([(b"host", b"a@b")], "1.1", 400),
        ([(b"host", b"[::1]:80")], "1.1", 200),
        ([HOST, (b"transfer-encoding", b"Chunked")], "1.1", 200),
        ([HOST, (b"transfer-encoding", b"chunked")], "1.0", 400),
        ([HOST, (b"transfer-encoding", b"gzip")], "1.1", 501),
        ([HOST, (b"expect", b"100-Continue")], "1.1", 200),
        ([HOST, (b"expect", b"tea")], "1.1", 417),
    ],
)
def test_hosts_codings_and_expectations_have_their_status(headers: list[Header], version: str, expected: int) -> None:
    assert status(*headers, version=version) == expected


@pytest.mark.parametrize(
    ("value", "length"),
    [(b"0", 0), (b"5", 5), (b"0" * 5000 + b"5", 5), (b"0" * 5000, 0), (b"18446744073709551615", 2**64 - 1)],
)
def test_a_length_is_read_however_many_zeros_stand_before_it(value: bytes, length: int) -> None:
    limits = Limits()
    assert checked("1.1", b"/", [HOST, (b"content-length", value)], limits, small=True) == (length, False)


@pytest.mark.parametrize(
    ("version", "header", "waits"),
    [
        ("1.1", (b"content-length", b"5"), True),
        ("1.1", (b"content-length", b"0"), False),
        ("1.1", (b"transfer-encoding", b"chunked"), True),
        ("1.0", (b"content-length", b"5"), False),
        ("1.1", (b"a", b"b"), False),
    ],
)
def test_a_client_waits_for_100_where_a_body_is_to_come(version: str, header: Header, waits: bool) -> None:
    found = checked(version, b"/", [HOST, (b"expect", b"100-continue"), header], Limits(), small=True)
    assert found[1] is waits
