"""Did this request come to us over a connection that nobody else could read? One function decides it, for everybody.

Only what we see ourselves counts: our own TLS, or a peer on this machine that forwards for nobody. A proxy's word
counts only if the operator named that proxy, and then only the part that it wrote itself: the last, since anything
before may come from its client. Such a proxy must set X-Forwarded-Proto or Forwarded on every request.
"""

import re
from collections.abc import Collection
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from strongroom.aws.http import Headers

_FORWARDING = frozenset({"forwarded", "via", "x-real-ip"})

# One pair of a Forwarded header and what follows it (RFC 7239 4; blanks around ";" are common and harmless).
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - RFC 9110's word
_PAIR = re.compile(rf'[ \t]*({_TOKEN})=({_TOKEN}|"(?:[^"\\]|\\.)*")[ \t]*(?:([;,])|\Z)')


def is_secure(
    scheme: str,
    client_host: str,
    headers: Headers,
    trusted_proxies: Collection[IPv4Network | IPv6Network] = (),
) -> bool:
    """`scheme`: of our own listener; `client_host`: the peer's address as text. Anything unclear is not secure."""
    if scheme == "https":
        return True
    peer = _address(client_host)
    if peer is None:
        return False
    if not any(name in _FORWARDING or name.startswith("x-forwarded-") for name, _ in headers):
        return peer.is_loopback
    return any(peer in network for network in trusted_proxies) and _reports_https(headers)


def client_address(peer: str, headers: Headers, trusted_proxies: Collection[IPv4Network | IPv6Network] = ()) -> str:
    """Whom a policy's `aws:SourceIp` is about: the peer, or whom a trusted proxy names: the last address in
    X-Forwarded-For that is not such a proxy's own. "" where a trusted proxy's word can't be read.
    """
    told = headers.get("x-forwarded-for")
    if told is None or not trusted_proxies:
        return peer
    hops = [peer, *(part.strip() for part in reversed(told.split(",")))]
    for hop in hops:
        address = _address(hop)
        if address is None:
            return ""
        if not any(address in network for network in trusted_proxies):
            return hop
    return hops[-1]


@lru_cache(maxsize=1024)
def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(host)
    except ValueError:
        return None
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def _reports_https(headers: Headers) -> bool:
    """Whether every header in which the proxy may tell the scheme tells https, and at least one does."""
    told = []
    if (value := headers.get("x-forwarded-proto")) is not None:
        told.append(value.rpartition(",")[2].strip())
    if (value := headers.get("forwarded")) is not None:
        told.append(_forwarded_proto(value))
    return bool(told) and all(proto.lower() == "https" for proto in told)


def _forwarded_proto(value: str) -> str:
    """The proto of the last element; "" where there is none, or two, or the header does not parse to its end.

    Strictly to its end, so that a client cannot swallow the proxy's element with an open quoted string of its own.
    """
    element: list[tuple[str, str]] = []
    position = 0
    while position < len(value):
        match = _PAIR.match(value, position)
        if match is None:
            return ""
        element.append((match[1].lower(), match[2].strip('"')))
        if match[3] == ",":
            element.clear()
        position = match.end()
    protos = [text for name, text in element if name == "proto"]
    return protos[0] if len(protos) == 1 else ""
