"""AWS Signature Version 4: who says that they sent this request, and whether it is so.

Strategy: `parse_authorization` reads the credentials from the one place that holds them (header or query, never both)
and refuses what is malformed; the caller finds the secret of `access_key_id`; `verify` proves the signature over the
request as it stood on the wire and hands back the key that the chunks of an aws-chunked body are signed with. Nothing
that `parse_authorization` returns may be believed before `verify` has returned.

Rules: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html and the pages below it. What
is wrong is raised as a SignatureProblem, which each service puts in its own words (`aws/s3_signatures.py`,
`aws/kms_signatures.py`). This module knows no user, no policy, no service and no clock (`now` is an argument); a session
token is just a signed header.
"""

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache

from strongroom.aws.canonical import canonical_request, query_pairs
from strongroom.aws.http import Headers
from strongroom.aws.signature_problems import (
    AnotherMechanism,
    BadQueryParameters,
    DateMissing,
    Expired,
    HeadersNotSigned,
    Malformed,
    PayloadHashInvalid,
    PayloadHashMissing,
    SignatureMismatch,
    Skewed,
    TwoMechanisms,
    WrongDate,
    WrongRegion,
    WrongService,
)

ALGORITHM = "AWS4-HMAC-SHA256"
TERMINATOR = "aws4_request"
MAX_SKEW = timedelta(minutes=15)
MAX_EXPIRES = 604_800  # seconds: the seven days that a signing key lives
_LAST_SIGNABLE = datetime.max.replace(tzinfo=UTC) - timedelta(seconds=MAX_EXPIRES)  # what can still be added to

UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
STREAMING_UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
STREAMING_SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
STREAMING_SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
# A closed list: a payload form that nobody here checks would otherwise be an upload without authentication.
PAYLOAD_SENTINELS = frozenset(
    {UNSIGNED_PAYLOAD, STREAMING_UNSIGNED_TRAILER, STREAMING_SIGNED, STREAMING_SIGNED_TRAILER}
)

# Any one of the marks makes a request a presigned one, and then all the parameters must be there.
_QUERY_MARKS = frozenset({b"x-amz-algorithm", b"x-amz-credential", b"x-amz-signature"})
_QUERY_PARAMETERS = _QUERY_MARKS | {b"x-amz-date", b"x-amz-signedheaders", b"x-amz-expires"}
_QUERY_MARKS_V2 = frozenset({b"AWSAccessKeyId", b"Signature"})
_TIMESTAMP = re.compile(r"\d{8}T\d{6}Z", re.ASCII)
_DATE = re.compile(r"\d{8}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_GRAPHIC = re.compile(r"[!-~]*")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")


@dataclass(frozen=True, slots=True)
class CredentialScope:
    """Where and when a signing key is valid; `date` is yyyyMMdd."""

    date: str
    region: str
    service: str

    def __str__(self) -> str:
        return f"{self.date}/{self.region}/{self.service}/{TERMINATOR}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorization:
    """What a request claims. `payload`: the x-amz-content-sha256 value; `expires`: seconds, None unless `presigned`."""

    access_key_id: str
    scope: CredentialScope
    signed_headers: tuple[str, ...]
    signature: str = field(repr=False)
    timestamp: datetime
    payload: str
    presigned: bool
    expires: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """The proof that a request was signed, and the key that goes on signing its chunks."""

    access_key_id: str
    key: bytes = field(repr=False)
    scope: str
    timestamp: str  # as in the string to sign
    seed_signature: str = field(repr=False)

    def sign(self, string_to_sign: str) -> str:
        return sign(self.key, string_to_sign)


def parse_authorization(
    _method: str, _raw_path: bytes, raw_query: bytes, headers: Headers, *, absent_payload: str | None = None
) -> Authorization | None:
    """The credentials that a request presents, or None when it presents none. Takes the same four parts as `verify`.

    `absent_payload`: the hash, or the word for one, that stands in for an x-amz-content-sha256 which a header-signed
    request lacks; None: it must be there. Raises SignatureProblem: two places with credentials, another mechanism than
    Signature Version 4, anything malformed.
    """
    parameters = query_pairs(raw_query)
    in_query = any(name.lower() in _QUERY_MARKS for name, _ in parameters)
    in_query_v2 = any(name in _QUERY_MARKS_V2 for name, _ in parameters)
    header = headers.get("authorization") or ""
    if header and (in_query or in_query_v2):
        raise TwoMechanisms
    if header:
        return _from_header(header, headers, absent_payload)
    if in_query:
        return _from_query(parameters, headers)
    if in_query_v2:
        raise AnotherMechanism(of_aws=True)
    return None


