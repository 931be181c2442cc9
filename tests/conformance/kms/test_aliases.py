"""CreateAlias, UpdateAlias, DeleteAlias, ListAliases."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.key_service import ACCOUNT, REGION, KeyServer, refused

ARN = f"arn:aws:kms:{REGION}:{ACCOUNT}:"
PREFIX = (
    'Alias must start with the prefix "alias/". Please see'
    " https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html"
)


@pytest.fixture
def alias(key: dict[str, Any]) -> str:
    return f"alias/app/{key['KeyId']}"


def test_create_alias__is_listed_with_its_key(kms: Any, key: dict[str, Any], alias: str) -> None:
    kms.create_alias(AliasName=alias, TargetKeyId=key["KeyId"])
    [listed] = kms.list_aliases(KeyId=key["Arn"])["Aliases"]
    created, updated = listed.pop("CreationDate"), listed.pop("LastUpdatedDate")
    assert created == updated
    assert abs(created - datetime.now(UTC)) < timedelta(minutes=1)
    assert listed == {"AliasName": alias, "AliasArn": ARN + alias, "TargetKeyId": key["KeyId"]}


def test_create_alias__a_name_is_taken_once(kms: Any, key: dict[str, Any], alias: str) -> None:
    kms.create_alias(AliasName=alias, TargetKeyId=key["KeyId"])
    other = kms.create_key()["KeyMetadata"]["KeyId"]
    for target in (key["KeyId"], other):
        assert refused(kms.create_alias, AliasName=alias, TargetKeyId=target) == (
            "AlreadyExistsException",
            f"An alias with the name {ARN}{alias} already exists",
        )


@pytest.mark.parametrize("operation", ["CreateAlias", "UpdateAlias", "DeleteAlias"])
def test_alias_names(key_server: KeyServer, key: dict[str, Any], operation: str) -> None:
    for name, error in (
        ("no-prefix", {"__type": "ValidationException", "message": PREFIX}),
        (
            "alias/my:alias",
            {"__type": "ValidationException", "message": "alias/my:alias contains invalid characters for an alias"},
        ),
        ("alias/aws/s3", {"__type": "NotAuthorizedException"}),
        ("alias/aws/mine", {"__type": "NotAuthorizedException"}),
    ):
        given = {"AliasName": name} | ({} if operation == "DeleteAlias" else {"TargetKeyId": key["KeyId"]})
        status, document, _ = key_server.post(operation, given)
        assert (status, document) == (400, error)


@pytest.mark.parametrize(
    ("name", "violation"),
    [
        ("", "Member must have length greater than or equal to 1"),
        ("alias/" + "x" * 251, "Member must have length less than or equal to 256"),
        ("alias/a b", "Member must satisfy regular expression pattern: ^[a-zA-Z0-9:/_-]+$"),
    ],
)
def test_create_alias__shape_of_a_name(kms: Any, key: dict[str, Any], name: str, violation: str) -> None:
    code, message = refused(kms.create_alias, AliasName=name, TargetKeyId=key["KeyId"])
    assert code == "ValidationException"
    assert f"Value '{name}' at 'aliasName' failed to satisfy constraint: {violation}" in message


def test_create_alias__256_characters(kms: Any, key: dict[str, Any], alias: str) -> None:
    longest = alias + "x" * (256 - len(alias))
    kms.create_alias(AliasName=longest, TargetKeyId=key["KeyId"])
    assert kms.describe_key(KeyId=longest)["KeyMetadata"] == key


def test_create_alias__target_is_no_alias(kms: Any, key: dict[str, Any], alias: str) -> None:
    kms.create_alias(AliasName=alias, TargetKeyId=key["KeyId"])
    for target in (alias, ARN + alias):
        assert refused(kms.create_alias, AliasName=f"{alias}-2", TargetKeyId=target) == (
            "ValidationException",
            "Aliases must refer to keys. Not aliases",
        )


def test_create_alias__50_of_a_key(kms: Any, key: dict[str, Any], alias: str) -> None:
    other = kms.create_key()["KeyMetadata"]["KeyId"]
    for number in range(50):
        kms.create_alias(AliasName=f"{alias}-{number}", TargetKeyId=key["KeyId"])
    assert refused(kms.create_alias, AliasName=alias, TargetKeyId=key["KeyId"])[0] == "LimitExceededException"
    kms.create_alias(AliasName=alias, TargetKeyId=other)
    assert refused(kms.update_alias, AliasName=alias, TargetKeyId=key["KeyId"])[0] == "LimitExceededException"
    kms.update_alias(AliasName=f"{alias}-0", TargetKeyId=key["KeyId"])  # it has that one already
    assert kms.describe_key(KeyId=alias)["KeyMetadata"]["KeyId"] == other


def test_update_alias__moves_it_and_says_when(kms: Any, key: dict[str, Any], alias: str) -> None:
    kms.create_alias(AliasName=alias, TargetKeyId=key["KeyId"])
    other = kms.create_key()["KeyMetadata"]
    kms.update_alias(AliasName=alias, TargetKeyId=other["Arn"])
    assert kms.describe_key(KeyId=alias)["KeyMetadata"] == other
    assert kms.list_aliases(KeyId=key["KeyId"])["Aliases"] == []
    [listed] = kms.list_aliases(KeyId=other["KeyId"])["Aliases"]
    assert listed["LastUpdatedDate"] > listed["CreationDate"]


def test_update_alias__away_from_a_key_that_will_be_deleted_but_never_to_one(
    kms: Any, key: dict[str, Any], alias: str
) -> None:
    kms.create_alias(AliasName=alias, TargetKeyId=key["KeyId"])
    other = kms.create_key()["KeyMetadata"]
    kms.schedule_key_deletion(KeyId=key["KeyId"])
    kms.update_alias(AliasName=alias, TargetKeyId=other["KeyId"])
    assert refused(kms.update_alias, AliasName=alias, TargetKeyId=key["KeyId"]) == (
        "KMSInvalidStateException",
        f"{key['Arn']} is pending deletion.",
    )


def test_update_alias__stays_with_the_kind_and_usage_of_its_key(kms: Any, key: dict[str, Any], alias: str) -> None:
    kms.create_alias(AliasName=alias, TargetKeyId=key["KeyId"])
    for spec, usage in (("HMAC_256", "GENERATE_VERIFY_MAC"), ("ECC_NIST_P256", "SIGN_VERIFY")):
        other = kms.create_key(KeySpec=spec, KeyUsage=usage)["KeyMetadata"]["KeyId"]
        assert refused(kms.update_alias, AliasName=alias, TargetKeyId=other)[0] == "ValidationException"
    assert kms.describe_key(KeyId=alias)["KeyMetadata"] == key


def test_update_alias__between_asymmetric_keys_of_one_usage(kms: Any) -> None:
    first, second = (
        kms.create_key(KeySpec=spec, KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
        for spec in ("ECC_NIST_P256", "ECC_NIST_EDWARDS25519")
    )
    agreement = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="KEY_AGREEMENT")["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName=f"alias/{first}", TargetKeyId=first)
    kms.update_alias(AliasName=f"alias/{first}", TargetKeyId=second)
    assert refused(kms.update_alias, AliasName=f"alias/{first}", TargetKeyId=agreement)[0] == "ValidationException"


def test_update_alias__and_delete_alias_of_none(kms: Any, key: dict[str, Any], alias: str) -> None:
    missing = ("NotFoundException", f"Alias {ARN}{alias} is not found.")
    assert refused(kms.update_alias, AliasName=alias, TargetKeyId=key["KeyId"]) == missing
    assert refused(kms.delete_alias, AliasName=alias) == missing


def test_delete_alias__leaves_its_key(kms: Any, key: dict[str, Any], alias: str) -> None:
    kms.create_alias(AliasName=alias, TargetKeyId=key["KeyId"])
    kms.schedule_key_deletion(KeyId=key["KeyId"])  # in every state
    kms.delete_alias(AliasName=alias)
    assert refused(kms.describe_key, KeyId=alias) == ("NotFoundException", f"Alias {ARN}{alias} is not found.")
    assert kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]["KeyState"] == "PendingDeletion"


def test_list_aliases__of_an_unknown_key(kms: Any) -> None:
    assert refused(kms.list_aliases, KeyId="x") == ("NotFoundException", "Invalid keyId 'x'")
    assert refused(kms.list_aliases, KeyId="alias/x") == ("NotFoundException", "Invalid keyId alias/x")


def test_describe_key__of_aws_s3_makes_the_managed_key(kms: Any) -> None:
    made = kms.describe_key(KeyId="alias/aws/s3")["KeyMetadata"]
    assert (made["KeyManager"], made["KeyState"], made["Origin"]) == ("AWS", "Enabled", "AWS_KMS")
    assert made["Description"] == "Default key that protects my S3 objects when no other key is defined"
    assert kms.describe_key(KeyId=f"{ARN}alias/aws/s3")["KeyMetadata"] == made
    assert kms.get_key_rotation_status(KeyId=made["KeyId"])["RotationPeriodInDays"] == 365
    for change in (kms.disable_key, kms.schedule_key_deletion, kms.disable_key_rotation, kms.rotate_key_on_demand):
        assert refused(change, KeyId=made["KeyId"])[0] == "AccessDeniedException"
    assert refused(kms.encrypt, KeyId="alias/aws/s3", Plaintext=b"x")[0] == "AccessDeniedException"
    assert refused(kms.create_alias, AliasName="alias/mine", TargetKeyId=made["KeyId"])[0] == "AccessDeniedException"
    assert refused(kms.put_key_policy, KeyId=made["KeyId"], Policy="{}")[0] == "AccessDeniedException"


def test_describe_key__of_another_managed_alias_is_not_found(kms: Any) -> None:
    assert refused(kms.describe_key, KeyId="alias/aws/ebs") == (
        "NotFoundException",
        f"Alias {ARN}alias/aws/ebs is not found.",
    )
