"""Authentication: who sent this request. One place for every operation, before anything that is particular to one.

The identity comes out of the verifier and of nothing else. What leaves here has been verified, its customer keys are
out of its headers, and of a presigned query the `x-amz-*` parameters have become headers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal

from strongroom.aws.errors import S3Error
from strongroom.aws.http import Headers, HttpRequest
from strongroom.aws.routing import Route, effective_headers
from strongroom.aws.s3_signatures import signature_error
from strongroom.aws.signature_problems import SignatureProblem
from strongroom.aws.sigv4 import SigningKey, parse_authorization, verify
from strongroom.edge.service import FindIdentity, Service
from strongroom.identity.store import Identity

SECRET_HEADERS = frozenset(
    {
        "x-amz-server-side-encryption-customer-key",
        "x-amz-copy-source-server-side-encryption-customer-key",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthenticatedRequest:
    """`payload`: the verified x-amz-content-sha256 value; `signing`: what the chunks of a signed body are held against.
    `auth_type`, `signature_age`: as policies ask for them, the age of presigned requests only.
    """

    request: HttpRequest
    route: Route
    identity: Identity
    auth_type: Literal["REST-HEADER", "REST-QUERY-STRING"]
    signature_age: timedelta | None
    payload: str
    signing: SigningKey = field(repr=False)
    secret_headers: Mapping[str, str] = field(repr=False)


def authenticate(
    request: HttpRequest, route: Route, service: Service, find: FindIdentity, now: datetime
) -> AuthenticatedRequest:
    """Verify the signature of header or query. Raises S3Error; an anonymous request is AccessDenied, since nobody
    granted it anything.
    """
    try:
        return _authenticate(request, route, service, find, now)
    except SignatureProblem as problem:
        raise signature_error(problem) from None


def _authenticate(
    request: HttpRequest, route: Route, service: Service, find: FindIdentity, now: datetime
) -> AuthenticatedRequest:
    parts = (request.method, request.raw_path, request.raw_query, request.headers)
    authorization = parse_authorization(*parts)
    if authorization is None:
        raise S3Error("AccessDenied")
    identity = find(authorization.access_key_id)
    if identity is None:
        raise S3Error("InvalidAccessKeyId", AWSAccessKeyId=authorization.access_key_id)
    if "x-amz-security-token" in request.headers or b"x-amz-security-token" in request.raw_query.lower():
        raise S3Error("InvalidToken")
    secret = identity.credentials.secret_access_key
    signing = verify(authorization, secret, *parts, now=now, region=service.region, service=service.name)
    headers = effective_headers(request.headers, route.query) if authorization.presigned else request.headers
    public, secrets = split_secrets(headers)
    return AuthenticatedRequest(
        request=replace(request, headers=public),
        route=route,
        identity=identity,
        auth_type="REST-QUERY-STRING" if authorization.presigned else "REST-HEADER",
        signature_age=now - authorization.timestamp if authorization.presigned else None,
        payload=authorization.payload,
        signing=signing,
        secret_headers=secrets,
    )


def split_secrets(headers: Headers) -> tuple[Headers, dict[str, str]]:
    """Headers without customer keys, and those keys."""
    secrets = {name: value for name in SECRET_HEADERS if (value := headers.get(name)) is not None}
    return (headers.without(SECRET_HEADERS) if secrets else headers), secrets