def verify(
    authorization: Authorization,
    secret: str,
    method: str,
    raw_path: bytes,
    raw_query: bytes,
    headers: Headers,
    *,
    now: datetime,
    region: str,
    service: str = "s3",
    max_skew: timedelta = MAX_SKEW,
) -> SigningKey:
    """Prove that whoever knows `secret` signed this request for this place and time.

    `raw_path` and `raw_query`: as on the wire. Raises SignatureProblem (AWS's order: scope, signed headers, signature,
    time).
    """
    timestamp = timestamp_text(authorization.timestamp)
    _check_scope(authorization, timestamp[:8], region, service)
    _check_signed_headers(authorization, headers)
    canonical = canonical_request(
        method,
        raw_path,
        raw_query,
        headers,
        signed_headers=authorization.signed_headers,
        payload=authorization.payload,
    )
    scope = str(authorization.scope)
    string_to_sign = f"{ALGORITHM}\n{timestamp}\n{scope}\n{hashlib.sha256(canonical).hexdigest()}"
    key = derive_key(secret, authorization.scope)
    if not signatures_equal(sign(key, string_to_sign), authorization.signature):
        raise SignatureMismatch(
            access_key_id=authorization.access_key_id,
            signature=authorization.signature,
            string_to_sign=string_to_sign,
            canonical=canonical,
        )
    _check_time(authorization, now, max_skew)
    return SigningKey(
        access_key_id=authorization.access_key_id,
        key=key,
        scope=scope,
        timestamp=timestamp,
        seed_signature=authorization.signature,
    )


def derive_key(secret: str, scope: CredentialScope) -> bytes:
    """The signing key of a secret: a chain of HMAC-SHA256 over the parts of the scope."""
    return _derive_key(secret, scope.date, scope.region, scope.service)


# Four HMACs of the request's budget. The secrets in the cache are ones that this process holds for its users anyway.
@lru_cache(maxsize=128)
def _derive_key(secret: str, date: str, region: str, service: str) -> bytes:
    key = b"AWS4" + secret.encode()
    for part in (date, region, service, TERMINATOR):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def sign(key: bytes, string_to_sign: str) -> str:
    """The signature of a string: hex of its HMAC-SHA256."""
    return hmac.digest(key, string_to_sign.encode(), "sha256").hex()


def signatures_equal(calculated: str, provided: str) -> bool:
    """Compare in constant time; `provided` may hold anything."""
    return hmac.compare_digest(calculated.encode(), provided.encode())


@lru_cache(maxsize=256)  # as those below: pure, and clients send the same again and again
def parse_credential(text: str) -> tuple[str, CredentialScope]:
    """AKID/yyyyMMdd/region/service/aws4_request, as (access key id, scope).

    Raises ValueError with AWS's reason, to which header, query and form each add their own words.
    """
    parts = text.split("/")
    if len(parts) != 5 or not _GRAPHIC.fullmatch(text):
        raise ValueError('the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".')
    access_key_id, date, region, service, terminator = parts
    if not access_key_id:
        raise ValueError("a non-empty Access Key (AKID) must be provided in the credential.")
    if not _DATE.fullmatch(date):
        raise ValueError(
            f'incorrect date format "{date}". This date in the credential must be in the format "yyyyMMdd".'
        )
    if terminator != TERMINATOR:
        raise ValueError(f'incorrect terminal "{terminator}". This endpoint uses "{TERMINATOR}".')
    return access_key_id, CredentialScope(date, region, service)


@lru_cache(maxsize=256)
def parse_timestamp(text: str) -> datetime | None:
    """ISO 8601 basic format with seconds (yyyyMMdd'T'HHmmss'Z'), or None."""
    if not _TIMESTAMP.fullmatch(text):
        return None
    try:
        return datetime(
            int(text[:4]),
            int(text[4:6]),
            int(text[6:8]),
            int(text[9:11]),
            int(text[11:13]),
            int(text[13:15]),
            tzinfo=UTC,
        )
    except ValueError:
        return None


def timestamp_text(moment: datetime) -> str:
    """A moment as signatures write it: 20130524T000000Z."""
    return f"{moment.year:04}{moment.month:02}{moment.day:02}T{moment.hour:02}{moment.minute:02}{moment.second:02}Z"


# --- Reading the two places


def _from_header(header: str, headers: Headers, absent_payload: str | None) -> Authorization:
    scheme, _, rest = header.partition(" ")
    if scheme != ALGORITHM:
        raise AnotherMechanism(of_aws=scheme == "AWS" or scheme.startswith("AWS4"))
    components: dict[str, str] = {}
    for component in rest.split(","):
        name, separator, value = component.strip(" \t").partition("=")
        if not separator or name in components:
            raise Malformed("the authorization header has a component that is malformed.")
        components[name] = value
    if components.keys() != {"Credential", "SignedHeaders", "Signature"}:
        raise Malformed("the authorization header requires three components: Credential, SignedHeaders, and Signature.")
    try:
        access_key_id, scope = parse_credential(components["Credential"])
        signed_headers = _parse_signed_headers(components["SignedHeaders"])
    except ValueError as error:
        raise Malformed(str(error)) from None
    payload = headers.get("x-amz-content-sha256")
    if payload is None:
        if absent_payload is None:
            raise PayloadHashMissing
        payload = absent_payload
    return Authorization(
        access_key_id=access_key_id,
        scope=scope,
        signed_headers=signed_headers,
        signature=components["Signature"],
        timestamp=_header_timestamp(headers),
        payload=_parse_payload(payload),
        presigned=False,
        expires=None,
    )


