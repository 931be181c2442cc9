from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.aws.http import Headers
from strongroom.edge.secure_connection import client_address, is_secure

PROXIES = (ip_network("10.0.0.0/8"), ip_network("2001:db8::/32"), ip_network("127.0.0.9/32"))
LOOPBACK = ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"]
PROXY = ["10.1.2.3", "2001:db8::7", "::ffff:10.1.2.3", "127.0.0.9"]
STRANGER = ["192.0.2.1", "11.0.0.1", "2001:db9::1", "::ffff:192.0.2.1"]
UNCLEAR = ["", "localhost", "testclient", "unix:", "127.0.0.1:80", "127.0.0.1.", "127.1", "0x7f.0.0.1", "127.0.0.1\n"]


def secure(client_host, *pairs, scheme="http", proxies=PROXIES):
    return is_secure(scheme, client_host, Headers.of(pairs), proxies)


@pytest.mark.parametrize("client_host", [*LOOPBACK, *PROXY, *STRANGER, *UNCLEAR])
def test_our_own_tls_is_secure(client_host):
    assert secure(client_host, scheme="https")
    assert secure(client_host, ("X-Forwarded-Proto", "http"), scheme="https")


@pytest.mark.parametrize("client_host", LOOPBACK)
def test_loopback_peer_is_secure(client_host):
    assert secure(client_host)
    assert secure(client_host, ("Host", "example.com"), ("X-Forwarded", "1"), proxies=())


@pytest.mark.parametrize("client_host", [*STRANGER, *UNCLEAR, "10.1.2.3"])
def test_plain_http_from_elsewhere_is_not(client_host):
    assert not secure(client_host)


FORWARDING = [
    ("Forwarded", "for=192.0.2.1;proto=https"),
    ("X-Forwarded-Proto", "https"),
    ("x-forwarded-for", "192.0.2.1"),
    ("X-Forwarded-Host", "a"),
    ("X-Forwarded-Anything", ""),
    ("Via", "1.1 proxy"),
    ("X-Real-IP", "192.0.2.1"),
]


@pytest.mark.parametrize("header", FORWARDING)
@pytest.mark.parametrize("client_host", LOOPBACK)
def test_loopback_peer_that_forwards_is_not(client_host, header):
    assert not secure(client_host, header)


@pytest.mark.parametrize("header", FORWARDING)
@pytest.mark.parametrize("client_host", [*STRANGER, *UNCLEAR])
def test_nobody_else_may_report_https(client_host, header):
    assert not secure(client_host, header)


@pytest.mark.parametrize("client_host", PROXY)
@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([("X-Forwarded-Proto", "https")], True),
        ([("X-Forwarded-Proto", "HTTPS")], True),
        ([("X-Forwarded-Proto", "http")], False),
        ([("X-Forwarded-Proto", "")], False),
        ([("X-Forwarded-Proto", "https ")], True),
        ([("X-Forwarded-For", "192.0.2.1")], False),
        # the client's own words come first, the proxy's last
        ([("X-Forwarded-Proto", "https, http")], False),
        ([("X-Forwarded-Proto", "http,https")], True),
        ([("X-Forwarded-Proto", "https"), ("X-Forwarded-Proto", "http")], False),
        ([("X-Forwarded-Proto", "http"), ("X-Forwarded-Proto", "https")], True),
        ([("X-Forwarded-Proto", "https,")], False),
        ([("Forwarded", "proto=https")], True),
        ([("Forwarded", "for=192.0.2.60;proto=https;by=203.0.113.43")], True),
        ([("Forwarded", 'For="[2001:db8:cafe::17]:4711";Proto="https"')], True),
        ([("Forwarded", "for=192.0.2.60; proto=https")], True),
        ([("Forwarded", "for=192.0.2.60;proto=http")], False),
        ([("Forwarded", "for=192.0.2.60")], False),
        ([("Forwarded", "")], False),
        ([("Forwarded", "proto=https, for=192.0.2.60;proto=http")], False),
        ([("Forwarded", "proto=https, for=192.0.2.60")], False),
        ([("Forwarded", "proto=http, for=192.0.2.60;proto=https")], True),
        ([("Forwarded", "proto=https"), ("Forwarded", "proto=http")], False),
        ([("Forwarded", "proto=https;proto=http")], False),
        ([("Forwarded", "proto=https,")], False),
        ([("Forwarded", "proto=https;;")], False),
        # an open quoted string of the client must not swallow what the proxy adds
        ([("Forwarded", 'for="a;proto=https, for=192.0.2.60;proto=http')], False),
        ([("Forwarded", 'proto=https;for=", for=192.0.2.60;proto=http')], False),
        ([("Forwarded", 'for="x", for=1.2.3.4;host=";proto=https"')], False),
        ([("Forwarded", r'host="\";proto=https;b=\"";proto=http')], False),
        ([("Forwarded", 'for=1.2.3.4;host="a, proto=https"')], False),
        ([("Forwarded", 'a=", host=";proto=https;b=";proto=http')], False),
        # both must agree
        ([("X-Forwarded-Proto", "https"), ("Forwarded", "proto=https")], True),
        ([("X-Forwarded-Proto", "https"), ("Forwarded", "proto=http")], False),
        ([("X-Forwarded-Proto", "http"), ("Forwarded", "proto=https")], False),
        ([("X-Forwarded-Proto", "https"), ("Forwarded", "garbage")], False),
    ],
)
def test_what_a_trusted_proxy_reports(client_host, headers, expected):
    assert secure(client_host, *headers) is expected
    assert not secure(client_host, *headers, proxies=())


