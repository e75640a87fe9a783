"""Where connections may go: the rule alone, by every notation of an address. Nothing is resolved, nothing connects."""

from __future__ import annotations

import ipaddress
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from millrace_core.base.addresses import canonical, is_old_form
from millrace_core.base.addresses import special as special_network
from millrace_core.base.destinations import OPEN, Destination, Outgoing, refusal

CLUSTER = Outgoing()


def refused(settings: Outgoing, host: str, *addresses: str, port: int = 443, scheme: str = "https") -> bool:
    return refusal(settings, Destination(scheme, host, port), addresses or None) is not None


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "2130706433",
        "017700000001",
        "0x7f000001",
        "0x7f.1",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "127.0.0.01",
        "127.0.0.1.",
        "127.0.0.1..",
        "0",
        "0.0.0.0",
        "0x",
        "::1",
        "0:0:0:0:0:0:0:1",
        "::",
        "::ffff:127.0.0.1",
        "::FFFF:7F00:1",
        "::127.0.0.1",
        "::7f00:1",
        "::ffff:0:127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::169.254.169.254",
        "64:ff9b:1::a9fe:a9fe",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::1",
        "2001:0:0:0:0:0:0:1",
        "::1%lo",
        "fe80::1",
        "fe80::1%eth0",
        "fe80::1%25eth0",
        "169.254.169.254",
        "2852039166",
        "0xA9FEA9FE",
        "169.254.170.2",
        "168.63.129.16",
        "100.100.100.200",
        "fd00:ec2::254",
        "fd20:ce::254",
        "metadata.google.internal",
        "METADATA.Google.Internal.",
        "metadata",
        "instance-data.ec2.internal",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "a.localhost",
        "x.y.LocalHost.",
        "localhost.localdomain",
        "ip6-localhost",
        "\uff11\uff12\uff17.0.0.1",
        "127\u30020\u30020\u30021",
        "\u246027.0.0.1",
        "\u24dbocalhost",
        "l\u043ecalhost",
        "\u212a.example.com",
        "%31%32%37.0.0.1",
        "127.0.0.1%00.example.com",
        "good@127.0.0.1",
        "example.com\\@127.0.0.1",
        "example.com#@127.0.0.1",
        "[::1]",
        "127.0.0.1:80",
        "db.example.com,127.0.0.1",
        "/var/run/postgresql",
        "a b",
        "a\tb",
        "a\n",
        "",
        ".",
        "..",
        "a..b",
        "224.0.0.1",
        "ff02::1",
        "255.255.255.255",
        "240.0.0.1",
        "192.0.2.1",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "fc00::1",
        "fec0::1",
        "::ffff:10.0.0.1",
        "kubernetes",
        "minio.data.svc",
        "minio.data.svc.",
        "minio.data.svc.cluster.local",
        "MINIO.data.SVC.Cluster.Local",
        "10-0-0-1.data.pod.cluster.local",
    ],
)
def test_a_host_that_is_no_public_one_is_refused_before_anything_is_asked_about_it(host: str) -> None:
    assert refused(CLUSTER, host)
    assert bool(refused(OPEN, host)) is is_old_form(host)


@pytest.mark.parametrize("host", ["127.1", "0x7f.1", "2130706433", "127.0.0.0x1", "1.2.3"])
def test_an_address_in_an_older_form_is_refused_everywhere(host: str) -> None:
    refusal_ = refusal(OPEN, Destination("http", host, 80), None)
    assert refusal_ is not None
    assert "is not written in the one way that is understood here" in refusal_.sentence
    assert "an IPv4 address as four decimal numbers" in refusal_.hint
    assert refused(CLUSTER, host)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1", "this machine"),
        ("::ffff:127.0.0.1", "this machine"),
        ("0.0.0.0", "this machine"),
        ("169.254.169.254", "credentials"),
        ("64:ff9b::a9fe:a9fe", "credentials"),
        ("fe80::1%2", "link-local"),
        ("10.1.2.3", "private"),
        ("fd12::1", "private"),
        ("224.0.0.1", "multicast"),
        ("198.18.0.1", "no public network"),
    ],
)
def test_a_name_is_refused_for_any_of_its_addresses_wherever_it_stands(address: str, said: str) -> None:
    for addresses in ([address], ["93.184.216.34", address], [address, "2606:2800:220:1::1"]):
        found = refusal(CLUSTER, Destination("https", "files.example.com", 443), addresses)
        assert found is not None
        assert said in found.sentence
    assert refused(CLUSTER, "files.example.com", "93.184.216.34", "no address")
    assert refusal(CLUSTER, Destination("https", "files.example.com", 443), []) is not None


