from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.base.errors import RejectError
from millrace_core.features.online import store_url
from millrace_core.features.online.store_url import Host, Login, Tls, is_secret, parse


def test_a_server_is_named_by_host_port_and_database() -> None:
    assert parse("redis://store").hosts == (Host("store", 6379),)
    found = parse("valkey://me:x%40y@store:1/2")
    assert (found.kind, found.hosts, found.login, found.database) == (
        "single",
        (Host("store", 1),),
        Login("me", "x@y"),
        2,
    )
    assert found.shown == "valkey://store:1/2"
    assert parse("redis://[::1]:7").hosts == parse("redis://[::1]:7/0").hosts == (Host("::1", 7),)
    assert parse("redis://[::1]").hosts == (Host("::1", 6379),)
    socket = parse("unix:///run/store.sock?db=4")
    assert (socket.hosts, socket.path, socket.database) == ((), "/run/store.sock", 4)


def test_sentinels_are_named_with_the_service_they_watch() -> None:
    found = parse("redis+sentinel://:p@a,b:1,[::2]:3/rows/5?sentinel_password=s")
    assert found.hosts == (Host("a", 26379), Host("b", 1), Host("::2", 3))
    assert (found.kind, found.service, found.database) == ("sentinel", "rows", 5)
    assert (found.login, found.sentinel_login) == (Login("", "p"), Login("", "s"))
    assert found.shown == "redis+sentinel://a,b:1,[::2]:3/rows/5"


def test_a_cluster_is_named_by_some_of_its_nodes() -> None:
    found = parse("rediss+cluster://a:1,b")
    assert (found.kind, found.hosts, found.tls) == ("cluster", (Host("a", 1), Host("b", 6379)), Tls())


def test_tls_is_said_by_the_scheme_and_its_parameters() -> None:
    assert parse("redis://store").tls is None
    assert parse("rediss://store?ssl_cert_reqs=none").tls == Tls(verify=False, check_hostname=False)
    assert parse("valkeys://store?ssl_ca_certs=/ca.pem&ssl_check_hostname=false").tls == Tls(
        "/ca.pem", check_hostname=False
    )


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://store", "'http' came as its scheme"),
        ("redis", "'redis' came as its scheme"),
        ("redis+ring://store", r"'redis\+ring' came as its scheme"),
        ("redis://a,b", "several hosts"),
        ("redis://store:port", "'port' is no port"),
        ("redis://store:0", "'0' is no port"),
        ("redis://store/first", "'first' is no number"),
        ("redis+cluster://a/1", "database 0 alone"),
        ("redis+sentinel://a:1", "which service"),
        ("redis://store?ssl_ca_certs=x", "the parameter 'ssl_ca_certs'"),
        ("rediss://store?ssl_cert_reqs=maybe", "'maybe'.*required or none"),
    ],
)
def test_a_url_of_no_such_form_is_refused(url: str, why: str) -> None:
    with pytest.raises(RejectError, match=f"MILLRACE_STORE_URL.*{why}"):
        parse(url)


@given(st.text(alphabet="ab/?@:#%1", min_size=1, max_size=8))
def test_no_message_shows_a_password(password: str) -> None:
    url = f"redis://:{password}_secret@store:6379/0"
    try:
        said = parse(url).shown
    except RejectError as error:
        said = str(error)
    assert "secret" not in said
    assert is_secret(url)


def test_a_url_is_secret_when_it_holds_a_password() -> None:
    assert not is_secret("redis+sentinel://a:1,b:2/rows")
    assert is_secret("redis+sentinel://a/rows?sentinel_password=x")
    assert is_secret("redis+cluster://:x@a,b")
    assert store_url.parse("redis://user@store").login == Login()
