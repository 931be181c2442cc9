"""The edge: an ASGI request in, a typed call to its handler, a typed answer out.

One request goes through: HttpRequest -> route -> authenticate -> parse -> authorise -> handler -> serialise -> send,
each stage a new value. Errors become answers in one place, here. An error after the first byte ends the connection
without a clean end, so that no client takes half an object for a whole one. Every answer and its line in the log carry
the same ids.
"""

import asyncio
import base64
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import formatdate
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from strongroom.aws.errors import S3Error
from strongroom.aws.http import Headers, HttpRequest, HttpResponse
from strongroom.aws.rest_xml import body_kind, parse_body, parse_head, serialize, serialize_error
from strongroom.aws.routing import Route, route
from strongroom.crypto.errors import IntegrityError
from strongroom.database.database import Unavailable
from strongroom.edge.authenticate import SECRET_HEADERS, AuthenticatedRequest, authenticate
from strongroom.edge.authorize import authorize
from strongroom.edge.bucket_url import bucket_url
from strongroom.edge.payload import payload_body, read_document
from strongroom.edge.post_form import post_object
from strongroom.edge.secure_connection import client_address, is_secure
from strongroom.edge.service import FindIdentity, Service
from strongroom.identity.call import Answer, AuthorizedCall, Sought
from strongroom.identity.requester import Requester
from strongroom.observe import log
from strongroom.observe.metrics import count_error, count_integrity_error, observe_request

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

MAX_DOCUMENT = 1024 * 1024
# A list of 10,000 parts with SHA-512 checksums, and of 1,000 keys of 1,024 bytes in character references, is longer.
_LONG_DOCUMENTS = {"CompleteMultipartUpload": 4 * 1024 * 1024, "DeleteObjects": 8 * 1024 * 1024}
_DIGEST_WANTED = frozenset({"DeleteObjects"})
_HEALTH_CHECK = "HealthCheck"  # in log and metrics, where others have the model's name of their operation


class ClientGoneError(Exception):
    """The client went away before its request was complete: there is nobody to answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """What the edge of one service works with. `stall_timeout`: seconds without a byte of the body. `ready`: may this
    worker answer?
    """

    service: Service
    find_identity: FindIdentity = field(repr=False)
    account_id: str
    stall_timeout: float
    trusted_proxies: Collection[IPv4Network | IPv6Network]
    ready: Callable[[], Awaitable[bool]]
    now: Callable[[], datetime]


@dataclass(slots=True)
class _Exchange:
    """One request's ids, and what its line in the log will say."""

    request_id: str
    host_id: str
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


def application(edge: Edge) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        started = time.perf_counter()
        exchange = _Exchange(
            request_id=secrets.token_hex(8).upper(),
            host_id=base64.b64encode(secrets.token_bytes(48)).decode(),
            method=scope["method"],
            source_ip=(scope.get("client") or ("",))[0],
        )
        try:
            response = await _respond(edge, scope, receive, exchange)
            try:
                await _send(scope, send, response, exchange)
            finally:
                if (close := getattr(response.body, "aclose", None)) is not None:
                    await close()
        except ClientGoneError:
            exchange.code = "ClientGone"
        _record(exchange, time.perf_counter() - started)

    return app


async def _respond(edge: Edge, scope: Scope, receive: Receive, exchange: _Exchange) -> HttpResponse:
    """Every request gets an answer: whatever was raised on the way becomes an error document."""
    try:
        request = _request(scope, receive, edge.stall_timeout, exchange)
        if health := await _health(edge, request):
            exchange.operation = _HEALTH_CHECK
            return health
        return await _answer(edge, scope, request, exchange)
    except S3Error as error:
        return _error_response(error, exchange)
    except ClientGoneError:
        raise
    except IntegrityError as error:
        count_integrity_error()
        exchange.error, exchange.reason = error, f"integrity: {error}"
        return _error_response(S3Error("InternalError"), exchange)
    except Unavailable as error:
        exchange.reason = str(error) or type(error).__name__
        return _error_response(S3Error("ServiceUnavailable"), exchange)
    except Exception as error:  # noqa: BLE001 - the client learns nothing of it; the log has the trace
        exchange.error = error
        return _error_response(S3Error("InternalError"), exchange)


