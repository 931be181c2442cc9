"""A key service that judges this server and not the person: so the person is judged here, by their own identity policies.

Amazon's KMS sees one credential, whoever asked S3. A person may use a key through it only where an identity policy of
theirs allows the KMS action on that key; the default is to deny. A key named by its ARN is judged before the service is
asked: else everybody would hear whether it is there, and in which state. Which one an id or an alias names is known when
the service has answered, so what it made is looked at then, and dropped where it may not be had.

Condition keys are AWS's for a service that asks for a person, as far as this server knows them. What only the key service
knows of a key (its tags, spec, origin, aliases) is absent here: conditions on those belong into the key's own policy.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from strongroom.identity.conditions import global_conditions, named_conditions
from strongroom.identity.policy import Request, account_root, evaluate_identity
from strongroom.identity.requester import Requester
from strongroom.identity.store import Person, UnknownPrincipal
from strongroom.keys.kms_messages import KEY_ARN
from strongroom.keys.provider import (
    DataKey,
    EncryptionContext,
    KeyDescription,
    KeyProvider,
    KeyServiceRefusal,
    SealedKey,
)


class People(Protocol):
    def person(self, arn: str) -> Person:
        """Raises UnknownPrincipal."""
        ...


class JudgedKeyService:
    """`region`: of S3, for `kms:ViaService`."""

    def __init__(
        self,
        service: KeyProvider,
        *,
        people: People,
        region: str,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._service = service
        self._people = people
        self._region = region
        self._now = now

    async def generate_data_key(self, key_id: str, context: EncryptionContext, requester: Requester) -> DataKey:
        self._judge_named("kms:GenerateDataKey", key_id, context, requester)
        made = await self._service.generate_data_key(key_id, context, requester)
        self._judge("kms:GenerateDataKey", made.sealed.key_arn, context, requester, asked=key_id)
        return made

    async def decrypt(
        self, key_arn: str, ciphertext_blob: bytes, context: EncryptionContext, requester: Requester
    ) -> DataKey:
        self._judge("kms:Decrypt", key_arn, context, requester)
        return await self._service.decrypt(key_arn, ciphertext_blob, context, requester)

    async def encrypt(
        self, key_id: str, plaintext: bytes, context: EncryptionContext, requester: Requester
    ) -> SealedKey:
        self._judge_named("kms:Encrypt", key_id, context, requester)
        sealed = await self._service.encrypt(key_id, plaintext, context, requester)
        self._judge("kms:Encrypt", sealed.key_arn, context, requester, asked=key_id)
        return sealed

    async def re_encrypt(
        self,
        key_arn: str,
        ciphertext_blob: bytes,
        context: EncryptionContext,
        *,
        to_key_id: str,
        to_context: EncryptionContext,
        requester: Requester,
    ) -> SealedKey:
        self._judge("kms:ReEncryptFrom", key_arn, context, requester)
        self._judge_named("kms:ReEncryptTo", to_key_id, to_context, requester)
        sealed = await self._service.re_encrypt(
            key_arn, ciphertext_blob, context, to_key_id=to_key_id, to_context=to_context, requester=requester
        )
        self._judge("kms:ReEncryptTo", sealed.key_arn, to_context, requester, asked=to_key_id)
        return sealed

    async def describe_key(self, key_id: str, requester: Requester) -> KeyDescription:
        self._judge_named("kms:DescribeKey", key_id, {}, requester)
        described = await self._service.describe_key(key_id, requester)
        self._judge("kms:DescribeKey", described.key_arn, {}, requester, asked=key_id)
        return described

    def _judge_named(self, action: str, key_id: str, context: EncryptionContext, requester: Requester) -> None:
        """What can be judged before an answer. Raises as `_judge`."""
        if KEY_ARN.fullmatch(key_id):
            self._judge(action, key_id, context, requester)

    def _judge(
        self, action: str, key_arn: str, context: EncryptionContext, requester: Requester, *, asked: str = ""
    ) -> None:
        """`asked`: the key as the request named it. Raises KeyServiceRefusal AccessDeniedException."""
        principal = requester.principal
        request = Request(principal=principal, action=action, resource=key_arn, context={})
        try:
            person = self._people.person(principal.arn)
        except UnknownPrincipal:
            raise _refusal(request, "because there is no such user") from None
        conditions = self._conditions(action, key_arn, context, requester, user_id=person.user_id, asked=asked)
        decision = evaluate_identity(person.policies, replace(request, context=conditions))
        if decision.denied_by is not None:
            raise _refusal(request, "with an explicit deny in an identity-based policy")
        if decision.allowed_by is None and principal.arn != account_root(principal.account_id):
            raise _refusal(request, f"because no identity-based policy allows the {action} action")

    def _conditions(
        self, action: str, key_arn: str, context: EncryptionContext, requester: Requester, *, user_id: str, asked: str
    ) -> Mapping[str, tuple[str, ...]]:
        found = dict(
            global_conditions(
                requester,
                user_id=user_id,
                now=self._now(),
                region=self._region,
                resource_account=key_arn.split(":")[4],
                via_service=True,
            )
        )
        found.update(named_conditions("kms:encryptioncontext:", context.items()))
        if ":alias/" in asked or asked.startswith("alias/"):
            found["kms:requestalias"] = (asked[asked.index("alias/") :],)
        if action != "kms:DescribeKey":
            found["kms:encryptionalgorithm"] = ("SYMMETRIC_DEFAULT",)
        return {
            **found,
            "kms:viaservice": (f"s3.{self._region}.amazonaws.com",),
            "kms:calleraccount": (requester.principal.account_id,),
            "kms:encryptioncontextkeys": tuple(context),
        }


def _refusal(request: Request, why: str) -> KeyServiceRefusal:
    return KeyServiceRefusal(
        "AccessDeniedException",
        f"User: {request.principal.arn} is not authorized to perform: {request.action} on resource:"
        f" {request.resource} {why}",
    )


if TYPE_CHECKING:

    def _is_a_key_provider(service: JudgedKeyService) -> KeyProvider:
        return service
