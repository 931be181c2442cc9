"""On whose behalf a key is asked for: what S3 knows of the person behind a request, and a key service judges and records.

It goes with a request from its authentication to the key service, so that keys are opened for people and never for a
server. It holds no secret. Between the two services it travels in one signed header, whose writer and reader are both
here: base64url of a JSON object with seven members. Who may send that header is not known here.
"""

import base64
import binascii
from dataclasses import dataclass
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from strongroom.identity.root import Principal

REQUESTER_HEADER = "x-strongroom-requester"
LONGEST_HEADER = 8192  # characters of its value
_LONGEST_USER_AGENT = 512  # the rest of a longer one is not sent: it is for the record only


@dataclass(frozen=True, slots=True, kw_only=True)
class Requester:
    """`source_ip`: of the client as text. `request_id`: of the request that the key is for (S3's)."""

    principal: Principal
    access_key_id: str
    source_ip: str
    secure_transport: bool
    user_agent: str
    request_id: str

    @property
    def standing(self) -> tuple[str, str, str, str, bool]:
        """All of a requester that a key policy may judge. Only who is equal in it may share a judgement; it leaves out
        what tells one request of a client from the next.
        """
        principal = self.principal
        return principal.account_id, principal.arn, self.access_key_id, self.source_ip, self.secure_transport


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls the key service. `requester`: the person, for whom a service may ask; its `request_id` is that of the
    request which the key is for, "" where a client asks for itself. `request_id`: of this call (x-amzn-RequestId).
    `via_service`: the service that asks for the person, as `kms:ViaService` names it (`s3.us-east-1.amazonaws.com`).
    `is_service`: the service asks for itself.
    """

    requester: Requester
    request_id: str
    via_service: str | None = None
    is_service: bool = False

    @property
    def account_id(self) -> str:
        return self.requester.principal.account_id

    @property
    def arn(self) -> str:
        return self.requester.principal.arn


# --- the header


class _Wire(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    arn: Annotated[str, Meta(max_length=2048)]
    account: Annotated[str, Meta(pattern=r"\A[0-9]{12}\Z")]
    access_key_id: Annotated[str, Meta(min_length=1, max_length=128)]
    source_ip: Annotated[str, Meta(max_length=64)]
    secure_transport: bool
    user_agent: Annotated[str, Meta(max_length=_LONGEST_USER_AGENT)]
    request_id: Annotated[str, Meta(min_length=1, max_length=128)]


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Wire).decode


def encode_requester(requester: Requester) -> str:
    """The value of the header, of at most `LONGEST_HEADER` characters as long as the identity is one of ours."""
    wire = _Wire(
        arn=requester.principal.arn,
        account=requester.principal.account_id,
        access_key_id=requester.access_key_id,
        source_ip=requester.source_ip,
        secure_transport=requester.secure_transport,
        user_agent=requester.user_agent[:_LONGEST_USER_AGENT],
        request_id=requester.request_id,
    )
    return base64.urlsafe_b64encode(_encode(wire)).decode("ascii")


def parse_requester(value: str) -> Requester:
    """Who the header names. Raises ValueError, whose text repeats nothing of the value, for anything that
    `encode_requester` does not write.
    """
    if len(value) > LONGEST_HEADER:
        raise ValueError("the requester header is too long")
    try:
        wire = _decode(base64.b64decode(value.encode("ascii"), altchars=b"-_", validate=True))
    except (UnicodeError, binascii.Error, msgspec.MsgspecError):
        raise ValueError("the requester header is malformed") from None
    # Policies are found by the ARN and judged with the account: the two must not speak of different ones.
    parts = wire.arn.split(":", 5)
    if len(parts) != 6 or parts[0] != "arn" or parts[4] != wire.account or not parts[5]:
        raise ValueError("the requester header names no principal of its account")
    return Requester(
        principal=Principal(account_id=wire.account, arn=wire.arn),
        access_key_id=wire.access_key_id,
        source_ip=wire.source_ip,
        secure_transport=wire.secure_transport,
        user_agent=wire.user_agent,
        request_id=wire.request_id,
    )
