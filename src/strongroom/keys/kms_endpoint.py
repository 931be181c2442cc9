"""Where a key service is, how it is reached, and with which credentials: all in which ours and Amazon's differ.

Ours on this machine is a Unix socket whose user is checked; Amazon's, or any other that speaks its protocol (one of ours
on another machine too), is HTTPS with credentials from where the AWS tools have theirs. There is no plain TCP: SigV4
proves the client only, so any local user could pose as the service. Who makes the calls, and how often, is not known
here.
"""

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from strongroom.aws.signing import signed
from strongroom.identity.requester import REQUESTER_HEADER, Requester, encode_requester

TARGET = "TrentService"  # KMS's prefix of X-Amz-Target, in its model
SERVICE = "kms"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceCredentials:
    """What this server signs its calls with."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


class CredentialSource(Protocol):
    """Both raise KeyServiceUnavailable where there are none."""

    async def current(self) -> ServiceCredentials: ...

    def load(self) -> ServiceCredentials:
        """The same for callers without an event loop; may block."""


@dataclass(frozen=True, slots=True)
class FixedCredentials:
    credentials: ServiceCredentials

    async def current(self) -> ServiceCredentials:
        return self.credentials

    def load(self) -> ServiceCredentials:
        return self.credentials


@dataclass(frozen=True, slots=True, kw_only=True)
class UnixTransport:
    """`peer_uid`: the user whose service it must be."""

    path: Path
    peer_uid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsTransport:
    host: str
    port: int
    tls: ssl.SSLContext


@dataclass(frozen=True, slots=True, kw_only=True)
class KmsEndpoint:
    """`forwards_requester`: the service wants to know the person, and believes this server's word on it."""

    transport: UnixTransport | TlsTransport
    region: str
    credentials: CredentialSource
    forwards_requester: bool

    @property
    def host(self) -> str:
        """As in the Host header and in a URL."""
        match self.transport:
            case UnixTransport():
                return "localhost"
            case TlsTransport(host=host, port=port):
                name = f"[{host}]" if ":" in host else host
                return name if port == 443 else f"{name}:{port}"

    @property
    def url(self) -> str:
        return f"{'http' if isinstance(self.transport, UnixTransport) else 'https'}://{self.host}/"

    def headers(
        self,
        operation: str,
        body: bytes,
        credentials: ServiceCredentials,
        requester: Requester | None,
        *,
        now: datetime | None = None,
    ) -> Mapping[str, str]:
        """All headers of a call, signed. `requester` None: this server asks for itself."""
        headers = {
            "content-type": "application/x-amz-json-1.1",
            "host": self.host,
            "x-amz-target": f"{TARGET}.{operation}",
        }
        if credentials.session_token is not None:
            headers["x-amz-security-token"] = credentials.session_token
        if self.forwards_requester and requester is not None:
            headers[REQUESTER_HEADER] = encode_requester(requester)
        return signed(
            "POST",
            "/",
            headers,
            body,
            access_key_id=credentials.access_key_id,
            secret=credentials.secret_access_key,
            region=self.region,
            service=SERVICE,
            now=now or datetime.now(UTC),
        )


def on_this_machine(
    path: Path, credentials: ServiceCredentials, *, region: str, peer_uid: int | None = None
) -> KmsEndpoint:
    """Our own KMS behind its socket. `peer_uid`: the user it runs as; None: the same as this process."""
    return KmsEndpoint(
        transport=UnixTransport(path=path, peer_uid=os.geteuid() if peer_uid is None else peer_uid),
        region=region,
        credentials=FixedCredentials(credentials),
        forwards_requester=True,
    )


def at_amazon(url: str, credentials: CredentialSource, *, region: str) -> KmsEndpoint:
    """AWS KMS, or another service that speaks its protocol. It judges this server, not the person.

    `url`: https://host[:port]. Raises ValueError for any other.
    """
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or parts.path not in {"", "/"} or parts.query or parts.username:
        raise ValueError(f"{url!r} is no address of a key service: write https://host or https://host:port")
    return KmsEndpoint(
        transport=TlsTransport(host=parts.hostname, port=parts.port or 443, tls=ssl.create_default_context()),
        region=region,
        credentials=credentials,
        forwards_requester=False,
    )
