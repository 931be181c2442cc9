"""What S3 says of a signature that it does not believe: each problem's code, text and details, as AWS answers them.

Error documents repeat what helps a client to find its mistake, and nothing that holds a secret.
"""

import re
from datetime import UTC, datetime
from typing import Any

from strongroom.aws import signature_problems as problems
from strongroom.aws import sigv4
from strongroom.aws.errors import S3Error

# What SDKs sign the S3 operations for that AWS answers at endpoints of their own: ListDirectoryBuckets, CreateSession,
# WriteGetObjectResponse.
_OTHER_ENDPOINTS = frozenset({"s3express", "s3-object-lambda"})
_GRAPHIC = re.compile(r"[!-~]*")  # what may be repeated in an error document
# Values that must not travel on in an error document, named by a part of the header or parameter that carries them.
_SECRET_NAMES = ("-customer-key", "x-amz-security-token", "-aws-kms-key-id", "-encryption-context")


def signature_error(problem: problems.SignatureProblem) -> S3Error:
    match problem:
        case problems.TwoMechanisms():
            return S3Error(
                "InvalidArgument",
                "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string"
                " parameter or the Authorization header should be specified",
                ArgumentName="Authorization",
            )
        case problems.AnotherMechanism(of_aws=True):
            return S3Error(
                "InvalidRequest",
                f"The authorization mechanism you have provided is not supported. Please use {sigv4.ALGORITHM}.",
            )
        case problems.AnotherMechanism():
            # No ArgumentValue, although AWS sends one: it would repeat a password or a token.
            return S3Error("InvalidArgument", "Unsupported Authorization Type", ArgumentName="Authorization")
        case problems.Malformed(reason=reason, presigned=presigned):
            return _malformed(reason, presigned=presigned)
        case problems.BadQueryParameters(reason=reason):
            return S3Error("AuthorizationQueryParametersError", reason)
        case problems.PayloadHashMissing():
            return S3Error("InvalidRequest", "Missing required header for this request: x-amz-content-sha256")
        case problems.PayloadHashInvalid(value=value):
            return S3Error(
                "InvalidArgument",
                f"x-amz-content-sha256 must be {sigv4.UNSIGNED_PAYLOAD}, {sigv4.STREAMING_UNSIGNED_TRAILER}, "
                f"{sigv4.STREAMING_SIGNED}, {sigv4.STREAMING_SIGNED_TRAILER} or a valid sha256 value.",
                ArgumentName="x-amz-content-sha256",
                ArgumentValue=value if _GRAPHIC.fullmatch(value) else "",
            )
        case problems.DateMissing():
            return S3Error("AccessDenied", "AWS authentication requires a valid Date or x-amz-date header")
        case problems.WrongScope():
            return _wrong_scope(problem)
        case problems.HeadersNotSigned(names=names):
            return S3Error(
                "AccessDenied",
                "There were headers present in the request which were not signed",
                HeadersNotSigned=", ".join(names),
            )
        case problems.SignatureMismatch():
            return _mismatch(problem)
        case problems.Skewed():
            return S3Error(
                "RequestTimeTooSkewed",
                RequestTime=sigv4.timestamp_text(problem.signed_at),
                ServerTime=_iso_time(problem.now),
                MaxAllowedSkewMilliseconds=str(int(problem.max_skew.total_seconds()) * 1000),
            )
        case problems.Expired():
            return _expired(problem)
        case _:
            raise TypeError(type(problem).__name__)


def _malformed(reason: str, *, presigned: bool, **detail: Any) -> S3Error:
    if presigned:
        text = f"Error parsing the X-Amz-Credential parameter; {reason}"
        return S3Error("AuthorizationQueryParametersError", text, **detail)
    return S3Error("AuthorizationHeaderMalformed", f"The authorization header is malformed; {reason}", **detail)


def _wrong_scope(problem: problems.WrongScope) -> S3Error:
    given, expected, presigned = problem.given, problem.expected, problem.presigned
    match problem:
        case problems.WrongDate():
            reason = f'Invalid credential date "{given}". This date is not the same as X-Amz-Date: "{expected}".'
            return (
                S3Error("AuthorizationQueryParametersError", reason)
                if presigned
                else _malformed(reason, presigned=False)
            )
        case problems.WrongRegion():
            reason = f"the region '{given}' is wrong; expecting '{expected}'"
            return _malformed(reason, presigned=presigned, Region=expected)
        case _ if given in _OTHER_ENDPOINTS:
            return S3Error("NotImplemented", f"This endpoint has nothing of the service {given}.")
        case _:
            reason = f'incorrect service "{given}". This endpoint belongs to "{expected}".'
            return _malformed(reason, presigned=presigned)


def _mismatch(problem: problems.SignatureMismatch) -> S3Error:
    detail: dict[str, Any] = {
        "AWSAccessKeyId": problem.access_key_id,
        "StringToSign": problem.string_to_sign,
        "SignatureProvided": problem.signature if _GRAPHIC.fullmatch(problem.signature) else "",
        "StringToSignBytes": problem.string_to_sign.encode().hex(" "),
    }
    text = problem.canonical.decode("latin-1")
    if not any(name in text.lower() for name in _SECRET_NAMES):
        detail |= {"CanonicalRequest": text, "CanonicalRequestBytes": problem.canonical.hex(" ")}
    return S3Error("SignatureDoesNotMatch", **detail)


def _expired(problem: problems.Expired) -> S3Error:
    moments: dict[str, Any] = {"Expires": _iso_time(problem.expires_at), "ServerTime": _iso_time(problem.now)}
    if problem.is_early:
        moments = {"X-Amz-Date": str(int(problem.signed_at.timestamp()) * 1000), **moments}
        return S3Error("AccessDenied", "Request is not yet valid", **moments)
    moments = {"X-Amz-Expires": str(problem.expires), **moments}
    return S3Error("AccessDenied", "Request has expired", **moments)


def _iso_time(moment: datetime) -> str:
    """A moment as error documents write it: 2013-05-24T00:00:00Z."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
