"""For whom a proxy's request is: its header is believed as far as known proxies wrote it, and of nobody else."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from millrace_http.door import Door
from millrace_http.forwarded import client, is_proxy
from millrace_http.limits import Limits
from tests.http.test_door import Held

PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("values", "whose"),
    [
        ([], ""),
        (["1.2.3.4"], "1.2.3.4"),
        (["6.6.6.6, 1.2.3.4"], "1.2.3.4"),
        (["6.6.6.6", "1.2.3.4, 10.0.0.7"], "1.2.3.4"),
        (["10.0.0.8, 10.0.0.7"], ""),
        (["1.2.3.4,, "], "1.2.3.4"),
        (["1.2.3.4, unknown"], "?"),
        (["1.2.3.4, 5.6.7.8:99"], "?"),
        (["2001:DB8:0::1"], "2001:db8::1"),
        (["1.2.3.4, fd00::5"], "1.2.3.4"),
        (["\xff"], "?"),
    ],
)
def test_the_last_address_that_is_no_proxys_counts(values: list[str], whose: str) -> None:
    headers = [(b"host", b"x"), *((b"x-forwarded-for", value.encode("latin-1")) for value in values)]
    assert client(headers, PROXIES) == whose


@pytest.mark.parametrize(
    ("address", "known"),
    [("10.1.2.3", True), ("11.0.0.1", False), ("::ffff:10.0.0.1", True), ("fd00::1", True), ("", False), ("x", False)],
)
def test_a_proxy_is_known_by_its_address(address: str, known: bool) -> None:
    assert is_proxy(address, PROXIES) is known
    assert not is_proxy(address, ())


def test_connections_of_a_proxy_are_limited_in_all_and_requests_by_client() -> None:
    door = Door(Limits(connections=5, connections_per_client=2, proxies=PROXIES))
    visitors = [Held() for _ in range(6)]
    assert [door.enter(each, "10.0.0.1") for each in visitors] == [True] * 5 + [False]
    assert [door.admit("1.2.3.4") for _ in range(3)] == [True, True, False]
    assert door.admit("5.6.7.8")
    assert door.admit("2001:db8::1")
    assert [door.admit("2001:db8::2"), door.admit("2001:db8::3")] == [True, False]
    door.release("1.2.3.4")
    assert [door.admit("1.2.3.4"), door.admit("1.2.3.4")] == [True, False]
