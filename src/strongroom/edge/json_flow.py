"""KMS's way with a request: who signed it -> its body -> the signature -> the operation -> for whom -> its input -> an answer.

The body is read before the signature is verified, because clients of KMS sign its hash and send no
x-amz-content-sha256; so it is small, and read only for an access key id that exists. What such a request is refused for
is told to `refused`, which keeps the record of it; of a request that names nobody there is a line in the log.
"""

import asyncio
import hashlib
import uuid
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Final

from strongroom.aws.http import HttpRequest, HttpResponse
from strongroom.aws.json_1_1 import CONTENT_TYPE, parse, serialize, serialize_error
from strongroom.aws.kms_errors import KmsError
from strongroom.aws.kms_model import JsonModel
from strongroom.aws.kms_signatures import signature_error
from strongroom.aws.model import Operation
from strongroom.aws.signature_problems import PayloadHashInvalid, SignatureProblem
from strongroom.aws.sigv4 import UNSIGNED_PAYLOAD, Authorization, parse_authorization, verify
from strongroom.database.database import Unavailable
from strongroom.edge.asgi import Exchange, Ids, Scope, StalledError
from strongroom.edge.secure_connection import client_address, is_secure
from strongroom.edge.service import FindIdentity
from strongroom.identity.requester import REQUESTER_HEADER, Caller, Requester, parse_requester

