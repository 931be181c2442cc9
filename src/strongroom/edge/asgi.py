"""What every service has of an ASGI request: ids, probes, a body that stalls, an answer that is sent, counted and logged.

A service makes the answer (`edge/rest_flow.py`, `edge/json_flow.py`); around it everything is alike. An error after the
first byte ends the connection without a clean end, so that no client takes half an object for a whole one. Every answer
and its line in the log carry the same ids.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from email.utils import formatdate
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from strongroom.aws.errors import S3Error
from strongroom.aws.http import Headers, HttpRequest, HttpResponse
from strongroom.aws.kms_errors import KmsError
from strongroom.crypto.errors import IntegrityError
from strongroom.database.database import Unavailable
from strongroom.observe import log
from strongroom.observe.metrics import count_error, count_integrity_error, observe_request

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_HEALTH_CHECK = "HealthCheck"  # in log and metrics, where others have the model's name of their operation


class ClientGoneError(Exception):
    """The client went away before its request was complete: there is nobody to answer."""


class StalledError(Exception):
    """Nothing came of a request's body for too long."""


class Ids(NamedTuple):
    """What names one exchange to its client and to the log; S3 has two."""

    request_id: str
    host_id: str | None = None


@dataclass(slots=True)
class Exchange:
    """One request's ids, and what its line in the log will say. `is_internal`: between our own processes, of which each
    has a line of what it is for already.
    """

    ids: Ids
    method: str
    source_ip: str
    operation: str = "UNKNOWN"
    bucket: str | None = None
    key: str | None = None
    access_key_id: str | None = None
    bytes_in: int = 0
    bytes_out: int = 0
    status: int = 0
    code: str | None = None
    error: BaseException | None = None
    reason: str | None = None
    setting: str | None = None
    is_internal: bool = False


class Flow(Protocol):
    """How a service makes its answers. `stall_timeout`: seconds without a byte of the body. `ready`: may this process
    answer?
    """

    @property
    def stall_timeout(self) -> float: ...

    @property
    def ready(self) -> Callable[[], Awaitable[bool]]: ...

    def new_ids(self) -> Ids: ...

    def id_headers(self, ids: Ids) -> tuple[tuple[bytes, bytes], ...]: ...

    def answers_probes_at(self, host: str) -> bool:
        """Whether `/-/live` and `/-/ready` are probes on this host, and no paths of its own."""
        ...

    async def respond(self, scope: Scope, request: HttpRequest, exchange: Exchange) -> HttpResponse:
        """May raise anything."""
        ...

    def refuse(self, error: Exception, exchange: Exchange) -> HttpResponse:
        """The answer to what was raised: its own errors, StalledError, Unavailable; whatever else is an internal error."""
        ...


def application(flow: Flow) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        started = time.perf_counter()
        exchange = Exchange(
            ids=flow.new_ids(),
            method=scope["method"],
            source_ip=(scope.get("client") or ("",))[0],
        )
        try:
            response = await _respond(flow, scope, receive, exchange)
            try:
                await _send(scope, send, response, exchange, flow.id_headers(exchange.ids))
            finally:
                if (close := getattr(response.body, "aclose", None)) is not None:
                    await close()
        except ClientGoneError:
            exchange.code = "ClientGone"
        _record(exchange, time.perf_counter() - started)

    return app


async def _respond(flow: Flow, scope: Scope, receive: Receive, exchange: Exchange) -> HttpResponse:
    """Every request gets an answer: whatever was raised on the way becomes one of the service's errors."""
    try:
        request = _request(scope, receive, flow.stall_timeout, exchange)
        if health := await _health(flow, request):
            exchange.operation = _HEALTH_CHECK
            return health
        return await flow.respond(scope, request, exchange)
    except ClientGoneError:
        raise
    except Exception as error:  # noqa: BLE001 - the client learns nothing of it; the log has the trace
        _note(error, exchange)
        return flow.refuse(error, exchange)


def _note(error: Exception, exchange: Exchange) -> None:
    match error:
        case S3Error() | KmsError() | StalledError():
            pass
        case IntegrityError():
            count_integrity_error()
            exchange.error, exchange.reason = error, f"integrity: {error}"
        case Unavailable():
            exchange.reason = str(error) or type(error).__name__
        case _:
            exchange.error = error


# --- the two unsigned routes


