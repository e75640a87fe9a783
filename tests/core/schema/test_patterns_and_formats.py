"""RE2 patterns mean in Python what they mean in Go; formats accept what a Kubernetes API server accepts."""

import datetime

import pytest

from millrace_core.base.go_duration import parse_duration
from millrace_core.base.re2 import PatternError, compile_pattern
from millrace_core.schema.formats import string_format


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("^a$", "a", "a\n"),
        (r"^\d$", "5", "٣"),
        (r"^\w$", "a", "é"),
        ("b", "abc", "ac"),
        (r"^a\z", "a", "a\n"),
        ("^(?i)abc$", "ABC", "abd"),
        ("^a(?i)b$", "aB", "AB"),
        ("^(a(?i)b)c$", "aBc", "aBC"),
        ("(?m)^b$", "a\nb", "ab"),
        ("(?s)^a.b$", "a\nb", "ab"),
        ("^(?P<x>a)(?<y>b)$", "ab", "ba"),
        ("^[[:alpha:]_]+$", "ab_", "a1"),
        ("^[[:^digit:]]+$", "ab", "a1"),
        (r"^[\w.-]+$", "a.b-c", "a b"),
        (r"^\pL+$", "é", "1"),
        (r"^\p{Lu}\P{Lu}$", "Éa", "éa"),
        (r"^\p{Greek}+$", "αβ", "ab"),
        (r"^\Qa.b\E$", "a.b", "axb"),
        ("^{a}$", "{a}", "a"),
        ("^a{,2}$", "a{,2}", "aa"),
        ("^a{2,3}$", "aaa", "a"),
        ("^[]a]$", "]", "b"),
        ("^[a-]$", "-", "b"),
        (r"^\x41\x{42}\103$", "ABC", "abc"),
        ("^[a&&b]$", "&", "c"),
        ("^a+?$", "aa", "b"),
        ("", "anything", None),
    ],
)
def test_a_go_pattern_means_the_same(pattern: str, matching: str, other: str | None) -> None:
    search = compile_pattern(pattern).search
    assert search(matching)
    assert other is None or not search(other)


@pytest.mark.parametrize(
    "pattern",
    [
        "(?=a)",
        "(?!a)",
        "(?<=a)",
        "(?<!a)",
        r"(a)\1",
        "a++",
        "a**",
        "(a",
        "a)",
        "[a",
        r"\Z",
        r"\y",
        "a{1001}",
        "(?>a)",
        "a\\",
    ],
)
def test_what_go_refuses_is_refused(pattern: str) -> None:
    with pytest.raises(PatternError, match="error parsing regexp"):
        compile_pattern(pattern)


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        (
            "date-time",
            ["2026-01-02T03:04:05Z", "2026-01-02t03:04:05.123+01:00"],
            ["2026-01-02", "2026-13-02T03:04:05Z", ""],
        ),
        ("date", ["2026-02-28"], ["2026-02-30", "26-02-28"]),
        ("duration", ["1h30m", "-1.5h", "0", "3 days", "22 ns", "1w"], ["1x", "", "h"]),
        ("uri", ["http://a/b?c", "/abs", "mailto:x@y", "urn:a:b"], ["a/b", "http://a b/", "", "%zz"]),
        ("email", ["a@b.example", "A <a@b.example>"], ["a", "a@", "@b"]),
        ("hostname", ["a", "a.example", "a-b.example"], ["a_b", "-a.example", "a." + "b" * 64]),
        ("ipv4", ["10.0.0.1"], ["10.0.0", "::1"]),
        ("ipv6", ["::1", "fe80::1"], ["10.0.0.1", "x"]),
        ("cidr", ["10.0.0.0/8", "::/0"], ["10.0.0.0", "10.0.0.0/33"]),
        ("mac", ["00:11:22:33:44:55", "0011.2233.4455"], ["00:11", "zz:11:22:33:44:55"]),
        ("uuid", ["123E4567-e89b-12d3-a456-426614174000"], ["123"]),
        ("uuid4", ["123e4567-e89b-42d3-a456-426614174000"], ["123e4567-e89b-12d3-a456-426614174000"]),
        ("byte", ["aGk=", "YWJj"], ["aGk", "", "a b="]),
        ("isbn", ["0321751043", "978-0321751041"], ["0321751044"]),
        ("creditcard", ["4111 1111 1111 1111"], ["4111 1111 1111 1112"]),
        ("ssn", ["123-45-6789"], ["123-45-678"]),
        ("hexcolor", ["#fff", "00ff00"], ["#ff"]),
        ("rgbcolor", ["rgb(1, 2,255)"], ["rgb(1,2,256)"]),
        ("bsonobjectid", ["507f1f77bcf86cd799439011"], ["507f"]),
        ("password", ["", "anything"], []),
    ],
)
def test_a_format_accepts_and_refuses_as_kubernetes_does(name: str, right: list[str], wrong: list[str]) -> None:
    accepts = string_format(name)
    assert accepts is not None
    assert [text for text in right if not accepts(text)] == []
    assert [text for text in wrong if accepts(text)] == []


def test_durations_are_read_to_the_microsecond() -> None:
    assert parse_duration("1h2m3.5s") == datetime.timedelta(hours=1, minutes=2, seconds=3.5)
    assert parse_duration("-10ms") == datetime.timedelta(milliseconds=-10)
    assert parse_duration("10µs") == datetime.timedelta(microseconds=10)
    assert parse_duration("10") is None
    assert parse_duration("3000000h") is None


def test_a_pattern_of_very_many_classes_is_refused_rather_than_compiled_for_minutes() -> None:
    assert compile_pattern(r"\pL" * 10).fullmatch("abcdefghij")
    with pytest.raises(PatternError, match="expression too large"):
        compile_pattern(r"\pL" * 2000)


def test_digits_without_end_are_no_duration_at_once() -> None:
    for text in ("1" * 500_000, "1" * 500_000 + " x", "1 " * 100_000):
        assert not string_format("duration")(text)
    assert string_format("duration")("1" * 20 + " days")