async def _answer(edge: Edge, scope: Scope, request: HttpRequest, exchange: _Exchange) -> HttpResponse:
    service = edge.service
    where = route(
        service.model,
        request.method,
        request.raw_path,
        request.raw_query,
        request.headers.get("host"),
        request.headers,
        service.domains,
    )
    operation = where.operation
    exchange.operation, exchange.bucket, exchange.key = operation.name, where.bucket, where.key
    secure = is_secure(request.scheme, request.client_host, request.headers, edge.trusted_proxies)
    if operation.name == "PostObject":
        response, exchange.access_key_id = await post_object(
            edge, request, where, secure=secure, request_id=exchange.request_id
        )
        return response
    verified = authenticate(request, where, service, edge.find_identity, edge.now())
    _forget_secrets(scope)
    exchange.access_key_id = verified.identity.credentials.access_key_id
    handler = service.handlers.get(operation.name)
    if handler is None:
        raise S3Error("NotImplemented", f"{operation.name} is not implemented.")
    call = await _call(edge, verified, secure, exchange.request_id)
    service.check_members(call.input)
    if body_kind(operation) == "xml":
        await service.check_target(call)
        call = await _with_document(edge, verified, call)
        service.check_members(call.input)
    return respond(where, await handler(call))


async def _call(edge: Edge, verified: AuthenticatedRequest, secure: bool, request_id: str) -> AuthorizedCall:
    request, operation = verified.request, verified.route.operation
    body = None
    if body_kind(operation) != "none" and _has_body(request, body_kind(operation)):
        body = payload_body(request.headers, request.body, verified.payload, verified.signing)
    return await authorize(
        sought=_sought(edge, verified, parse_head(operation, verified.route, request.headers), document_unread=True),
        rules=edge.service.rules,
        identity=verified.identity,
        requester=Requester(
            principal=verified.identity.principal,
            access_key_id=verified.identity.credentials.access_key_id,
            source_ip=client_address(request.client_host, request.headers, edge.trusted_proxies),
            secure_transport=secure,
            user_agent=request.headers.get("user-agent") or "",
            request_id=request_id,
        ),
        now=edge.now(),
        secret_headers=verified.secret_headers,
        body=body,
        bucket_url=bucket_url(request, verified.route, secure=secure),
    )


def _sought(edge: Edge, verified: AuthenticatedRequest, input: Mapping[str, Any], *, document_unread: bool) -> Sought:
    return Sought(
        operation=verified.route.operation.name,
        input=input,
        headers=verified.request.headers,
        account_id=edge.account_id,
        auth_type=verified.auth_type,
        signature_age=verified.signature_age,
        document_unread=document_unread,
    )


def _has_body(request: HttpRequest, kind: str) -> bool:
    """An XML document may be absent; an upload always has a length, even if it is 0."""
    length = request.headers.get("content-length")
    return kind != "xml" or "transfer-encoding" in request.headers or length not in (None, "0")


async def _with_document(edge: Edge, verified: AuthenticatedRequest, call: AuthorizedCall) -> AuthorizedCall:
    """The call with the members of its XML body, which is read only now that the call is allowed. Raises S3Error."""
    operation = verified.route.operation
    document = b""
    if call.body is not None:
        if operation.name in _DIGEST_WANTED and not expected_digest(call.headers):
            raise S3Error("InvalidRequest", "Missing required header for this request: Content-MD5")
        limit = _LONG_DOCUMENTS.get(operation.name, MAX_DOCUMENT)
        document = await read_document(_about_document(operation.name, call.headers), call.body, limit)
    return await authorize(
        sought=_sought(edge, verified, {**call.input, **parse_body(operation, document)}, document_unread=False),
        rules=edge.service.rules,
        identity=verified.identity,
        requester=call.requester,
        now=edge.now(),
        secret_headers=call.secret_headers,
        body=None,
        bucket_url=call.bucket_url,
    )


def _about_document(operation: str, headers: Headers) -> Headers:
    """The headers that may promise something of the XML document; in CompleteMultipartUpload a checksum is the object's."""
    if operation != "CompleteMultipartUpload":
        return headers
    return Headers(tuple(pair for pair in headers if pair[0] == "content-md5"))


def expected_digest(headers: Headers) -> bool:
    return "content-md5" in headers or any(
        name.startswith("x-amz-checksum-") or name == "x-amz-trailer" for name, _ in headers
    )


def respond(where: Route, answer: Answer) -> HttpResponse:
    """An operation's output as an HTTP response."""
    status, headers, document = serialize(where.operation, answer.output, answer.status)
    body = answer.output.get("Body", b"") if document is None else document
    return HttpResponse(status=status, headers=tuple(headers), body=b"" if body is None else body)


