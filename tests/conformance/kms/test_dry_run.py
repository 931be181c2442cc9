"""DryRun, DryRunModifiers and Recipient, on every operation that has them."""

import base64
from typing import Any

import pytest

from strongroom.aws.kms_model import load_kms_model
from strongroom.kms.operations import RULES
from tests.conformance.kms.requests import BLOB, b64, request_for
from tests.key_service import ROOT, KeyServer, User, allow, refused

PASSED = {
    "__type": "DryRunOperationException",
    "message": "The request would have succeeded, but the DryRun option is set.",
}
MODEL = load_kms_model().operations


def having(member: str) -> list[str]:
    return sorted(name for name in RULES if (shape := MODEL[name].input) is not None and member in shape.members)


KINDS = {
    "Sign": ("ECC_NIST_P256", "SIGN_VERIFY"),
    "Verify": ("ECC_NIST_P256", "SIGN_VERIFY"),
    "GenerateMac": ("HMAC_256", "GENERATE_VERIFY_MAC"),
    "VerifyMac": ("HMAC_256", "GENERATE_VERIFY_MAC"),
    "DeriveSharedSecret": ("ECC_NIST_P256", "KEY_AGREEMENT"),
    "Encapsulate": ("ML_KEM_768", "ENCAPSULATE_DECAPSULATE"),
    "Decapsulate": ("ML_KEM_768", "ENCAPSULATE_DECAPSULATE"),
}


def test_the_operations_with_a_dry_run_are_those_of_the_documentation() -> None:
    assert set(having("DryRun")) == {
        *("CreateGrant", "RetireGrant", "RevokeGrant", "Decrypt", "Encrypt", "ReEncrypt", "Sign", "Verify"),
        *("GenerateDataKey", "GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext"),
        *("GenerateDataKeyWithoutPlaintext", "GenerateMac", "VerifyMac", "DeriveSharedSecret"),
        *("Encapsulate", "Decapsulate"),
    }


@pytest.mark.parametrize("operation", having("DryRun"))
def test_dry_run__says_that_it_would_have_succeeded_and_does_nothing(
    kms: Any, key_server: KeyServer, operation: str
) -> None:
    spec, usage = KINDS.get(operation, ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"))
    made = kms.create_key(KeySpec=spec, KeyUsage=usage)["KeyMetadata"]
    granted = kms.create_grant(KeyId=made["KeyId"], GranteePrincipal=ROOT, Operations=["DescribeKey"])
    match operation:
        case "Decrypt" | "ReEncrypt":
            blob = kms.encrypt(KeyId=made["KeyId"], Plaintext=b"x")["CiphertextBlob"]
            given = {"CiphertextBlob": b64(blob)}
            given |= {"DestinationKeyId": made["KeyId"]} if operation == "ReEncrypt" else {}
        case "RetireGrant":
            given = {"GrantToken": granted["GrantToken"]}
        case "RevokeGrant":
            given = {"KeyId": made["KeyId"], "GrantId": granted["GrantId"]}
        case "DeriveSharedSecret":
            given = request_for(operation, made["KeyId"])
            given["PublicKey"] = b64(kms.get_public_key(KeyId=made["KeyId"])["PublicKey"])
        case "Decapsulate":
            given = request_for(operation, made["KeyId"])
            sealed = kms.encapsulate(KeyId=made["KeyId"], EncapsulationAlgorithm="ML_KEM")
            given["SharedSecretCiphertextBlob"] = b64(sealed["SharedSecretCiphertextBlob"])
        case _:
            given = request_for(operation, made["KeyId"])
    status, document, _ = key_server.post(operation, {**given, "DryRun": True})
    assert (status, document) == (400, PASSED)
    assert [each["GrantId"] for each in kms.list_grants(KeyId=made["KeyId"])["Grants"]] == [granted["GrantId"]]
    assert key_server.events(operation)[-1]["errorCode"].startswith("DryRunOperation")
    kms.disable_key(KeyId=made["KeyId"])
    if operation not in {"RetireGrant", "RevokeGrant"}:
        _, document, _ = key_server.post(operation, {**given, "DryRun": True})
        assert document == {"__type": "DisabledException", "message": f"{made['Arn']} is disabled."}


def test_dry_run__a_refusal_comes_first(kms: Any, key_server: KeyServer, key: dict[str, Any]) -> None:
    nobody = key_server.user()
    assert refused(nobody.kms.encrypt, KeyId=key["KeyId"], Plaintext=b"x", DryRun=True)[0] == "AccessDeniedException"
    assert refused(kms.generate_data_key, KeyId=key["KeyId"], DryRun=True)[0] == "ValidationException"
    assert (
        refused(kms.encrypt, KeyId=key["KeyId"], Plaintext=b"x", DryRun=True, EncryptionAlgorithm="RSAES_OAEP_SHA_1")[0]
        == "InvalidKeyUsageException"
    )


def test_dry_run_modifiers__a_ciphertext_is_ignored(kms: Any, key_server: KeyServer, key: dict[str, Any]) -> None:
    ignoring: dict[str, Any] = {"DryRun": True, "DryRunModifiers": ["IGNORE_CIPHERTEXT"]}
    passed = (PASSED["__type"], PASSED["message"])
    for blob in ({}, {"CiphertextBlob": b"no ciphertext"}):
        assert refused(kms.decrypt, KeyId=key["KeyId"], **blob, **ignoring) == passed
        assert (
            refused(kms.re_encrypt, SourceKeyId=key["KeyId"], DestinationKeyId=key["KeyId"], **blob, **ignoring)
            == passed
        )
        assert refused(kms.decrypt, **blob, **ignoring)[0] == "ValidationException"
        assert refused(kms.re_encrypt, DestinationKeyId=key["KeyId"], **blob, **ignoring)[0] == "ValidationException"
    nobody: User = key_server.user(allow("kms:DescribeKey"))
    assert refused(nobody.kms.decrypt, KeyId=key["KeyId"], **ignoring)[0] == "AccessDeniedException"
    # without DryRun the modifier is none
    assert refused(kms.decrypt, KeyId=key["KeyId"], DryRunModifiers=["IGNORE_CIPHERTEXT"])[0] == "ValidationException"


@pytest.mark.parametrize("operation", having("Recipient"))
def test_recipient__is_refused_and_no_plaintext_comes(kms: Any, key_server: KeyServer, operation: str) -> None:
    recipient = {"KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256", "AttestationDocument": BLOB}
    if operation == "GenerateRandom":
        given: dict[str, Any] = {"NumberOfBytes": 32}
    else:
        given = request_for(operation, kms.create_key()["KeyMetadata"]["KeyId"])
    status, document, _ = key_server.post(operation, {**given, "Recipient": recipient})
    assert status == 400
    assert document["__type"] == "UnsupportedOperationException"
    assert document.keys() == {"__type", "message"}
    assert base64.b64decode(BLOB) not in repr(document).encode()
