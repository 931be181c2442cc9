"""Where the key service judges this server, the person is judged here: by default nothing may be done, and by nobody."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from strongroom.identity.policy import parse_policy
from strongroom.identity.requester import Requester
from strongroom.identity.root import Principal
from strongroom.identity.store import Person, UnknownPrincipal
from strongroom.keys.judged import JudgedKeyService
from strongroom.keys.provider import KeyServiceRefusal
from tests.kms_stub import ACCOUNT, KEY_ARN, OTHER_KEY_ARN, person
from tests.unit.keys.fake_provider import FakeProvider
from tests.unit.kms.kms_stores import in_loop

CONTEXT = {"aws:s3:arn": "arn:aws:s3:::b/k"}
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class Everybody:
    def __init__(self, **policies: list[dict[str, Any]]) -> None:
        self.policies = {f"arn:aws:iam::{ACCOUNT}:user/{name}": each for name, each in policies.items()}

    def person(self, arn: str) -> Person:
        if arn.endswith(":root"):
            return Person(ACCOUNT, ())
        if arn not in self.policies:
            raise UnknownPrincipal(arn)
        document = {"Version": "2012-10-17", "Statement": self.policies[arn]}
        policies = (parse_policy(json.dumps(document), kind="identity"),) if self.policies[arn] else ()
        return Person(f"AIDA-{arn.rpartition('/')[2]}", policies)


def statement(effect: str, *actions: str, resource: str = KEY_ARN, **condition: Any) -> dict[str, Any]:
    made = {"Effect": effect, "Action": list(actions), "Resource": resource}
    return made | ({"Condition": condition} if condition else {})


def judged(provider: FakeProvider, *statements: dict[str, Any]) -> JudgedKeyService:
    return JudgedKeyService(provider, people=Everybody(anna=list(statements)), region="eu-central-1", now=lambda: NOW)


async def everything(service: JudgedKeyService, who: Requester) -> list[str]:
    """The actions that are refused, each for its own lack."""
    provider = service._service
    made = await provider.generate_data_key(KEY_ARN, CONTEXT, who)
    blob = made.sealed.ciphertext_blob
    tries = {
        "kms:GenerateDataKey": service.generate_data_key(KEY_ARN, CONTEXT, who),
        "kms:Decrypt": service.decrypt(KEY_ARN, blob, CONTEXT, who),
        "kms:Encrypt": service.encrypt(KEY_ARN, bytes(32), CONTEXT, who),
        "kms:ReEncrypt": service.re_encrypt(
            KEY_ARN, blob, CONTEXT, to_key_id=OTHER_KEY_ARN, to_context=CONTEXT, requester=who
        ),
        "kms:DescribeKey": service.describe_key(KEY_ARN, who),
    }
    refused = []
    for action, attempt in tries.items():
        try:
            await attempt
        except KeyServiceRefusal as error:
            is_said = error.code == "AccessDeniedException" and action in error.message
            refused.append(action if is_said else str(error))
    return refused


ALL = ["kms:GenerateDataKey", "kms:Decrypt", "kms:Encrypt", "kms:ReEncrypt", "kms:DescribeKey"]


@pytest.mark.parametrize(
    ("statements", "refused"),
    [
        ([], ALL),
        ([statement("Allow", "kms:*", resource="*")], []),
        ([statement("Allow", "s3:*", resource="*")], ALL),
        ([statement("Allow", "kms:*", resource=OTHER_KEY_ARN)], ALL),
        ([statement("Allow", "kms:*")], ["kms:ReEncrypt"]),
        ([statement("Allow", "kms:Decrypt")], [each for each in ALL if each != "kms:Decrypt"]),
        ([statement("Allow", "kms:*", resource="*"), statement("Deny", "kms:Decrypt")], ["kms:Decrypt"]),
    ],
)
@in_loop
async def test_a_person_may_what_their_policies_allow(statements: list[dict[str, Any]], refused: list[str]) -> None:
    assert await everything(judged(FakeProvider(), *statements), person()) == refused


@in_loop
async def test_somebody_who_is_no_more_may_nothing_and_the_root_user_everything() -> None:
    service = judged(FakeProvider())
    assert await everything(service, person("deleted")) == ALL
    root = Principal(account_id=ACCOUNT, arn=f"arn:aws:iam::{ACCOUNT}:root")
    asks = person()
    assert (
        await everything(
            service,
            Requester(
                principal=root,
                access_key_id=asks.access_key_id,
                source_ip="",
                secure_transport=True,
                user_agent="",
                request_id="R",
            ),
        )
        == []
    )


@pytest.mark.parametrize(
    ("operator", "key", "value"),
    [
        ("Bool", "aws:ViaAWSService", "true"),
        ("Bool", "aws:SecureTransport", "true"),
        ("StringEquals", "aws:username", "anna"),
        ("StringEquals", "aws:userid", "AIDA-anna"),
        ("StringEquals", "aws:PrincipalType", "User"),
        ("DateGreaterThan", "aws:CurrentTime", "2026-01-01T00:00:00Z"),
        ("StringEquals", "aws:RequestedRegion", "eu-central-1"),
        ("StringEquals", "aws:ResourceAccount", ACCOUNT),
        ("StringEquals", "kms:ViaService", "s3.eu-central-1.amazonaws.com"),
        ("StringEquals", "kms:CallerAccount", ACCOUNT),
        ("StringEquals", "kms:EncryptionContext:aws:s3:arn", CONTEXT["aws:s3:arn"]),
        ("ForAnyValue:StringEquals", "kms:EncryptionContextKeys", "aws:s3:arn"),
        ("StringEquals", "kms:EncryptionAlgorithm", "SYMMETRIC_DEFAULT"),
    ],
)
@in_loop
async def test_a_deny_finds_what_it_asks_for(operator: str, key: str, value: str) -> None:
    """A condition key that is missing makes a Deny say nothing."""
    forbids = statement("Deny", "kms:Decrypt") | {"Condition": {operator: {key: value}}}
    service = judged(FakeProvider(), statement("Allow", "kms:*", resource="*"), forbids)
    assert await everything(service, person()) == ["kms:Decrypt"]


@in_loop
async def test_an_alias_is_judged_by_its_name_too() -> None:
    forbids = statement("Deny", "kms:*", resource="*", StringEquals={"kms:RequestAlias": "alias/mine"})
    service = judged(FakeProvider(), statement("Allow", "kms:*", resource="*"), forbids)
    with pytest.raises(KeyServiceRefusal):
        await service.generate_data_key("alias/mine", CONTEXT, person())
    assert await service.generate_data_key(KEY_ARN, CONTEXT, person())


@in_loop
async def test_nothing_is_opened_for_somebody_who_may_not() -> None:
    provider = FakeProvider()
    with pytest.raises(KeyServiceRefusal):
        await judged(provider).decrypt(KEY_ARN, b"blob", CONTEXT, person())
    assert provider.asked == []


@in_loop
async def test_nothing_is_asked_of_a_key_named_by_its_arn_for_somebody_who_may_not() -> None:
    """Else they would hear whether it is there and in which state, and the service would see what they wanted sealed."""
    provider = FakeProvider()
    assert await everything(judged(provider), person()) == ALL
    assert len(provider.asked) == 1  # what `everything` began with, past the judge


@pytest.mark.parametrize("key_id", [OTHER_KEY_ARN, "alias/mine"])
@in_loop
async def test_where_a_key_is_put_is_judged_by_the_context_that_it_gets_there(key_id: str) -> None:
    only_there = {"Condition": {"StringEquals": {"kms:EncryptionContext:team": "there"}}}
    service = judged(
        FakeProvider(),
        statement("Allow", "kms:*", resource="*"),
        statement("Deny", "kms:ReEncryptTo", resource="*") | only_there,
    )
    made = await service.generate_data_key(KEY_ARN, CONTEXT, person())
    again: dict[str, Any] = {"to_key_id": key_id, "requester": person()}
    sealed = KEY_ARN, made.sealed.ciphertext_blob, CONTEXT
    assert await service.re_encrypt(*sealed, to_context=CONTEXT, **again)
    with pytest.raises(KeyServiceRefusal, match="kms:ReEncryptTo"):
        await service.re_encrypt(*sealed, to_context={**CONTEXT, "team": "there"}, **again)
