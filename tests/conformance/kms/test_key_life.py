"""CreateKey, DescribeKey, ListKeys, EnableKey, DisableKey, UpdateKeyDescription, ScheduleKeyDeletion, CancelKeyDeletion."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.key_service import ACCOUNT, KeyServer, refused

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
ALWAYS = {
    *("AWSAccountId", "Arn", "CreationDate", "CustomerMasterKeySpec", "Description", "Enabled", "KeyId", "KeyManager"),
    *("KeySpec", "KeyState", "KeyUsage", "MultiRegion", "Origin"),
}


def test_create_key__without_members_makes_an_enabled_symmetric_key(kms: Any) -> None:
    made = kms.create_key()["KeyMetadata"]
    assert made.keys() == ALWAYS | {"CurrentKeyMaterialId", "EncryptionAlgorithms"}
    assert UUID.fullmatch(made["KeyId"])
    assert abs(made["CreationDate"] - datetime.now(UTC)) < timedelta(minutes=1)
    assert re.fullmatch("[0-9a-f]{64}", made["CurrentKeyMaterialId"])
    assert {name: made[name] for name in made.keys() - {"KeyId", "CreationDate", "CurrentKeyMaterialId"}} == {
        "AWSAccountId": ACCOUNT,
        "Arn": f"arn:aws:kms:us-east-1:{ACCOUNT}:key/{made['KeyId']}",
        "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT",
        "Description": "",
        "Enabled": True,
        "EncryptionAlgorithms": ["SYMMETRIC_DEFAULT"],
        "KeyManager": "CUSTOMER",
        "KeySpec": "SYMMETRIC_DEFAULT",
        "KeyState": "Enabled",
        "KeyUsage": "ENCRYPT_DECRYPT",
        "MultiRegion": False,
        "Origin": "AWS_KMS",
    }
    assert kms.describe_key(KeyId=made["KeyId"])["KeyMetadata"] == made


@pytest.mark.parametrize(
    ("spec", "usage", "member", "algorithms"),
    [
        ("HMAC_224", "GENERATE_VERIFY_MAC", "MacAlgorithms", ["HMAC_SHA_224"]),
        ("HMAC_256", "GENERATE_VERIFY_MAC", "MacAlgorithms", ["HMAC_SHA_256"]),
        ("HMAC_384", "GENERATE_VERIFY_MAC", "MacAlgorithms", ["HMAC_SHA_384"]),
        ("HMAC_512", "GENERATE_VERIFY_MAC", "MacAlgorithms", ["HMAC_SHA_512"]),
        ("RSA_2048", "ENCRYPT_DECRYPT", "EncryptionAlgorithms", ["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"]),
        (
            "RSA_3072",
            "SIGN_VERIFY",
            "SigningAlgorithms",
            [f"RSASSA_{padding}_SHA_{size}" for padding in ("PKCS1_V1_5", "PSS") for size in (256, 384, 512)],
        ),
        ("ECC_NIST_P256", "SIGN_VERIFY", "SigningAlgorithms", ["ECDSA_SHA_256"]),
        ("ECC_NIST_P384", "KEY_AGREEMENT", "KeyAgreementAlgorithms", ["ECDH"]),
        ("ECC_NIST_P521", "SIGN_VERIFY", "SigningAlgorithms", ["ECDSA_SHA_512"]),
        ("ECC_SECG_P256K1", "SIGN_VERIFY", "SigningAlgorithms", ["ECDSA_SHA_256"]),
        ("ECC_NIST_EDWARDS25519", "SIGN_VERIFY", "SigningAlgorithms", ["ED25519_SHA_512"]),
        ("ML_DSA_44", "SIGN_VERIFY", "SigningAlgorithms", ["ML_DSA_SHAKE_256"]),
        ("ML_KEM_768", "ENCAPSULATE_DECAPSULATE", "EncapsulationAlgorithms", ["ML_KEM"]),
    ],
)
def test_create_key__every_other_spec_lists_its_algorithms_and_has_no_material_id(
    kms: Any, spec: str, usage: str, member: str, algorithms: list[str]
) -> None:
    made = kms.create_key(KeySpec=spec, KeyUsage=usage)["KeyMetadata"]
    assert made.keys() == ALWAYS | {member}
    assert (made["KeySpec"], made["CustomerMasterKeySpec"], made["KeyUsage"]) == (spec, spec, usage)
    assert made[member] == algorithms
    assert kms.describe_key(KeyId=made["Arn"])["KeyMetadata"] == made


def test_create_key__the_old_name_of_key_spec_counts(kms: Any) -> None:
    made = kms.create_key(CustomerMasterKeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]
    assert made["KeySpec"] == "ECC_NIST_P256"


def test_create_key__external_waits_for_its_import(kms: Any) -> None:
    made = kms.create_key(Origin="EXTERNAL", Description="mine")["KeyMetadata"]
    assert made.keys() == ALWAYS | {"EncryptionAlgorithms"}
    assert (made["KeyState"], made["Enabled"], made["Origin"]) == ("PendingImport", False, "EXTERNAL")
    assert made["Description"] == "mine"


@pytest.mark.parametrize(
    ("given", "code", "message"),
    [
        (
            {"KeySpec": "RSA_2048"},
            "ValidationException",
            "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys.",
        ),
        (
            {"KeySpec": "HMAC_256"},
            "ValidationException",
            "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys.",
        ),
        (
            {"KeySpec": "RSA_2048", "KeyUsage": "KEY_AGREEMENT"},
            "ValidationException",
            "KeyUsage KEY_AGREEMENT is not compatible with KeySpec RSA_2048",
        ),
        (
            {"KeyUsage": "SIGN_VERIFY"},
            "ValidationException",
            "KeyUsage SIGN_VERIFY is not compatible with KeySpec SYMMETRIC_DEFAULT",
        ),
        (
            {"KeySpec": "RSA_2048", "CustomerMasterKeySpec": "RSA_2048", "KeyUsage": "SIGN_VERIFY"},
            "ValidationException",
            "You cannot specify KeySpec and CustomerMasterKeySpec in the same request. CustomerMasterKeySpec is deprecated.",
        ),
        (
            {"Tags": [{"TagKey": "a", "TagValue": "1"}, {"TagKey": "a", "TagValue": "2"}]},
            "TagException",
            "Duplicate tag keys",
        ),
        ({"Tags": [{"TagKey": "AWS:a", "TagValue": "1"}]}, "TagException", "Tags beginning with aws: are reserved"),
        (
            {"Tags": [{"TagKey": f"t{number}", "TagValue": ""} for number in range(51)]},
            "TagException",
            "Too many tags",
        ),
        (
            {"Description": "x" * 8193},
            "ValidationException",
            (
                f"1 validation error detected: Value '{'x' * 1024}...' at 'description' failed to satisfy constraint: Member"
                " must have length less than or equal to 8192"
            ),
        ),
    ],
)
def test_create_key__refusals(kms: Any, given: dict[str, Any], code: str, message: str) -> None:
    assert refused(kms.create_key, **given) == (code, message)


def test_create_key__an_unknown_spec_is_told_with_the_enum(kms: Any) -> None:
    code, message = refused(kms.create_key, KeySpec="DES", KeyUsage="RANDOM")
    assert code == "ValidationException"
    assert message.startswith("2 validation errors detected: Value ")
    assert "Value 'RANDOM' at 'keyUsage' failed to satisfy constraint: Member must satisfy enum value set: [" in message


def test_create_key__is_recorded_with_the_key_that_it_made(key_server: KeyServer, key: dict[str, Any]) -> None:
    event = key_server.events("CreateKey")[-1]
    assert event["resources"] == [{"accountId": ACCOUNT, "type": "AWS::KMS::Key", "ARN": key["Arn"]}]
    assert event["responseElements"]["keyMetadata"]["keyId"] == key["KeyId"]


def test_list_keys__has_bare_ids_and_arns(kms: Any, key: dict[str, Any]) -> None:
    pages = kms.get_paginator("list_keys").paginate(PaginationConfig={"PageSize": 3})
    listed = [each for page in pages for each in page["Keys"]]
    assert {"KeyId": key["KeyId"], "KeyArn": key["Arn"]} in listed
    assert kms.list_keys(ResourceOwners=["OTHER_ACCOUNTS_VIA_RAM"])["Keys"] == []


def test_disable_key__and_enable_key_hold_for_the_next_call(kms: Any, key: dict[str, Any]) -> None:
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    for _ in range(2):  # a second time changes nothing
        kms.disable_key(KeyId=key["KeyId"])
        shown = kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]
        assert (shown["KeyState"], shown["Enabled"]) == ("Disabled", False)
        assert refused(kms.decrypt, CiphertextBlob=blob) == ("DisabledException", f"{key['Arn']} is disabled.")
    for _ in range(2):
        kms.enable_key(KeyId=key["KeyId"])
        assert kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"] == key
        assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"


def test_update_key_description(kms: Any, key: dict[str, Any]) -> None:
    for text in ("ünïcode ☃", "x" * 8192, ""):
        kms.update_key_description(KeyId=key["KeyId"], Description=text)
        assert kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]["Description"] == text


@pytest.mark.parametrize("days", [None, 7, 30])
def test_schedule_key_deletion__and_cancel_leave_a_disabled_key(
    kms: Any, key: dict[str, Any], days: int | None
) -> None:
    given = {} if days is None else {"PendingWindowInDays": days}
    scheduled = kms.schedule_key_deletion(KeyId=key["KeyId"], **given)
    del scheduled["ResponseMetadata"]
    date = scheduled.pop("DeletionDate")
    assert scheduled == {"KeyId": key["Arn"], "KeyState": "PendingDeletion", "PendingWindowInDays": days or 30}
    assert abs(date - datetime.now(UTC) - timedelta(days=days or 30)) < timedelta(minutes=1)
    shown = kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]
    assert shown == {**key, "KeyState": "PendingDeletion", "Enabled": False, "DeletionDate": date}
    assert refused(kms.schedule_key_deletion, KeyId=key["KeyId"]) == (
        "KMSInvalidStateException",
        f"{key['Arn']} is pending deletion.",
    )
    assert kms.cancel_key_deletion(KeyId=key["KeyId"])["KeyId"] == key["Arn"]
    assert kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"] == {**key, "KeyState": "Disabled", "Enabled": False}
    assert refused(kms.cancel_key_deletion, KeyId=key["KeyId"]) == (
        "KMSInvalidStateException",
        f"{key['Arn']} is not pending deletion.",
    )


@pytest.mark.parametrize(("days", "bound"), [(6, "greater than or equal to 7"), (31, "less than or equal to 30")])
def test_schedule_key_deletion__window_of_7_to_30_days(kms: Any, key: dict[str, Any], days: int, bound: str) -> None:
    assert refused(kms.schedule_key_deletion, KeyId=key["KeyId"], PendingWindowInDays=days) == (
        "ValidationException",
        (
            f"1 validation error detected: Value '{days}' at 'pendingWindowInDays' failed to satisfy constraint: Member must"
            f" have value {bound}"
        ),
    )
    assert kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"] == key
