"""S3's way with a request: route -> authenticate -> parse -> authorise -> handler -> serialise, each stage a new value.

Errors become error documents in one place, here. What an XML body says is read only after the call is allowed.
"""

import base64
import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from strongroom.aws.errors import S3Error
from strongroom.aws.http import Headers, HttpRequest, HttpResponse
from strongroom.aws.rest_xml import body_kind, parse_body, parse_head, serialize, serialize_error
from strongroom.aws.routing import Route, route
from strongroom.database.database import Unavailable
from strongroom.edge.asgi import Exchange, Ids, Scope, StalledError
from strongroom.edge.authenticate import SECRET_HEADERS, AuthenticatedRequest, authenticate
from strongroom.edge.authorize import authorize
from strongroom.edge.bucket_url import bucket_url
from strongroom.edge.payload import payload_body, read_document
from strongroom.edge.post_form import post_object
from strongroom.edge.secure_connection import client_address, is_secure
from strongroom.edge.service import FindIdentity, Service
from strongroom.identity.call import Answer, AuthorizedCall, Sought
from strongroom.identity.requester import Requester

MAX_DOCUMENT = 1024 * 1024
# A list of 10,000 parts with SHA-512 checksums, and of 1,000 keys of 1,024 bytes in character references, is longer.
_LONG_DOCUMENTS = {"CompleteMultipartUpload": 4 * 1024 * 1024, "DeleteObjects": 8 * 1024 * 1024}
_DIGEST_WANTED = frozenset({"DeleteObjects"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """What the edge of S3 works with, as `edge/asgi.py` wants a service. `stall_timeout`: seconds without a byte of the
    body. `ready`: may this worker answer?
    """

    service: Service
    find_identity: FindIdentity = field(repr=False)
    account_id: str
    stall_timeout: float
    trusted_proxies: Collection[IPv4Network | IPv6Network]
    ready: Callable[[], Awaitable[bool]]
    now: Callable[[], datetime]

    def new_ids(self) -> Ids:
        return Ids(secrets.token_hex(8).upper(), base64.b64encode(secrets.token_bytes(48)).decode())

    def id_headers(self, ids: Ids) -> tuple[tuple[bytes, bytes], ...]:
        return ((b"x-amz-request-id", ids.request_id.encode()), (b"x-amz-id-2", (ids.host_id or "").encode()))

    def answers_probes_at(self, host: str) -> bool:
        return not any(host.endswith(f".{domain}") for domain in self.service.domains)

    async def respond(self, scope: Scope, request: HttpRequest, exchange: Exchange) -> HttpResponse:
        return await _answer(self, scope, request, exchange)

    def refuse(self, error: Exception, exchange: Exchange) -> HttpResponse:
        match error:
            case S3Error():
                return _error_response(error, exchange)
            case StalledError():
                return _error_response(S3Error("RequestTimeout"), exchange)
            case Unavailable():
                return _error_response(S3Error("ServiceUnavailable"), exchange)
            case _:
                return _error_response(S3Error("InternalError"), exchange)


async def _answer(edge: Edge, scope: Scope, request: HttpRequest, exchange: Exchange) -> HttpResponse:
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
            edge, request, where, secure=secure, request_id=exchange.ids.request_id
        )
        return response
    verified = authenticate(request, where, service, edge.find_identity, edge.now())
    _forget_secrets(scope)
    exchange.access_key_id = verified.identity.credentials.access_key_id
    handler = service.handlers.get(operation.name)
    if handler is None:
        raise S3Error("NotImplemented", f"{operation.name} is not implemented.")
    call = await _call(edge, verified, secure, exchange.ids.request_id)
    service.check_members(call.input)
    if body_kind(operation) == "xml":
        await service.check_target(call)
        call = await _with_document(edge, verified, call)
        service.check_members(call.input)
    return _response(where, await handler(call))


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
        region=edge.service.region,
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
        if operation.name in _DIGEST_WANTED and not _expected_digest(call.headers):
            raise S3Error("InvalidRequest", "Missing required header for this request: Content-MD5")
        limit = _LONG_DOCUMENTS.get(operation.name, MAX_DOCUMENT)
        document = await read_document(_about_document(operation.name, call.headers), call.body, limit)
    return await authorize(
        sought=_sought(edge, verified, {**call.input, **parse_body(operation, document)}, document_unread=False),
        rules=edge.service.rules,
        identity=verified.identity,
        requester=call.requester,
        now=edge.now(),
        region=edge.service.region,
        secret_headers=call.secret_headers,
        body=None,
        bucket_url=call.bucket_url,
    )


def _about_document(operation: str, headers: Headers) -> Headers:
    """The headers that may promise something of the XML document; in CompleteMultipartUpload a checksum is the object's."""
    if operation != "CompleteMultipartUpload":
        return headers
    return Headers(tuple(pair for pair in headers if pair[0] == "content-md5"))


def _expected_digest(headers: Headers) -> bool:
    return "content-md5" in headers or any(
        name.startswith("x-amz-checksum-") or name == "x-amz-trailer" for name, _ in headers
    )


def _response(where: Route, answer: Answer) -> HttpResponse:
    """An operation's output as an HTTP response."""
    status, headers, document = serialize(where.operation, answer.output, answer.status)
    body = answer.output.get("Body", b"") if document is None else document
    return HttpResponse(status=status, headers=tuple(headers), body=b"" if body is None else body)


def _error_response(error: S3Error, exchange: Exchange) -> HttpResponse:
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
        exchange.ids.request_id,
        exchange.ids.host_id or "",
    )
    return HttpResponse(status=error.status, headers=(*headers, ("content-type", "application/xml")), body=document)


def _forget_secrets(scope: Scope) -> None:
    """A customer's key leaves the scope, which servers and tracebacks hold on to, as soon as the signature over it is
    verified.
    """
    scope["headers"] = [pair for pair in scope["headers"] if pair[0].decode("latin-1") not in SECRET_HEADERS]
