"""Which key a request names: every form, for every operation, and every way to name none."""

from typing import Any

import pytest

from strongroom.aws.kms_model import load_kms_model
from strongroom.kms.operations import RULES
from tests.conformance.kms.requests import BY_ANY_NAME, BY_ID, request_for
from tests.key_service import ACCOUNT, REGION, ROOT, KeyServer, refused

UNKNOWN = "11111111-2222-3333-4444-555555555555"
MRK = "mrk-11111111222233334444555555555555"
ARN = f"arn:aws:kms:{REGION}:{ACCOUNT}:"


def not_found(message: str) -> tuple[str, str]:
    return "NotFoundException", message


BAD_IDS = [
    (UNKNOWN, not_found(f"Key '{ARN}key/{UNKNOWN}' does not exist")),
    (f"{ARN}key/{UNKNOWN}", not_found(f"Key '{ARN}key/{UNKNOWN}' does not exist")),
    (MRK, not_found(f"Key '{ARN}key/{MRK}' does not exist")),
    (f"arn:aws:kms:eu-west-1:{ACCOUNT}:key/{UNKNOWN}", not_found("Invalid arn eu-west-1")),
    (UNKNOWN.replace("-", ""), not_found(f"Invalid keyId '{UNKNOWN.replace('-', '')}'")),
    ("mrk-x", not_found("Invalid keyId 'mrk-x'")),
    ("x", not_found("Invalid keyId 'x'")),
    (UNKNOWN.upper().replace("1", "A"), not_found(f"Invalid keyId '{UNKNOWN.upper().replace('1', 'A')}'")),
    (f"{UNKNOWN}\n", not_found(f"Invalid keyId '{UNKNOWN}\n'")),
    (f"{ARN}key/x", not_found(f"Invalid keyId '{ARN}key/x'")),
]
MALFORMED_ARNS = [
    f"{ARN}kee/{UNKNOWN}",
    f"arn:aws:s3:{REGION}:{ACCOUNT}:key/{UNKNOWN}",
    "arn:aws:kms",
    f"arn:azure:kms:{REGION}:{ACCOUNT}:key/{UNKNOWN}",
    f"{ARN}key",
]


@pytest.mark.parametrize("operation", sorted(BY_ID | BY_ANY_NAME))
def test_every_operation_refuses_a_bad_key_id_in_the_same_words(key_server: KeyServer, operation: str) -> None:
    for given, error in BAD_IDS:
        status, document, _ = key_server.post(operation, request_for(operation, given))
        assert status == 400
        assert (document["__type"], document.get("message")) == error


@pytest.mark.parametrize("given", MALFORMED_ARNS)
def test_a_malformed_arn_is_an_invalid_arn(key_server: KeyServer, given: str) -> None:
    for operation in ("DescribeKey", "Encrypt", "DisableKey", "CreateGrant"):
        status, document, _ = key_server.post(operation, request_for(operation, given))
        assert (status, document["__type"]) == (400, "InvalidArnException")


@pytest.mark.parametrize("operation", ["DescribeKey", "Encrypt", "DisableKey"])
def test_a_key_of_another_account_is_not_told_from_none(key_server: KeyServer, operation: str) -> None:
    foreign = f"arn:aws:kms:{REGION}:999999999999:key/{UNKNOWN}"
    _, document, _ = key_server.post(operation, request_for(operation, foreign))
    assert document["__type"] == "AccessDeniedException"
    assert document["Message"] == (
        f"User: {ROOT} is not authorized to perform: kms:{operation} on this resource because the resource does not exist"
        " in this Region, no resource-based policies allow access, or a resource-based policy explicitly denies access"
    )


