"""How errors look: statuses, `__type`, message or Message or none; and what is not served at all."""

from typing import Any

import pytest

from strongroom.aws.kms_model import load_kms_model
from strongroom.kms.operations import RULES
from tests.key_service import KeyServer, refused

STORES = ["Connect", "Create", "Delete", "Describe", "Disconnect", "Update"]
ELSEWHERE = {
    **{f"{verb}CustomKeyStore{'s' if verb == 'Describe' else ''}": {} for verb in STORES},
    "CreateCustomKeyStore": {"CustomKeyStoreName": "x"},
    "UpdateCustomKeyStore": {"CustomKeyStoreId": "x"},
    "ConnectCustomKeyStore": {"CustomKeyStoreId": "x"},
    "DisconnectCustomKeyStore": {"CustomKeyStoreId": "x"},
    "DeleteCustomKeyStore": {"CustomKeyStoreId": "x"},
    "ReplicateKey": {"KeyId": "mrk-" + "0" * 32, "ReplicaRegion": "eu-west-1"},
    "UpdatePrimaryRegion": {"KeyId": "mrk-" + "0" * 32, "PrimaryRegion": "eu-west-1"},
}


def test_every_operation_of_the_model_is_served_or_refused_by_name() -> None:
    assert len(load_kms_model().operations) == 56
    assert set(RULES) | set(ELSEWHERE) == set(load_kms_model().operations)
    assert not set(RULES) & set(ELSEWHERE)


@pytest.mark.parametrize("operation", sorted(ELSEWHERE))
def test_what_is_not_here_is_an_unsupported_operation(key_server: KeyServer, operation: str) -> None:
    status, document, headers = key_server.post(operation, ELSEWHERE[operation])
    assert (status, document) == (
        400,
        {"__type": "UnsupportedOperationException", "message": f"{operation} is not supported."},
    )
    assert headers["x-amzn-errortype"] == "UnsupportedOperationException"
    event = key_server.events(operation)[-1]
    assert event["errorCode"].startswith("UnsupportedOperation")
    assert event["requestID"] == headers["x-amzn-requestid"]


@pytest.mark.parametrize(
    ("operation", "given"),
    [
        ("create_key", {"MultiRegion": True}),
        ("create_key", {"Origin": "AWS_CLOUDHSM"}),
        ("create_key", {"Origin": "EXTERNAL_KEY_STORE", "XksKeyId": "x"}),
        ("create_key", {"CustomKeyStoreId": "x"}),
        ("create_key", {"XksKeyId": "x"}),
        ("create_key", {"KeySpec": "SM2", "KeyUsage": "SIGN_VERIFY"}),
        ("create_key", {"KeySpec": "ML_KEM_512", "KeyUsage": "ENCAPSULATE_DECAPSULATE"}),
        ("create_key", {"KeySpec": "ML_DSA_44", "KeyUsage": "SIGN_VERIFY", "Origin": "EXTERNAL"}),
        ("generate_random", {"NumberOfBytes": 1, "CustomKeyStoreId": "x"}),
    ],
)
def test_options_that_are_not_here_are_refused_and_never_ignored(
    kms: Any, operation: str, given: dict[str, Any]
) -> None:
    assert refused(getattr(kms, operation), **given)[0] == "UnsupportedOperationException"


def test_create_key__multi_region_false_is_no_option(kms: Any) -> None:
    assert kms.create_key(MultiRegion=False)["KeyMetadata"]["MultiRegion"] is False


def test_void_operations_answer_nothing(key_server: KeyServer, key: dict[str, Any]) -> None:
    for operation, given in (
        ("DisableKey", {}),
        ("EnableKey", {}),
        ("EnableKeyRotation", {}),
        ("DisableKeyRotation", {}),
        ("UpdateKeyDescription", {"Description": "x"}),
        ("TagResource", {"Tags": []}),
        ("UntagResource", {"TagKeys": ["a"]}),
    ):
        status, document, headers = key_server.post(operation, {"KeyId": key["KeyId"], **given})
        assert (status, document) == (200, None)
        assert headers["content-type"] == "application/x-amz-json-1.1"
        assert headers["x-amzn-requestid"]


def test_dates_are_seconds(key_server: KeyServer, key: dict[str, Any]) -> None:
    _, document, _ = key_server.post("DescribeKey", {"KeyId": key["KeyId"]})
    assert isinstance(document["KeyMetadata"]["CreationDate"], float | int)


def test_modelled_errors_have_a_message_and_those_in_front_a_capital_one(
    key_server: KeyServer, key: dict[str, Any]
) -> None:
    _, document, _ = key_server.post("DescribeKey", {"KeyId": "x"})
    assert document == {"__type": "NotFoundException", "message": "Invalid keyId 'x'"}
    _, document, _ = key_server.post("Encrypt", {"KeyId": "alias/aws/s3", "Plaintext": "AAAA"})
    assert document.keys() == {"__type", "Message"}
    assert document["__type"] == "AccessDeniedException"


def test_errors_without_a_text(kms: Any, key_server: KeyServer) -> None:
    curve = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
    agreement = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="KEY_AGREEMENT")["KeyMetadata"]["KeyId"]
    hmac = kms.create_key(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")["KeyMetadata"]["KeyId"]
    signature = {"Message": "AAAA", "SigningAlgorithm": "ECDSA_SHA_256", "Signature": "AAAA"}
    mac = {"Message": "AAAA", "MacAlgorithm": "HMAC_SHA_256", "Mac": "AAAA"}
    for operation, given, code in (
        ("Decrypt", {"CiphertextBlob": "AAAA"}, "InvalidCiphertextException"),
        ("Verify", {"KeyId": curve, **signature}, "KMSInvalidSignatureException"),
        ("VerifyMac", {"KeyId": hmac, **mac}, "KMSInvalidMacException"),
        ("RotateKeyOnDemand", {"KeyId": hmac}, "UnsupportedOperationException"),
        ("RotateKeyOnDemand", {"KeyId": curve}, "UnsupportedOperationException"),
        ("EnableKeyRotation", {"KeyId": curve}, "UnsupportedOperationException"),
        (
            "DeriveSharedSecret",
            {"KeyId": agreement, "KeyAgreementAlgorithm": "ECDH", "PublicKey": "AAAA"},
            "ValidationException",
        ),
        ("CreateAlias", {"AliasName": "alias/aws/x", "TargetKeyId": curve}, "NotAuthorizedException"),
    ):
        status, document, _ = key_server.post(operation, given)
        assert (status, document) == (400, {"__type": code})


def test_an_unknown_operation(key_server: KeyServer) -> None:
    status, document, _ = key_server.post("BreakKey", {})
    assert (status, document) == (400, {"__type": "UnknownOperationException"})


@pytest.mark.parametrize("token", ["x", "AAAA", "QUFB" * 20])
def test_a_malformed_grant_token_is_refused_everywhere(key_server: KeyServer, key: dict[str, Any], token: str) -> None:
    for operation, given in (
        ("DescribeKey", {}),
        ("Encrypt", {"Plaintext": "AAAA"}),
        ("GenerateDataKey", {"KeySpec": "AES_256"}),
        ("CreateGrant", {"GranteePrincipal": "x", "Operations": ["Decrypt"]}),
    ):
        status, document, _ = key_server.post(operation, {"KeyId": key["KeyId"], "GrantTokens": [token], **given})
        assert (status, document["__type"]) == (400, "InvalidGrantTokenException")
    _, document, _ = key_server.post("RetireGrant", {"GrantToken": token})
    assert document["__type"] == "InvalidGrantTokenException"