async def _health(flow: Flow, request: HttpRequest) -> HttpResponse | None:
    """`/-/live` and `/-/ready`."""
    if not request.raw_path.startswith(b"/-/") or request.method not in ("GET", "HEAD"):
        return None
    if not flow.answers_probes_at((request.headers.get("host") or "").rsplit(":", 1)[0].lower()):
        return None
    if request.raw_path == b"/-/live":
        return HttpResponse(status=200, headers=(("content-type", "text/plain"),), body=b"live\n")
    if request.raw_path == b"/-/ready":
        ready = await flow.ready()
        body = b"ready\n" if ready else b"not ready\n"
        return HttpResponse(status=200 if ready else 503, headers=(("content-type", "text/plain"),), body=body)
    return None


# --- ASGI


def _request(scope: Scope, receive: Receive, stall_timeout: float, exchange: Exchange) -> HttpRequest:
    raw_path, _, _ = scope["raw_path"].partition(b"?")
    # RFC 9110 5.5: space around a value is not of it; the parser leaves what is behind.
    headers = Headers(
        tuple((name.decode("latin-1"), value.decode("latin-1").strip(" \t")) for name, value in scope["headers"])
    )
    return HttpRequest(
        method=scope["method"],
        raw_path=raw_path,
        raw_query=scope["query_string"],
        headers=headers,
        scheme=scope["scheme"],
        client_host=exchange.source_ip,
        body=_body(receive, stall_timeout, exchange),
    )


async def _body(receive: Receive, stall_timeout: float, exchange: Exchange) -> AsyncIterator[bytes]:
    while True:
        try:
            async with asyncio.timeout(stall_timeout):
                message = await receive()
        except TimeoutError:
            raise StalledError from None
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        chunk = message.get("body", b"")
        exchange.bytes_in += len(chunk)
        if chunk:
            yield chunk
        if not message.get("more_body", False):
            return


async def _send(
    scope: Scope, send: Send, response: HttpResponse, exchange: Exchange, id_headers: tuple[tuple[bytes, bytes], ...]
) -> None:
    headers = [
        *((name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers),
        *id_headers,
        (b"date", _http_date(int(time.time()))),
        (b"server", b"Strongroom"),
    ]
    body = response.body
    exchange.status = response.status
    if (
        isinstance(body, bytes)
        and response.status not in (204, 304)
        and not any(name == "content-length" for name, _ in response.headers)
    ):
        headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    if scope["method"] == "HEAD" or response.status in (204, 304):
        await send({"type": "http.response.body"})
        return
    if isinstance(body, bytes):
        exchange.bytes_out = len(body)
        await send({"type": "http.response.body", "body": body})
        return
    await _stream(send, body, exchange)


@lru_cache(maxsize=2)
def _http_date(second: int) -> bytes:
    return formatdate(second, usegmt=True).encode()


async def _stream(send: Send, body: AsyncIterator[bytes], exchange: Exchange) -> None:
    """Send block after block. What goes wrong now can only be told by not ending: the server closes the connection
    short of its length.
    """
    try:
        async for block in body:
            await send({"type": "http.response.body", "body": block, "more_body": True})
            exchange.bytes_out += len(block)
        await send({"type": "http.response.body"})
    except ConnectionResetError:
        exchange.code = "ClientGone"
    except IntegrityError as error:
        count_integrity_error()
        exchange.code, exchange.error, exchange.reason = "Aborted", error, f"integrity: {error}"
    except Exception as error:  # noqa: BLE001 - as above
        exchange.code, exchange.error = "Aborted", error


def _record(exchange: Exchange, seconds: float) -> None:
    """One line and one count for each request, whatever became of it."""
    observe_request(exchange.operation, exchange.status, seconds, exchange.bytes_in, exchange.bytes_out)
    if exchange.code:
        count_error(exchange.code)
    if exchange.error is None and not log.is_written(_level(exchange)):
        return
    fields: dict[str, Any] = {
        "request_id": exchange.ids.request_id,
        "operation": exchange.operation,
        "method": exchange.method,
        "source_ip": exchange.source_ip,
        "status": exchange.status,
        "seconds": seconds,
        "bytes_in": exchange.bytes_in,
        "bytes_out": exchange.bytes_out,
    }
    if exchange.ids.host_id is not None:
        fields["host_id"] = exchange.ids.host_id
    for name in ("bucket", "key", "access_key_id", "code", "reason", "setting"):
        if (value := getattr(exchange, name)) is not None:
            fields[name] = value
    if exchange.error is not None:
        log.failure("Request failed", exchange.error, **fields)
    else:
        log.write(_level(exchange), "Request", **fields)


def _level(exchange: Exchange) -> int:
    if exchange.status in (500, 503):
        return logging.WARNING  # the machine's doing, and for somebody to look at
    is_routine = exchange.operation == _HEALTH_CHECK or (exchange.is_internal and exchange.status == 200)
    return logging.DEBUG if is_routine else logging.INFO