def test_a_trusted_proxy_that_reports_nothing_is_judged_by_its_address():
    assert not secure("10.1.2.3")
    assert secure("127.0.0.9")


def test_a_network_of_the_other_family_never_matches():
    assert not secure("::1", ("X-Forwarded-Proto", "https"), proxies=(ip_network("0.0.0.0/0"),))


@given(client=st.text(max_size=40).map(lambda text: text.replace("\x00", "")))
def test_a_client_cannot_speak_for_the_proxy(client):
    assert not secure("10.1.2.3", ("X-Forwarded-Proto", f"{client}, http"))
    assert not secure("10.1.2.3", ("Forwarded", f"{client}, for=192.0.2.60;proto=http"))


def test_a_long_header_is_read_in_linear_time():
    for value in ("a" * 20_000, " " * 20_000, 'a="' + "\\" * 20_000, "a=b," * 5_000 + '"'):
        assert not secure("10.1.2.3", ("Forwarded", value))


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "trusted", "told"),
    [
        ("192.0.2.9", None, [], "192.0.2.9"),
        ("192.0.2.9", "198.51.100.1", [], "192.0.2.9"),
        ("192.0.2.9", "198.51.100.1", ["10.0.0.0/8"], "192.0.2.9"),
        ("10.0.0.1", None, ["10.0.0.0/8"], "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1", ["10.0.0.0/8"], "198.51.100.1"),
        ("10.0.0.1", "203.0.113.5, 198.51.100.1", ["10.0.0.0/8"], "198.51.100.1"),
        ("10.0.0.1", "203.0.113.5, 198.51.100.1, 10.0.0.2", ["10.0.0.0/8"], "198.51.100.1"),
        ("10.0.0.1", "10.0.0.3,10.0.0.2", ["10.0.0.0/8"], "10.0.0.3"),
        ("10.0.0.1", "2001:db8::1", ["10.0.0.0/8"], "2001:db8::1"),
        ("10.0.0.1", "198.51.100.1, unknown", ["10.0.0.0/8"], ""),
        ("10.0.0.1", "", ["10.0.0.0/8"], ""),
        ("::ffff:10.0.0.1", "198.51.100.1", ["10.0.0.0/8"], "198.51.100.1"),
    ],
)
def test_only_a_trusted_proxy_names_the_client(peer, forwarded_for, trusted, told) -> None:
    """rustfs GHSA-fc6g-2gcp-2qrq: the source address came from a header that anybody could send."""
    headers = Headers.of([] if forwarded_for is None else [("x-forwarded-for", forwarded_for)])
    assert client_address(peer, headers, [ip_network(each) for each in trusted]) == told
