"""Programs are told from web pages by Host, Origin and Content-Type."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.base.callers import CallerRule, is_same_site, refusal_of_body

RULE = CallerRule(("localhost", "127.0.0.0/8", "::1", "*.svc", "*.svc.cluster.local"))


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:80",
        "localhost.",
        "127.64.0.9:8080",
        "[::1]:80",
        "[::1]",
        "a.b.svc",
        "a.b.SVC:80",
        "b.svc.",
    ],
)
def test_names_of_this_machine_and_of_services_are_known(host: str) -> None:
    assert RULE.knows(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        ":80",
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "evil-localhost",
        ".svc",
        "svc",
        "a.b.svc.evil.example",
        "a.svc@evil.example",
        "10.0.0.1",
        "[::2]",
        "0177.0.0.1",
        "2130706433",
        "a.b.svc, evil.example",
    ],
)
def test_every_other_name_is_not(host: str) -> None:
    assert not RULE.knows(host)


@given(st.text())
def test_any_text_is_judged(text: str) -> None:
    RULE.refusal_of_sender(text, text)
    refusal_of_body(text)


@pytest.mark.parametrize(
    ("origin", "host", "same"),
    [
        ("http://a.svc:80", "a.svc:80", True),
        ("http://A.svc", "a.svc", True),
        ("http://a.svc:81", "a.svc:80", False),
        ("null", "null", False),
        ("", "", False),
        ("https://evil.example", "a.svc", False),
        ("http://[", "[", False),
    ],
)
def test_a_page_is_of_the_same_site_only_where_its_origin_is_the_host(origin: str, host: str, same: bool) -> None:
    assert is_same_site(origin, host) is same


@pytest.mark.parametrize(
    "kind",
    [
        "",
        "text/plain",
        "Text/Plain; charset=utf-8",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
    ],
)
def test_what_a_page_may_send_unasked_is_refused(kind: str) -> None:
    assert "every web page may send" in refusal_of_body(kind)
    assert "send what it is, such as Content-Type: application/json (curl: --json" in refusal_of_body(kind)


@pytest.mark.parametrize(
    "kind", ["application/json", "application/vnd.apache.arrow.stream", "application/octet-stream"]
)
def test_what_it_has_to_ask_for_is_taken(kind: str) -> None:
    assert refusal_of_body(kind) == ""