def test_public_names_and_addresses_are_allowed_unless_only_the_list_is() -> None:
    for host, addresses in {
        "files.example.com": ["93.184.216.34", "2606:2800:220:1::1"],
        "xn--bcher-kva.example": ["93.184.216.34"],
        "my_bucket.s3.eu-west-1.amazonaws.com": ["52.218.1.1"],
        "93.184.216.34": [],
        "2606:2800:220:1::1": [],
        "64:ff9b::5db8:d822": [],
    }.items():
        assert not refused(CLUSTER, host, *addresses)
        assert refused(Outgoing(public=False), host, *addresses)
    listed = Outgoing.model_validate({"public": False, "allow": ["*.example.com"]})
    assert not refused(listed, "files.example.com", "93.184.216.34")
    assert refused(listed, "example.com", "93.184.216.34")
    assert refused(listed, "badexample.com", "93.184.216.34")
    assert refused(listed, "files.example.com.evil.net", "93.184.216.34")


def test_an_entry_allows_what_it_names_at_its_port_alone() -> None:
    settings = Outgoing.model_validate(
        {"allow": ["minio.data.svc:9000", "*.db.svc.cluster.local", "10.20.0.0/16", "127.0.0.2:5432", "[fd00::7]:80"]}
    )
    for host, addresses, port, expected in [
        ("minio.data.svc", ["10.96.0.7"], 9000, True),
        ("MINIO.Data.svc.", ["10.96.0.7"], 9000, True),
        ("minio.data.svc", ["10.96.0.7"], 9001, False),
        ("minio.data.svc", ["127.0.0.1"], 9000, False),
        ("minio.data.svc", ["169.254.169.254"], 9000, False),
        ("events.db.svc.cluster.local", ["10.96.0.8"], 5432, True),
        ("db.svc.cluster.local", ["10.96.0.8"], 5432, False),
        ("warehouse.example.com", ["10.20.7.7"], 5432, True),
        ("warehouse.example.com", ["10.20.7.7", "10.21.0.1"], 5432, False),
        ("10.20.0.1", [], 1, True),
        ("::ffff:10.20.0.1", [], 1, True),
        ("127.0.0.2", [], 5432, True),
        ("127.0.0.2", [], 5433, False),
        ("127.0.0.3", [], 5432, False),
        ("fd00::7", [], 80, True),
        ("fd00:0::0007", [], 80, True),
        ("fd00::7", [], 81, False),
    ]:
        assert refused(settings, host, *addresses, port=port) is not expected, (host, addresses, port)


def test_a_wide_network_on_the_list_opens_no_special_address() -> None:
    settings = Outgoing.model_validate({"allow": ["0.0.0.0/0", "::/0"]})
    assert not refused(settings, "10.0.0.1")
    for special in ("127.0.0.1", "169.254.169.254", "169.254.1.1", "0.0.0.0", "224.0.0.1", "fd00:ec2::254", "::1"):
        assert refused(settings, special), special
    link = Outgoing.model_validate({"allow": ["169.254.0.0/16"]})
    assert not refused(link, "169.254.1.1")
    assert refused(link, "169.254.169.254")
    assert not refused(Outgoing.model_validate({"allow": ["169.254.169.254"]}), "169.254.169.254")


