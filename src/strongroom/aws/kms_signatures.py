"""What KMS says of a signature that it does not believe: the codes and texts of AWS's JSON services.

They repeat neither the Authorization header nor what was signed.
"""

from strongroom.aws import signature_problems as problems
from strongroom.aws.kms_errors import KmsError
from strongroom.aws.sigv4 import ALGORITHM, timestamp_text

_MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and"
    " signing method. Consult the service documentation for details."
)


def signature_error(problem: problems.SignatureProblem) -> KmsError:
    match problem:
        case problems.TwoMechanisms():
            return _incomplete("Credentials stand in the query and in the Authorization header; only one may be used.")
        case problems.AnotherMechanism():
            return _incomplete(f"Unsupported algorithm; the Authorization header must use {ALGORITHM}.")
        case problems.Malformed(reason=reason):
            return _incomplete(f"The authorization header is malformed; {reason}")
        case problems.BadQueryParameters():
            return _incomplete("The parameters of a presigned request are malformed, and no such request is served.")
        case problems.DateMissing():
            return _incomplete("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
        case problems.WrongDate(given=given, expected=expected):
            return _invalid(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
                f"'{given}' != '{expected}'."
            )
        case problems.WrongRegion(given=given):
            return _invalid(f"Credential should be scoped to a valid region, not '{given}'.")
        case problems.WrongService(expected=expected):
            return _invalid(f"Credential should be scoped to correct service: '{expected}'.")
        case problems.HeadersNotSigned(names=names):
            told = ", ".join(f"'{name}'" for name in names)
            return _invalid(f"{told} must be a 'SignedHeader' in the AWS Authorization.")
        case problems.Skewed():
            return _invalid(_skewed(problem))
        case problems.PayloadHashInvalid() | problems.SignatureMismatch():
            return _invalid(_MISMATCH)
        case _:
            return _incomplete("The request is not signed in its Authorization header.")


def _skewed(problem: problems.Skewed) -> str:
    minutes = int(problem.max_skew.total_seconds()) // 60
    signed_at, now = timestamp_text(problem.signed_at), timestamp_text(problem.now)
    if problem.signed_at < problem.now:
        bound = timestamp_text(problem.now - problem.max_skew)
        return f"Signature expired: {signed_at} is now earlier than {bound} ({now} - {minutes} min.)"
    bound = timestamp_text(problem.now + problem.max_skew)
    return f"Signature not yet current: {signed_at} is still later than {bound} ({now} + {minutes} min.)"


def _incomplete(message: str) -> KmsError:
    return KmsError("IncompleteSignatureException", message)


def _invalid(message: str) -> KmsError:
    return KmsError("InvalidSignatureException", message)
