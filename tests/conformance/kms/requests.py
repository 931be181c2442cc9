"""One good request for every operation that names a key by itself; what the key must be is the test's to see to."""

import base64
from typing import Any

from tests.key_service import ROOT


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


BLOB = b64(bytes(64))
_MEMBERS: dict[str, dict[str, Any]] = {
    # by id or ARN
    "CancelKeyDeletion": {},
    "CreateAlias": {"AliasName": "alias/requests"},
    "CreateGrant": {"GranteePrincipal": ROOT, "Operations": ["DescribeKey"]},
    "DeleteImportedKeyMaterial": {},
    "DisableKey": {},
    "DisableKeyRotation": {},
    "EnableKey": {},
    "EnableKeyRotation": {},
    "GetKeyLastUsage": {},
    "GetKeyPolicy": {},
    "GetKeyRotationStatus": {},
    "GetParametersForImport": {"WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048"},
    "ImportKeyMaterial": {
        "ImportToken": BLOB,
        "EncryptedKeyMaterial": BLOB,
        "ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE",
    },
    "ListGrants": {},
    "ListKeyPolicies": {},
    "ListKeyRotations": {},
    "ListResourceTags": {},
    "PutKeyPolicy": {"Policy": "{}"},
    "RevokeGrant": {"GrantId": "0" * 64},
    "RotateKeyOnDemand": {},
    "ScheduleKeyDeletion": {},
    "TagResource": {"Tags": [{"TagKey": "a", "TagValue": "b"}]},
    "UntagResource": {"TagKeys": ["a"]},
    "UpdateKeyDescription": {"Description": "d"},
    # by alias too
    "Decapsulate": {"EncapsulationAlgorithm": "ML_KEM", "SharedSecretCiphertextBlob": BLOB},
    "Decrypt": {"CiphertextBlob": BLOB},
    "DeriveSharedSecret": {"KeyAgreementAlgorithm": "ECDH", "PublicKey": BLOB},
    "DescribeKey": {},
    "Encapsulate": {"EncapsulationAlgorithm": "ML_KEM"},
    "Encrypt": {"Plaintext": b64(b"x")},
    "GenerateDataKey": {"KeySpec": "AES_256"},
    "GenerateDataKeyPair": {"KeyPairSpec": "ECC_NIST_P256"},
    "GenerateDataKeyPairWithoutPlaintext": {"KeyPairSpec": "ECC_NIST_P256"},
    "GenerateDataKeyWithoutPlaintext": {"KeySpec": "AES_256"},
    "GenerateMac": {"Message": b64(b"x"), "MacAlgorithm": "HMAC_SHA_256"},
    "GetPublicKey": {},
    "ReEncrypt": {"CiphertextBlob": BLOB, "SourceEncryptionAlgorithm": "RSAES_OAEP_SHA_256"},
    "Sign": {"Message": b64(b"x"), "SigningAlgorithm": "ECDSA_SHA_256"},
    "Verify": {"Message": b64(b"x"), "SigningAlgorithm": "ECDSA_SHA_256", "Signature": BLOB},
    "VerifyMac": {"Message": b64(b"x"), "MacAlgorithm": "HMAC_SHA_256", "Mac": BLOB},
}
BY_ANY_NAME = set(list(_MEMBERS)[list(_MEMBERS).index("Decapsulate") :])
BY_ID = _MEMBERS.keys() - BY_ANY_NAME


def request_for(operation: str, key_id: str) -> dict[str, Any]:
    """Its input as JSON holds it."""
    match operation:
        case "CreateAlias":
            named = {"TargetKeyId": key_id}
        case "ReEncrypt":
            named = {"SourceKeyId": key_id, "DestinationKeyId": key_id}
        case _:
            named = {"KeyId": key_id}
    return {**named, **_MEMBERS[operation]}
