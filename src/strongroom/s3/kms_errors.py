"""What a key service could not or would not do, as S3 says it.

Codes and messages are KMS's own behind the literal prefix `KMS.` (facts: Amazon S3, PutObject and GetObject with keys
that are missing, disabled or about to be deleted). A refusal of the person is 403 with KMS's text, so that the client
learns which permission is missing. An outage is 503 for what needs the key, and nothing else: it never turns into
another kind of encryption.
"""

from strongroom.aws.errors import ERRORS, S3Error
from strongroom.aws.kms_errors import FAULTS, IN_FRONT
from strongroom.keys.provider import KeyServiceMisbehaved, KeyServiceRefusal, KeyServiceUnavailable

KeyServiceError = KeyServiceRefusal | KeyServiceUnavailable | KeyServiceMisbehaved
KEY_SERVICE_ERRORS = (KeyServiceRefusal, KeyServiceUnavailable, KeyServiceMisbehaved)

_TOO_FAST = frozenset({"LimitExceededException", "RequestLimitExceeded", "Throttling", "ThrottlingException"})
_SLOW_DOWN = "Please reduce your request rate for operations involving AWS KMS."


def s3_error(error: KeyServiceError) -> S3Error:
    """To be raised from `error`, whose text is for the log."""
    match error:
        case KeyServiceUnavailable():
            return S3Error("ServiceUnavailable", headers={"Retry-After": str(error.retry_after)})
        case KeyServiceMisbehaved():
            return S3Error("InternalError")
    code, message = error.code, error.message or None
    if code == "AccessDeniedException":
        return S3Error("AccessDenied", message)
    if code in _TOO_FAST:
        return S3Error("SlowDown", _SLOW_DOWN)
    if code in FAULTS:
        return S3Error("ServiceUnavailable", headers={"Retry-After": "1"})
    if code in IN_FRONT or f"KMS.{code}" not in ERRORS:
        return S3Error("InternalError")  # it is this server whom the key service does not know, or cannot follow
    return S3Error(f"KMS.{code}", message)