# --- errors


def _error_response(error: S3Error, exchange: _Exchange) -> HttpResponse:
    exchange.code, exchange.setting = error.code, error.setting
    if exchange.reason is None:
        exchange.reason = str(error.__cause__ or error.message) if error.status >= 500 else error.message
    headers = tuple((name.lower(), value) for name, value in error.headers.items())
    if error.status == 304:
        return HttpResponse(status=304, headers=headers)
    document = serialize_error(
        error.code,
        error.message,
        error.detail,
        exchange.request_id,
        exchange.host_id,
    )
    return HttpResponse(status=error.status, headers=(*headers, ("content-type", "application/xml")), body=document)


# --- the two unsigned routes


async def _health(edge: Edge, request: HttpRequest) -> HttpResponse | None:
    """`/-/live` and `/-/ready`, on path-style hosts only: in `bucket.domain` they are keys."""
    if not request.raw_path.startswith(b"/-/") or request.method not in ("GET", "HEAD"):
        return None
    host = (request.headers.get("host") or "").rsplit(":", 1)[0].lower()
    if any(host.endswith(f".{domain}") for domain in edge.service.domains):
        return None
    if request.raw_path == b"/-/live":
        return HttpResponse(status=200, headers=(("content-type", "text/plain"),), body=b"live\n")
    if request.raw_path == b"/-/ready":
        ready = await edge.ready()
        body = b"ready\n" if ready else b"not ready\n"
        return HttpResponse(status=200 if ready else 503, headers=(("content-type", "text/plain"),), body=body)
    return None


# --- ASGI


def _request(scope: Scope, receive: Receive, stall_timeout: float, exchange: _Exchange) -> HttpRequest:
    raw_path, _, _ = scope["raw_path"].partition(b"?")
    return HttpRequest(
        method=scope["method"],
        raw_path=raw_path,
        raw_query=scope["query_string"],
        headers=Headers(tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])),
        scheme=scope["scheme"],
        client_host=exchange.source_ip,
        body=_body(receive, stall_timeout, exchange),
    )


def _forget_secrets(scope: Scope) -> None:
    """A customer's key leaves the scope, which servers and tracebacks hold on to, as soon as the signature over it is
    verified.
    """
    scope["headers"] = [pair for pair in scope["headers"] if pair[0].decode("latin-1") not in SECRET_HEADERS]


async def _body(receive: Receive, stall_timeout: float, exchange: _Exchange) -> AsyncIterator[bytes]:
    while True:
        try:
            async with asyncio.timeout(stall_timeout):
                message = await receive()
        except TimeoutError:
            raise S3Error("RequestTimeout") from None
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        chunk = message.get("body", b"")
        exchange.bytes_in += len(chunk)
        if chunk:
            yield chunk
        if not message.get("more_body", False):
            return


async def _send(scope: Scope, send: Send, response: HttpResponse, exchange: _Exchange) -> None:
    headers = [
        *((name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers),
        (b"x-amz-request-id", exchange.request_id.encode()),
        (b"x-amz-id-2", exchange.host_id.encode()),
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


async def _stream(send: Send, body: AsyncIterator[bytes], exchange: _Exchange) -> None:
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


def _record(exchange: _Exchange, seconds: float) -> None:
    """One line and one count for each request, whatever became of it."""
    observe_request(exchange.operation, exchange.status, seconds, exchange.bytes_in, exchange.bytes_out)
    if exchange.code:
        count_error(exchange.code)
    fields: dict[str, Any] = {
        "request_id": exchange.request_id,
        "host_id": exchange.host_id,
        "operation": exchange.operation,
        "method": exchange.method,
        "source_ip": exchange.source_ip,
        "status": exchange.status,
        "seconds": seconds,
        "bytes_in": exchange.bytes_in,
        "bytes_out": exchange.bytes_out,
    }
    for name in ("bucket", "key", "access_key_id", "code", "reason", "setting"):
        if (value := getattr(exchange, name)) is not None:
            fields[name] = value
    if exchange.error is not None:
        log.failure("Request failed", exchange.error, **fields)
    else:
        log.write(_level(exchange), "Request", **fields)


def _level(exchange: _Exchange) -> int:
    if exchange.status in (500, 503):
        return logging.WARNING  # the machine's doing, and for somebody to look at
    return logging.DEBUG if exchange.operation == _HEALTH_CHECK else logging.INFO