def test_each_half_of_re_encrypt_is_told_by_its_own_right(kms: Any, key: dict[str, Any]) -> None:
    foreign = f"arn:aws:kms:{REGION}:999999999999:key/{UNKNOWN}"
    blob = kms.encrypt(KeyId=key["KeyId"], Plaintext=b"x")["CiphertextBlob"]
    for source, target, action in ((foreign, key["Arn"], "ReEncryptFrom"), (key["Arn"], foreign, "ReEncryptTo")):
        code, message = refused(kms.re_encrypt, CiphertextBlob=blob, SourceKeyId=source, DestinationKeyId=target)
        assert code == "AccessDeniedException"
        assert f"to perform: kms:{action} on this resource because" in message


@pytest.mark.parametrize("arn", ["", ARN])
def test_operations_that_manage_keys_take_no_alias(key_server: KeyServer, arn: str) -> None:
    for operation in BY_ID - {"CreateAlias"}:
        _, document, _ = key_server.post(operation, request_for(operation, f"{arn}alias/some"))
        assert (document["__type"], document.get("message")) == not_found("Invalid keyId alias/some")


@pytest.mark.parametrize("arn", ["", ARN])
def test_an_unknown_alias_is_told_by_its_arn(key_server: KeyServer, arn: str) -> None:
    for operation in BY_ANY_NAME:
        _, document, _ = key_server.post(operation, request_for(operation, f"{arn}alias/unknown"))
        assert (document["__type"], document["message"]) == not_found(f"Alias {ARN}alias/unknown is not found.")


def test_an_alias_of_another_region_is_an_invalid_arn_of_that_region(kms: Any) -> None:
    given = f"arn:aws:kms:eu-west-1:{ACCOUNT}:alias/x"
    assert refused(kms.describe_key, KeyId=given) == not_found("Invalid arn eu-west-1")


def test_all_four_forms_name_the_key(kms: Any, key: dict[str, Any]) -> None:
    alias = f"alias/{key['KeyId']}"
    kms.create_alias(AliasName=alias, TargetKeyId=key["Arn"])
    for name in (key["KeyId"], key["Arn"], alias, ARN + alias):
        assert kms.describe_key(KeyId=name)["KeyMetadata"] == key
        assert kms.generate_data_key(KeyId=name, KeySpec="AES_256")["KeyId"] == key["Arn"]


def test_every_operation_without_its_key_id_is_told_so(key_server: KeyServer) -> None:
    for operation in BY_ID | BY_ANY_NAME:
        required = load_kms_model().operations[operation].input
        assert required is not None
        member = next(name for name in ("KeyId", "TargetKeyId", "DestinationKeyId") if name in required.members)
        if member not in required.required:
            continue
        given = {name: value for name, value in request_for(operation, UNKNOWN).items() if name != member}
        _, document, _ = key_server.post(operation, given)
        assert document == {
            "__type": "ValidationException",
            "message": f"1 validation error detected: Value null at '{member[:1].lower()}{member[1:]}' failed to satisfy"
            " constraint: Member must not be null",
        }


def test_the_two_lists_are_all_operations_on_keys() -> None:
    """The rest names keys in its own ways, or none: tested beside what it does."""
    others = {"CreateKey", "GenerateRandom", "ListAliases", "ListKeys", "ListRetirableGrants"}
    by_themselves = {"DeleteAlias", "UpdateAlias", "RetireGrant"}
    assert BY_ID | BY_ANY_NAME | others | by_themselves == set(RULES)


@pytest.mark.parametrize(
    "operation",
    [
        *("GenerateDataKey", "GenerateDataKeyWithoutPlaintext", "Encrypt", "GetKeyRotationStatus", "RotateKeyOnDemand"),
        *("CancelKeyDeletion", "ScheduleKeyDeletion", "GetKeyLastUsage", "GenerateDataKeyPairWithoutPlaintext"),
    ],
)
def test_answers_hold_the_full_arn(kms: Any, key_server: KeyServer, key: dict[str, Any], operation: str) -> None:
    if operation == "CancelKeyDeletion":
        kms.schedule_key_deletion(KeyId=key["KeyId"])
    status, document, _ = key_server.post(operation, request_for(operation, key["KeyId"]))
    assert status == 200, document
    assert document["KeyId"] == key["Arn"]
