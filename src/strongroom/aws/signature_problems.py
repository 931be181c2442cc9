"""What can be wrong with a signature, as neutral facts: each service has codes and texts of its own for them.

None of these says anything to a client by itself, and some hold what must never reach one (the canonical request with
its headers); the translations decide.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta


class SignatureProblem(Exception):
    """Any of the problems below. `presigned`: the credentials stand in the query."""


class TwoMechanisms(SignatureProblem):
    """Credentials in the header and in the query."""


@dataclass(eq=False)
class AnotherMechanism(SignatureProblem):
    """Not AWS4-HMAC-SHA256. `of_aws`: another one of AWS's, such as Signature Version 2."""

    of_aws: bool


@dataclass(eq=False)
class Malformed(SignatureProblem):
    """The header, or the credential or the list of signed headers in the query, can't be read; `reason` repeats nothing."""

    reason: str
    presigned: bool = False


@dataclass(eq=False)
class BadQueryParameters(SignatureProblem):
    """The parameters of a presigned query are not what they must be; `reason` None: one is missing."""

    reason: str | None = None


class PayloadHashMissing(SignatureProblem):
    """No x-amz-content-sha256."""


@dataclass(eq=False)
class PayloadHashInvalid(SignatureProblem):
    """x-amz-content-sha256 is neither a hash nor one of the words that may stand for one."""

    value: str


class DateMissing(SignatureProblem):
    """No x-amz-date or Date that is one."""


@dataclass(eq=False, kw_only=True)
class WrongScope(SignatureProblem):
    """The credential is for another day, region or service."""

    given: str
    expected: str
    presigned: bool


class WrongDate(WrongScope):
    """`expected`: the day of the signature."""


class WrongRegion(WrongScope):
    pass


class WrongService(WrongScope):
    pass


@dataclass(eq=False)
class HeadersNotSigned(SignatureProblem):
    """`names`: sorted; of headers that count for something and are not covered."""

    names: tuple[str, ...]


@dataclass(eq=False, kw_only=True)
class SignatureMismatch(SignatureProblem):
    """Somebody who does not know the secret, or another request than the one that was signed."""

    access_key_id: str
    signature: str = field(repr=False)
    string_to_sign: str = field(repr=False)
    canonical: bytes = field(repr=False)  # with the values of headers, secret ones among them


@dataclass(eq=False, kw_only=True)
class Skewed(SignatureProblem):
    """Signed too long ago, or ahead of our clock."""

    signed_at: datetime
    now: datetime
    max_skew: timedelta


@dataclass(eq=False, kw_only=True)
class Expired(SignatureProblem):
    """A presigned request after its time or, `is_early`, before it. `expires`: seconds."""

    signed_at: datetime
    now: datetime
    expires: int
    expires_at: datetime
    is_early: bool