MAX_BODY: Final = 1024 * 1024  # bytes; the longest input that anybody needs is a key policy of 128 KiB, escaped
MAX_SKEW: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A request of a known access key id that became no call. `operation`: "" where it named none of the model. `caller`:
    whom the access key id stands for; unless `is_verified` somebody may merely have named it.
    """

    operation: str
    error: KmsError
    caller: Caller
    is_verified: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonService:
    """A service of AWS JSON 1.1 on one kind of listener, as `edge/asgi.py` wants a service.

    `answer(operation, input, caller)`: the output; it raises KmsError, whose record it has kept itself. `refused`: keeps
    the record of what never got there. `internal`: this listener is the Unix socket, on which `service_access_key_id` may
    ask for others; everywhere else nobody may, and that credential opens nothing. `stall_timeout`: seconds for a whole body.
    """

    name: str
    model: JsonModel
    answer: Callable[[str, Mapping[str, Any], Caller], Awaitable[Mapping[str, Any]]]
    refused: Callable[[Refusal], Awaitable[None]]
    find_identity: FindIdentity = field(repr=False)
    region: str
    internal: bool
    service_access_key_id: str
    stall_timeout: float
    trusted_proxies: Collection[IPv4Network | IPv6Network] = ()
    ready: Callable[[], Awaitable[bool]]
    now: Callable[[], datetime]

    def new_ids(self) -> Ids:
        return Ids(str(uuid.uuid4()))

    def id_headers(self, ids: Ids) -> tuple[tuple[bytes, bytes], ...]:
        return ((b"x-amzn-RequestId", ids.request_id.encode()),)

    def answers_probes_at(self, _host: str) -> bool:
        return True

    async def respond(self, scope: Scope, request: HttpRequest, exchange: Exchange) -> HttpResponse:
        del scope
        exchange.is_internal = self.internal
        return await _respond(self, request, exchange)

    def refuse(self, error: Exception, exchange: Exchange) -> HttpResponse:
        match error:
            case KmsError():
                told = error
            case StalledError():
                told = KmsError("RequestTimeoutException", "The request's body did not arrive in time.")
            case Unavailable():
                told = KmsError("ServiceUnavailableException")
            case _:
                told = KmsError("KMSInternalException")
        exchange.code = told.code
        if exchange.reason is None:
            exchange.reason = told.reason  # not the message: it may repeat what the request said
        body, headers = serialize_error(told)
        return HttpResponse(status=told.status, headers=headers, body=body)


@dataclass(slots=True)
class _Progress:
    """How far a request of a known access key id has got, for the record of its refusal."""

    caller: Caller
    operation: Operation | None = None
    is_verified: bool = False


async def _respond(service: JsonService, request: HttpRequest, exchange: Exchange) -> HttpResponse:
    authorization = _authorization(request)
    identity = service.find_identity(authorization.access_key_id)
    if identity is None or (authorization.access_key_id == service.service_access_key_id and not service.internal):
        raise KmsError("UnrecognizedClientException", "The security token included in the request is invalid.")
    requester = Requester(
        principal=identity.principal,
        access_key_id=authorization.access_key_id,
        source_ip=client_address(request.client_host, request.headers, service.trusted_proxies),
        secure_transport=_is_secure(service, request),
        user_agent=request.headers.get("user-agent") or "",
        request_id="",
    )
    progress = _Progress(Caller(requester=requester, request_id=exchange.ids.request_id))
    try:
        secret = identity.credentials.secret_access_key
        operation, parsed = await _verified(service, request, exchange, authorization, secret, progress)
    except KmsError as error:
        await service.refused(
            Refusal(
                operation=progress.operation.name if progress.operation else "",
                error=error,
                caller=progress.caller,
                is_verified=progress.is_verified,
            )
        )
        raise
    output = await service.answer(operation.name, parsed, progress.caller)
    return HttpResponse(status=200, headers=(("content-type", CONTENT_TYPE),), body=serialize(operation, output))


def _authorization(request: HttpRequest) -> Authorization:
    """What the request claims; its `payload` is yet to be replaced by the hash of the body. Raises KmsError."""
    try:
        authorization = parse_authorization(
            request.method, request.raw_path, request.raw_query, request.headers, absent_payload=UNSIGNED_PAYLOAD
        )
    except SignatureProblem as problem:
        raise signature_error(problem) from None
    if authorization is None:
        raise KmsError("MissingAuthenticationTokenException", "Missing Authentication Token")
    return authorization


async def _verified(
    service: JsonService,
    request: HttpRequest,
    exchange: Exchange,
    authorization: Authorization,
    secret: str,
    progress: _Progress,
) -> tuple[Operation, dict[str, Any]]:
    """The operation and its input, signed by whoever knows `secret`. Raises KmsError."""
    if authorization.presigned:
        raise KmsError(
            "IncompleteSignatureException", "A presigned request is not served; sign the Authorization header."
        )
    if "x-amz-security-token" in request.headers or b"x-amz-security-token" in request.raw_query.lower():
        raise KmsError("UnrecognizedClientException", "The security token included in the request is invalid.")
    body = await _read(request, service.stall_timeout)
    _verify(service, request, authorization, secret, body)
    progress.is_verified = True
    exchange.access_key_id = authorization.access_key_id
    progress.operation = operation = _operation(service, request)
    exchange.operation = operation.name
    progress.caller = _caller(service, request, authorization, progress.caller)
    return operation, parse(operation, body)


async def _read(request: HttpRequest, seconds: float) -> bytes:
    """The whole body, for all of which a client has `seconds`: none is long, and nobody is believed yet. Raises KmsError,
    StalledError.
    """
    chunks, size = [], 0
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.body:
                size += len(chunk)
                if size > MAX_BODY:
                    raise KmsError("RequestEntityTooLargeException", f"The request is longer than {MAX_BODY} bytes.")
                chunks.append(chunk)
    except TimeoutError:
        raise StalledError from None
    return b"".join(chunks)


def _verify(service: JsonService, request: HttpRequest, authorization: Authorization, secret: str, body: bytes) -> None:
    digest = hashlib.sha256(body).hexdigest()
    try:
        # Only the hash of this body will do: a word for an unsigned one would leave it to anybody on the way.
        named = request.headers.get("x-amz-content-sha256")
        if named is not None and named != digest:
            raise PayloadHashInvalid(named)
        verify(
            replace(authorization, payload=digest),
            secret,
            request.method,
            request.raw_path,
            request.raw_query,
            request.headers,
            now=service.now(),
            region=service.region,
            service=service.name,
            max_skew=MAX_SKEW,
        )
    except SignatureProblem as problem:
        raise signature_error(problem) from None


def _operation(service: JsonService, request: HttpRequest) -> Operation:
    prefix, target = service.model.target_prefix, request.headers.get("x-amz-target") or ""
    operation = service.model.operations.get(target.removeprefix(prefix)) if target.startswith(prefix) else None
    if operation is None or request.method != operation.method or request.raw_path != operation.path.encode():
        raise KmsError("UnknownOperationException")
    return operation


def _caller(service: JsonService, request: HttpRequest, authorization: Authorization, signer: Caller) -> Caller:
    """Who calls: the signer, or somebody for whom our own service asks. Raises KmsError."""
    named = request.headers.get(REQUESTER_HEADER)
    is_service = service.internal and authorization.access_key_id == service.service_access_key_id
    if named is None:
        return replace(signer, is_service=True) if is_service else signer
    if not is_service or REQUESTER_HEADER not in authorization.signed_headers:
        raise KmsError("AccessDeniedException", "Nobody but this store's own service may ask in another's name.")
    try:
        person = parse_requester(named)
    except ValueError as error:
        raise KmsError("AccessDeniedException", "The person in whose name the service asks can't be read.") from error
    return replace(signer, requester=person, via_service=f"s3.{service.region}.amazonaws.com")


def _is_secure(service: JsonService, request: HttpRequest) -> bool:
    """The Unix socket leaves this machine as little as loopback does."""
    return service.internal or is_secure(request.scheme, request.client_host, request.headers, service.trusted_proxies)
