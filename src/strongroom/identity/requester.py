"""On whose behalf a key is asked for: what S3 knows of the person behind a request, and a key service judges and records.

It goes with a request from its authentication to the key service, so that keys are opened for people and never for a
server. It holds no secret.
"""

from dataclasses import dataclass

from strongroom.identity.root import Principal


@dataclass(frozen=True, slots=True, kw_only=True)
class Requester:
    """`source_ip`: of the client as text. `request_id`: of the request that the key is for (S3's)."""

    principal: Principal
    access_key_id: str
    source_ip: str
    secure_transport: bool
    user_agent: str
    request_id: str


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