def _from_query(parameters: list[tuple[bytes, bytes]], headers: Headers) -> Authorization:
    given: dict[bytes, str] = {}
    for name, value in parameters:
        key = name.lower()
        if key in _QUERY_PARAMETERS:
            if key in given:
                raise BadQueryParameters(f"{name.decode('latin-1')} must be specified once.")
            given[key] = value.decode("latin-1")
    if given.keys() != _QUERY_PARAMETERS:
        raise BadQueryParameters
    if given[b"x-amz-algorithm"] != ALGORITHM:
        raise BadQueryParameters(f'X-Amz-Algorithm only supports "{ALGORITHM}"')
    try:
        access_key_id, scope = parse_credential(given[b"x-amz-credential"])
        signed_headers = _parse_signed_headers(given[b"x-amz-signedheaders"])
    except ValueError as error:
        raise Malformed(str(error), presigned=True) from None
    timestamp = parse_timestamp(given[b"x-amz-date"])
    if timestamp is None:
        raise BadQueryParameters("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
    return Authorization(
        access_key_id=access_key_id,
        scope=scope,
        signed_headers=signed_headers,
        signature=given[b"x-amz-signature"],
        timestamp=timestamp,
        payload=_presigned_payload(parameters, signed_headers, headers),
        presigned=True,
        expires=_parse_expires(given[b"x-amz-expires"]),
    )


def _presigned_payload(parameters: list[tuple[bytes, bytes]], signed_headers: tuple[str, ...], headers: Headers) -> str:
    # AWS ignores an unsigned x-amz-content-sha256 header on a presigned request; so does _check_signed_headers.
    values = [value.decode("latin-1") for name, value in parameters if name.lower() == b"x-amz-content-sha256"]
    header = headers.get("x-amz-content-sha256") if "x-amz-content-sha256" in signed_headers else None
    if header is not None:
        values.append(header)
    return _parse_payload(",".join(dict.fromkeys(values))) if values else UNSIGNED_PAYLOAD


@lru_cache(maxsize=256)
def _parse_signed_headers(text: str) -> tuple[str, ...]:
    names = tuple(text.split(";"))
    if not all(_HEADER_NAME.fullmatch(name) for name in names) or list(names) != sorted(set(names)):
        raise ValueError("SignedHeaders must be a sorted list of distinct header names in lower case.")
    return names


def _parse_payload(value: str) -> str:
    if value in PAYLOAD_SENTINELS or _SHA256.fullmatch(value):
        return value
    raise PayloadHashInvalid(value)


def _parse_expires(text: str) -> int:
    if not re.fullmatch(r"-?\d{1,18}", text, re.ASCII):
        raise BadQueryParameters("X-Amz-Expires should be a number")
    seconds = int(text)
    if seconds < 1:
        raise BadQueryParameters("X-Amz-Expires must be non-negative")
    if seconds > MAX_EXPIRES:
        raise BadQueryParameters(
            "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than"
            f" {MAX_EXPIRES} seconds",
        )
    return seconds


def _header_timestamp(headers: Headers) -> datetime:
    text = headers.get("x-amz-date")
    timestamp = parse_timestamp(text) if text is not None else _parse_http_date(headers.get("date") or "")
    if timestamp is None:
        raise DateMissing
    return timestamp


def _parse_http_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
        return moment.astimezone(UTC) if moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        return parse_timestamp(text)


# --- Judging them


def _check_scope(authorization: Authorization, date: str, region: str, service: str) -> None:
    scope, presigned = authorization.scope, authorization.presigned
    if scope.date != date:
        raise WrongDate(given=scope.date, expected=date, presigned=presigned)
    if scope.region != region:
        raise WrongRegion(given=scope.region, expected=region, presigned=presigned)
    if scope.service != service:
        raise WrongService(given=scope.service, expected=service, presigned=presigned)


def _check_signed_headers(authorization: Authorization, headers: Headers) -> None:
    """A signature without `host` holds for every endpoint; an unsigned x-amz-* header is an order that nobody gave."""
    signed = authorization.signed_headers
    unsigned = {name for name, _ in headers if name.startswith("x-amz-") and name not in signed}
    if authorization.presigned:
        unsigned.discard("x-amz-content-sha256")
    if "host" not in signed:
        unsigned.add("host")
    if unsigned:
        raise HeadersNotSigned(tuple(sorted(unsigned)))


def _check_time(authorization: Authorization, now: datetime, max_skew: timedelta) -> None:
    signed_at, expires = authorization.timestamp, authorization.expires
    if expires is None:
        if abs(now - signed_at) > max_skew:
            raise Skewed(signed_at=signed_at, now=now, max_skew=max_skew)
        return
    expires_at = min(signed_at, _LAST_SIGNABLE) + timedelta(seconds=expires)
    if signed_at - now > max_skew or now > expires_at:
        raise Expired(
            signed_at=signed_at, now=now, expires=expires, expires_at=expires_at, is_early=signed_at - now > max_skew
        )
