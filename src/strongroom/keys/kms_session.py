"""One HTTP exchange with a key service, over pooled connections: a signed body out, a status and a short body in.

No redirect is followed, no cookie kept, no proxy asked, nothing decompressed, and no answer read that is longer than
any of KMS's. Whether to try again is decided elsewhere.
"""

import errno
from collections.abc import Mapping

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest
from aiohttp.tracing import Trace

from strongroom.keys import unix_socket
from strongroom.keys.kms_endpoint import KmsEndpoint, TlsTransport, UnixTransport
from strongroom.keys.kms_messages import LONGEST_ANSWER
from strongroom.keys.provider import KeyServiceMisbehaved

# Less than servers wait before they close an idle connection (uvicorn: 5): otherwise a question and the end of its
# connection would often cross.
_IDLE_SECONDS = 4.0
_NOT_OURS = frozenset({"Accept", "Accept-Encoding", "User-Agent"})  # headers that aiohttp would add


class NoAnswer(Exception):
    """The exchange failed: no connection, or none that lasted. `reason`: the name of what happened."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _CheckedUnixConnector(aiohttp.UnixConnector):
    """aiohttp's, but for the connection itself: its user is checked before the request is written, and its path may be
    long.
    """

    def __init__(self, transport: UnixTransport, *, limit: int) -> None:
        super().__init__(path=str(transport.path), limit=limit, keepalive_timeout=_IDLE_SECONDS)
        self._transport = transport

    async def _create_connection(
        self,
        req: ClientRequest,  # noqa: ARG002 - aiohttp's signature
        traces: list[Trace],  # noqa: ARG002
        timeout: aiohttp.ClientTimeout,  # noqa: ARG002, ASYNC109
    ) -> ResponseHandler:
        connection = unix_socket.connect(self._transport.path, peer_uid=self._transport.peer_uid)
        try:
            _, protocol = await self._loop.create_unix_connection(self._factory, sock=connection)
        except BaseException:
            connection.close()
            raise
        return protocol


def new_session(endpoint: KmsEndpoint, *, connections: int, connect_timeout: float) -> aiohttp.ClientSession:
    """Inside a running event loop. `connections`: at most; who finds none free waits."""
    connector: aiohttp.BaseConnector
    match endpoint.transport:
        case UnixTransport() as transport:
            connector = _CheckedUnixConnector(transport, limit=connections)
        case TlsTransport(tls=tls):
            connector = aiohttp.TCPConnector(ssl=tls, limit=connections, keepalive_timeout=_IDLE_SECONDS)
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=_NOT_OURS,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout),
    )


async def post(session: aiohttp.ClientSession, url: str, headers: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
    """Status and body of the answer. Raises NoAnswer, KeyServiceMisbehaved; the caller bounds its time."""
    try:
        async with session.post(url, data=body, headers=headers, allow_redirects=False) as response:
            answer = bytearray()
            async for block in response.content.iter_any():
                answer += block
                if len(answer) > LONGEST_ANSWER:
                    raise KeyServiceMisbehaved("an answer of the key service is longer than any of KMS's")
            return response.status, bytes(answer)
    except (aiohttp.ClientError, OSError) as error:  # TimeoutError, of the connection, is an OSError
        # Not `from error`: aiohttp's errors may hold the request with its signature.
        raise NoAnswer(_reason(error)) from None


def _reason(error: BaseException) -> str:
    """Names alone: texts of errors are not ours."""
    number = error.errno if isinstance(error, OSError) else None
    return f"{type(error).__name__} {errno.errorcode.get(number or 0, '')}".rstrip()
