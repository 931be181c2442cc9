"""What we ask of HTTP/1.1 beyond uvicorn: one reading of every message, or none.

Two things, both below the application. `Http1` is uvicorn's protocol with the refusals that keep a proxy and us from
reading two different requests out of the same bytes (RFC 9112 section 11.2), and with bounds in size and time on a
request's head. `answering_before_the_body` makes an answer that comes before its request's body is read arrive at the
client, and ends the connection after it. Nothing here knows S3 but the form of its error document.
"""

import asyncio
import base64
import fcntl
import logging
import secrets
import sys
import termios
from collections.abc import Awaitable, Callable, MutableMapping
from email.utils import formatdate
from functools import partial
from typing import Any, Final, cast
from urllib.parse import urlsplit

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from strongroom.aws.errors import S3Error
from strongroom.edge.unix_socket import peer_uid
from strongroom.observe import log

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

# Request line and header fields together. AWS allows 8 KB of header fields; a key of 1,024 bytes takes 3 KB in the
# request line, and a presigned query with a session token some more.
MAX_HEAD_BYTES: Final = 16 * 1024
# An answered client gets this long to stop sending (nginx's lingering_time and lingering_timeout, shorter).
LINGER_SECONDS: Final = 10.0
LINGER_IDLE_SECONDS: Final = 2.0

_IS_GONE: Final = "strongroom.is_gone"  # of a scope: has the client closed its connection?


class Http1(HttpToolsProtocol):
    """One connection. `stall_timeout`: seconds for a whole request head, and without progress of an answer. `peers`: uids
    that may have connected, where that can be told.
    """

    stall_timeout = 30.0
    peers: frozenset[int] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._refusal: S3Error | None = None
        self._is_refused = False
        self._head_open = False
        self._head_bytes = 0
        self._write_timer: asyncio.TimerHandle | None = None
        self._head_timer = self.loop.call_later(self.stall_timeout, self._head_is_late)
        if self.peers is not None and (uid := peer_uid(transport.get_extra_info("socket"))) not in self.peers:
            log.warning("Refused a local connection", reason=f"it comes from uid {uid}")
            self._is_refused = True
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_timer.cancel()
        self._cancel_write_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        super().data_received(data)
        if self._head_open:
            # The parser keeps an unfinished field to itself, so the bytes are counted as they come.
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(S3Error("RequestHeaderSectionTooLarge"))
        if self._waits_for_head() and self._head_timer.cancelled():
            self._head_timer = self.loop.call_later(self.stall_timeout, self._head_is_late)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_timer = self.loop.call_later(self.stall_timeout, self._reader_is_late, self._bytes_not_taken())

    def resume_writing(self) -> None:
        self._cancel_write_timer()
        super().resume_writing()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_open = True
        self._head_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        # A trailer field of a chunked body must not become a header of a request that was authenticated without it.
        if self._head_open:
            super().on_header(name, value)
        else:
            self._head_bytes += len(name) + len(value)
            if self._head_bytes > MAX_HEAD_BYTES:
                raise self._refused(S3Error("RequestHeaderSectionTooLarge"))

    def on_headers_complete(self) -> None:
        self._head_open = False
        self._head_timer.cancel()
        self._check_head()
        super().on_headers_complete()
        cast("dict[str, Any]", self.scope)[_IS_GONE] = partial(getattr, self.cycle, "disconnected")
        if self.parser.should_upgrade():
            # RFC 9110 7.8: an upgrade may be ignored. The parser is lost for what follows, so this is the connection's
            # last request.
            self.cycle.keep_alive = False

    def send_400_response(self, msg: str) -> None:
        """Called where the parser gives up; what it said stays in the log."""
        refusal, self._refusal = (
            self._refusal or S3Error("BadRequest", "An error occurred when parsing the HTTP request."),
            None,
        )
        self._refuse(refusal, reason=msg)

    def _check_head(self) -> None:
        """Refuse what two readers could read in two ways. Raises through the parser, which ends in
        `send_400_response`.
        """
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > MAX_HEAD_BYTES:
            raise self._refused(S3Error("RequestHeaderSectionTooLarge"))
        version = self.parser.get_http_version()
        hosts = [value for name, value in self.headers if name == b"host"]
        codings = [value.lower() for name, value in self.headers if name == b"transfer-encoding"]
        has_body = bool(codings) or any(name == b"content-length" and value != b"0" for name, value in self.headers)
        if (
            version not in ("1.0", "1.1")
            # RFC 9112 3.2: exactly one Host field.
            or len(hosts) > 1
            or (not hosts and version == "1.1")
            # RFC 9112 6.1: we know no other coding, and HTTP/1.0 knows none.
            or (codings and (codings != [b"chunked"] or version == "1.0"))
            # The parser takes the body of such a request for another protocol's bytes.
            or (self.parser.should_upgrade() and has_body)
            or not _is_one_target(self.url, hosts)
        ):
            raise self._refused(S3Error("BadRequest"))

    def _refused(self, refusal: S3Error) -> S3Error:
        self._refusal = refusal
        return refusal

    def _waits_for_head(self) -> bool:
        return self._head_open or self.cycle is None or self.cycle.response_complete

    def _head_is_late(self) -> None:
        self._head_timer.cancel()
        if self._head_open:
            self._refuse(S3Error("RequestTimeout"))
        elif self._waits_for_head():
            self.transport.close()

    def _reader_is_late(self, waiting: int) -> None:
        """A client that takes nothing of its answer is cut; one that takes little goes on. `waiting`: bytes when last looked at."""
        now_waiting = self._bytes_not_taken()
        if now_waiting >= waiting:
            self.transport.abort()
        else:
            self._write_timer = self.loop.call_later(self.stall_timeout, self._reader_is_late, now_waiting)

    def _bytes_not_taken(self) -> int:
        """Bytes of the answer that the client has not acknowledged, here and in the kernel.

        The kernel's queue counts too: it holds megabytes, and takes more of ours only when a third of it is free.
        """
        queued = fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))  # tcp(7)
        return self.transport.get_write_buffer_size() + int.from_bytes(queued, sys.byteorder)

    def _cancel_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()

    def _refuse(self, refusal: S3Error, reason: str = "") -> None:
        """Answer and close, but never write into the middle of another answer."""
        if self.transport.is_closing():
            return
        cycle = self.cycle
        request_id, host_id = secrets.token_hex(8).upper(), base64.b64encode(secrets.token_bytes(48)).decode()
        log.write(
            logging.INFO,
            "Refused what is no request",
            request_id=request_id,
            host_id=host_id,
            code=refusal.code,
            status=refusal.status,
            source_ip=self.client[0] if self.client else "",
            reason=reason or refusal.message,
        )
        if cycle is None or cycle.response_complete:
            self.transport.write(_refusal_answer(refusal, request_id, host_id))
            # Closing a socket with unread bytes resets it, and the answer may be lost; so the client has a moment to
            # read.
            self._is_refused = True
            self.loop.call_later(LINGER_IDLE_SECONDS, self.transport.close)
        elif not cycle.more_body:
            # Whole requests are still being answered; the damage came after them.
            cycle.keep_alive = False
        elif cycle.response_started or self.pipeline:
            self.transport.abort()
        else:
            self.transport.write(_refusal_answer(refusal, request_id, host_id))
            self.transport.close()  # at once: the application must see the end, not write a second answer