def test_private_networks_may_be_allowed_together_without_those_of_the_cluster() -> None:
    settings = Outgoing.model_validate({"private": True, "clusterNetworks": ["10.96.0.0/12", "fd00:96::/112"]})
    assert not refused(settings, "warehouse.example.com", "10.20.7.7")
    assert not refused(settings, "192.168.1.1")
    for host, addresses in {
        "10.96.0.1": [],
        "fd00:96::1": [],
        "evil.example.com": ["10.96.0.1"],
        "kubernetes.default.svc": ["10.20.0.1"],
        "kubernetes": ["10.20.0.1"],
        "fd00:ec2::254": [],
    }.items():
        assert refused(settings, host, *addresses), host


def test_the_message_says_what_to_add_to_which_value() -> None:
    found = refusal(CLUSTER, Destination("s3", "minio.data.svc", 9000), None)
    assert found is not None
    assert "minio.data.svc, port 9000: it is this cluster" in found.sentence
    assert "adding minio.data.svc:9000 to outgoing.allow" in found.hint
    found = refusal(CLUSTER, Destination("postgresql", "10.20.7.7", 5432), ["10.20.7.7"])
    assert found is not None
    assert "10.20.7.7:5432 to outgoing.allow" in found.hint
    assert "outgoing.private: true" in found.hint


@pytest.mark.parametrize("scheme", ["file", "ftp", "gopher", "dict", "", "HTTPS", "x" * 10_000])
def test_a_scheme_that_is_not_served_is_refused_in_a_short_sentence(scheme: str) -> None:
    found = refusal(CLUSTER, Destination(scheme, "files.example.com", 443), ["93.184.216.34"])
    assert found is not None
    assert len(found.sentence) < 200


@pytest.mark.parametrize(
    "document",
    [
        {"allow": ["http://minio:9000"]},
        {"allow": ["10.0.0.1/8"]},
        {"allow": ["minio:0"]},
        {"allow": ["minio:70000"]},
        {"allow": ["*"]},
        {"allow": ["127.1"]},
        {"allow": ["fd00::1:80/129"]},
        {"allow": [7]},
        {"private": True},
        {"folders": ["data"]},
        {"folders": ["/"]},
        {"folders": ["/data/../etc"]},
        {"clusterNetworks": ["10.96.0.0"], "no": 1},
    ],
)
def test_settings_that_mean_nothing_are_refused(document: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Outgoing.model_validate(document)


def test_settings_come_back_from_what_a_child_is_told() -> None:
    document = {"allow": ["*.data.svc:9000", "10.0.0.0/8", "[fd00::1]:80"], "folders": ["/data"], "public": False}
    settings = Outgoing.model_validate(document)
    assert json.loads(settings.as_json()) == document
    assert Outgoing.model_validate_json(settings.as_json()) == settings
    assert CLUSTER.as_json() == "{}"


@given(st.integers(0, 2**32 - 1))
def test_an_address_within_another_is_judged_as_it_is_by_itself(number: int) -> None:
    plain = ipaddress.IPv4Address(number)
    expected = refused(CLUSTER, str(plain))
    for prefix in ("::ffff:0:0", "64:ff9b::", "::ffff:0:0:0"):
        within = ipaddress.IPv6Address(int(ipaddress.IPv6Address(prefix)) + number)
        assert refused(CLUSTER, str(within)) == expected, within
    assert refused(CLUSTER, str(ipaddress.IPv6Address((0x2002 << 112) + (number << 80)))) == expected


@given(st.text(max_size=80))
def test_a_host_has_one_reading_or_none(text: str) -> None:
    found = canonical(text)
    if found is not None:
        assert canonical(found) == found
        assert found.isascii()
        assert not set(found) & set("@/\\%?#[] ,")


def test_addresses_that_are_looked_at_are_not_kept_for_good() -> None:
    assert special_network.cache_parameters()["maxsize"] is not None