def _refusal_answer(refusal: S3Error, request_id: str, host_id: str) -> bytes:
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{refusal.code}</Code><Message>{refusal.message}</Message>"
        f"<RequestId>{request_id}</RequestId><HostId>{host_id}</HostId></Error>"
    )
    return (
        f"HTTP/1.1 {refusal.status} Bad Request\r\n"
        f"x-amz-request-id: {request_id}\r\nx-amz-id-2: {host_id}\r\ndate: {formatdate(usegmt=True)}\r\n"
        f"content-type: application/xml\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n{body}"
    ).encode("ascii")


def _is_one_target(target: bytes, hosts: list[bytes]) -> bool:
    """Whether the request target is a path, or an absolute URL that names the very host of the Host field (RFC 9112
    3.2).
    """
    if b"#" in target:
        return False  # the parser would cut it off, and another reader would not
    if target.startswith(b"/"):
        return True
    try:
        url = urlsplit(target.decode("ascii"))
        return url.scheme in ("http", "https") and url.path.startswith("/") and [url.netloc.encode()] == hosts
    except ValueError:
        return False


def answering_before_the_body(application: Application) -> Application:
    """`application`, with answers that come before the end of a request's body made safe.

    What the client has not sent yet can't be told from its next request, so the connection ends; and it ends only after
    the client had time to read the answer, since closing a socket with unread bytes resets it and may destroy the
    answer on its way (RFC 9112 9.6).

    And `send` of a piece of an answer raises ConnectionResetError where the client has gone, as ASGI asks and uvicorn does
    not: nobody reads a whole object for a client that stopped after its first bytes.
    """

    async def call(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        unread = _body_length(scope["headers"])
        is_gone = scope[_IS_GONE]

        async def send_while_there(message: Message) -> None:
            await send(message)
            if message.get("more_body", False) and is_gone():
                raise ConnectionResetError

        if unread == 0:
            await application(scope, receive, send_while_there)
            return

        async def receive_counted() -> Message:
            nonlocal unread
            message = await receive()
            if not message.get("more_body", False):
                unread = 0
            elif unread is not None:
                unread -= len(message.get("body", b""))
            return message

        async def send_and_linger(message: Message) -> None:
            if unread == 0:
                await send_while_there(message)
            elif message["type"] == "http.response.start":
                await send({**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]})
            elif message.get("more_body", False):
                await send_while_there(message)
            else:
                await send({**message, "more_body": True})
                await _discard(receive)
                await send({"type": "http.response.body"})

        await application(scope, receive_counted, send_and_linger)

    return call


def _body_length(headers: list[tuple[bytes, bytes]]) -> int | None:
    """Bytes of the body that follows, None where only its end will tell. The parser has checked both fields."""
    for name, value in headers:
        if name == b"content-length":
            return int(value)
        if name == b"transfer-encoding":
            return None
    return 0


async def _discard(receive: Receive) -> None:
    """Read and forget until the client stops sending or its time is up."""
    try:
        async with asyncio.timeout(LINGER_SECONDS):
            while True:
                async with asyncio.timeout(LINGER_IDLE_SECONDS):
                    message = await receive()
                if not message.get("more_body", False):
                    return
    except TimeoutError:
        return
