"""Sign, Verify, GetPublicKey, RSA encryption, MACs, DeriveSharedSecret, Encapsulate, Decapsulate, GenerateDataKeyPair."""

import base64
import hashlib
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
)

from tests.key_service import KeyServer, refused

SIGNATURES = [
    ("RSA_2048", "RSASSA_PSS_SHA_256"),
    ("RSA_2048", "RSASSA_PKCS1_V1_5_SHA_512"),
    ("ECC_NIST_P256", "ECDSA_SHA_256"),
    ("ECC_NIST_P384", "ECDSA_SHA_384"),
    ("ECC_NIST_P521", "ECDSA_SHA_512"),
    ("ECC_SECG_P256K1", "ECDSA_SHA_256"),
    ("ECC_NIST_EDWARDS25519", "ED25519_SHA_512"),
    ("ML_DSA_44", "ML_DSA_SHAKE_256"),
]


def made(kms: Any, spec: str, usage: str) -> dict[str, Any]:
    metadata: dict[str, Any] = kms.create_key(KeySpec=spec, KeyUsage=usage)["KeyMetadata"]
    return metadata


@pytest.mark.parametrize(("spec", "algorithm"), SIGNATURES)
def test_sign_and_verify(kms: Any, spec: str, algorithm: str) -> None:
    key = made(kms, spec, "SIGN_VERIFY")
    given = {"KeyId": key["KeyId"], "SigningAlgorithm": algorithm}
    signed = kms.sign(Message=b"m" * 4096, **given)
    assert signed.keys() - {"ResponseMetadata"} == {"KeyId", "Signature", "SigningAlgorithm"}
    assert (signed["KeyId"], signed["SigningAlgorithm"]) == (key["Arn"], algorithm)
    verified = kms.verify(Message=b"m" * 4096, Signature=signed["Signature"], **given)
    del verified["ResponseMetadata"]
    assert verified == {"KeyId": key["Arn"], "SignatureValid": True, "SigningAlgorithm": algorithm}
    for message, signature in ((b"m", signed["Signature"]), (b"m" * 4096, signed["Signature"][:-1] + b"\0\0")):
        assert refused(kms.verify, Message=message, Signature=signature, **given) == (
            "KMSInvalidSignatureException",
            "",
        )


def test_sign__a_digest(kms: Any) -> None:
    key = made(kms, "ECC_NIST_P256", "SIGN_VERIFY")
    given = {"KeyId": key["KeyId"], "SigningAlgorithm": "ECDSA_SHA_256"}
    digest = hashlib.sha256(b"m").digest()
    signature = kms.sign(Message=digest, MessageType="DIGEST", **given)["Signature"]
    assert kms.verify(Message=b"m", Signature=signature, **given)["SignatureValid"] is True
    public = load_der_public_key(kms.get_public_key(KeyId=key["KeyId"])["PublicKey"])
    assert isinstance(public, ec.EllipticCurvePublicKey)
    public.verify(signature, b"m", ec.ECDSA(SHA256()))
    error = ("ValidationException", "Digest is invalid length for algorithm ECDSA_SHA_256.")
    assert refused(kms.sign, Message=b"m", MessageType="DIGEST", **given) == error
    assert refused(kms.verify, Message=b"m", MessageType="DIGEST", Signature=signature, **given) == error


def test_sign__wrong_kinds(kms: Any, key: dict[str, Any]) -> None:
    error = f"{key['Arn']} key usage is ENCRYPT_DECRYPT which is not valid for Sign."
    given = {"Message": b"m", "SigningAlgorithm": "ECDSA_SHA_256"}
    assert refused(kms.sign, KeyId=key["KeyId"], **given) == ("InvalidKeyUsageException", error)
    pair = made(kms, "RSA_2048", "SIGN_VERIFY")
    assert refused(kms.sign, KeyId=pair["KeyId"], **given) == (
        "InvalidKeyUsageException",
        "Algorithm ECDSA_SHA_256 is incompatible with key spec RSA_2048.",
    )
    assert refused(kms.encrypt, KeyId=pair["KeyId"], Plaintext=b"x", EncryptionAlgorithm="RSAES_OAEP_SHA_1") == (
        "InvalidKeyUsageException",
        f"{pair['Arn']} key usage is SIGN_VERIFY which is not valid for Encrypt.",
    )
    assert refused(kms.sign, KeyId=pair["KeyId"], Message=b"m" * 4097, SigningAlgorithm="RSASSA_PSS_SHA_256") == (
        "ValidationException",
        (
            "1 validation error detected: Value at 'message' failed to satisfy constraint: Member must have length less than or"
            " equal to 4096"
        ),
    )


def test_get_public_key(kms: Any, key: dict[str, Any]) -> None:
    pair = made(kms, "ECC_NIST_P384", "KEY_AGREEMENT")
    answer = kms.get_public_key(KeyId=pair["KeyId"])
    del answer["ResponseMetadata"]
    public = load_der_public_key(answer.pop("PublicKey"))
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert answer == {
        "KeyId": pair["Arn"],
        "CustomerMasterKeySpec": "ECC_NIST_P384",
        "KeySpec": "ECC_NIST_P384",
        "KeyUsage": "KEY_AGREEMENT",
        "KeyAgreementAlgorithms": ["ECDH"],
    }
    assert refused(kms.get_public_key, KeyId=key["KeyId"])[0] == "UnsupportedOperationException"


@pytest.mark.parametrize(("algorithm", "room"), [("RSAES_OAEP_SHA_1", 214), ("RSAES_OAEP_SHA_256", 190)])
def test_rsa_encryption(kms: Any, algorithm: str, room: int) -> None:
    pair = made(kms, "RSA_2048", "ENCRYPT_DECRYPT")
    given = {"KeyId": pair["KeyId"], "EncryptionAlgorithm": algorithm}
    sealed = kms.encrypt(Plaintext=b"x" * room, **given)
    assert (sealed["KeyId"], sealed["EncryptionAlgorithm"]) == (pair["Arn"], algorithm)
    opened = kms.decrypt(CiphertextBlob=sealed["CiphertextBlob"], **given)
    del opened["ResponseMetadata"]
    assert opened == {"KeyId": pair["Arn"], "Plaintext": b"x" * room, "EncryptionAlgorithm": algorithm}
    message = f"Algorithm {algorithm} and key spec RSA_2048 cannot encrypt data larger than {room} bytes."
    assert refused(kms.encrypt, Plaintext=b"x" * (room + 1), **given) == ("ValidationException", message)
    assert refused(kms.decrypt, CiphertextBlob=b"x" * 256, **given) == ("InvalidCiphertextException", "")
    without = {"CiphertextBlob": sealed["CiphertextBlob"], "EncryptionAlgorithm": algorithm}
    assert refused(kms.decrypt, **without)[0] == "ValidationException"  # nothing in it names the key
    assert refused(kms.encrypt, Plaintext=b"x", EncryptionContext={"a": "b"}, **given)[0] == "ValidationException"
    assert refused(kms.encrypt, KeyId=pair["KeyId"], Plaintext=b"x") == (
        "InvalidKeyUsageException",
        "Algorithm SYMMETRIC_DEFAULT is incompatible with key spec RSA_2048.",
    )


def test_re_encrypt__from_rsa_to_symmetric(kms: Any, key: dict[str, Any]) -> None:
    pair = made(kms, "RSA_2048", "ENCRYPT_DECRYPT")
    algorithm = "RSAES_OAEP_SHA_256"
    public = load_der_public_key(kms.get_public_key(KeyId=pair["KeyId"])["PublicKey"])
    assert isinstance(public, rsa.RSAPublicKey)
    blob = public.encrypt(b"x", padding.OAEP(padding.MGF1(SHA256()), SHA256(), None))
    given = {"SourceKeyId": pair["KeyId"], "SourceEncryptionAlgorithm": algorithm, "DestinationKeyId": key["KeyId"]}
    moved = kms.re_encrypt(CiphertextBlob=blob, **given, DestinationEncryptionContext={"a": "b"})
    assert moved["DestinationKeyMaterialId"] == key["CurrentKeyMaterialId"]
    assert "SourceKeyMaterialId" not in moved
    opened = kms.decrypt(CiphertextBlob=moved["CiphertextBlob"], EncryptionContext={"a": "b"})
    assert opened["Plaintext"] == b"x"


@pytest.mark.parametrize("size", [224, 256, 384, 512])
def test_macs(kms: Any, size: int) -> None:
    key = made(kms, f"HMAC_{size}", "GENERATE_VERIFY_MAC")
    given = {"KeyId": key["KeyId"], "MacAlgorithm": f"HMAC_SHA_{size}"}
    answer = kms.generate_mac(Message=b"m", **given)
    assert (answer["KeyId"], answer["MacAlgorithm"], len(answer["Mac"])) == (key["Arn"], f"HMAC_SHA_{size}", size // 8)
    assert kms.verify_mac(Message=b"m", Mac=answer["Mac"], **given)["MacValid"] is True
    for message, mac in ((b"n", answer["Mac"]), (b"m", answer["Mac"][:-1]), (b"m", answer["Mac"] + b"\0")):
        assert refused(kms.verify_mac, Message=message, Mac=mac, **given) == ("KMSInvalidMacException", "")
    other = "HMAC_SHA_256" if size == 224 else "HMAC_SHA_224"
    assert refused(kms.generate_mac, KeyId=key["KeyId"], Message=b"m", MacAlgorithm=other) == (
        "InvalidKeyUsageException",
        f"Algorithm {other} is incompatible with key spec HMAC_{size}.",
    )


def test_derive_shared_secret__both_sides_agree(kms: Any, key_server: KeyServer) -> None:
    pair = made(kms, "ECC_NIST_P256", "KEY_AGREEMENT")
    own = ec.generate_private_key(ec.SECP256R1())
    der = own.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    given = {"KeyId": pair["KeyId"], "KeyAgreementAlgorithm": "ECDH"}
    answer = kms.derive_shared_secret(PublicKey=der, **given)
    del answer["ResponseMetadata"]
    theirs = load_der_public_key(kms.get_public_key(KeyId=pair["KeyId"])["PublicKey"])
    assert isinstance(theirs, ec.EllipticCurvePublicKey)
    assert answer == {
        "KeyId": pair["Arn"],
        "SharedSecret": own.exchange(ec.ECDH(), theirs),
        "KeyAgreementAlgorithm": "ECDH",
        "KeyOrigin": "AWS_KMS",
    }
    foreign = ec.generate_private_key(ec.SECP384R1()).public_key()
    for bad in (b"x", foreign.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)):
        body = {**given, "PublicKey": base64.b64encode(bad).decode()}
        status, document, _ = key_server.post("DeriveSharedSecret", body)
        assert (status, document) == (400, {"__type": "ValidationException"})


@pytest.mark.parametrize(("spec", "size"), [("ML_KEM_768", 1088), ("ML_KEM_1024", 1568)])
def test_encapsulate_and_decapsulate(kms: Any, spec: str, size: int) -> None:
    pair = made(kms, spec, "ENCAPSULATE_DECAPSULATE")
    given = {"KeyId": pair["KeyId"], "EncapsulationAlgorithm": "ML_KEM"}
    sealed = kms.encapsulate(**given)
    assert sealed["KeyId"] == pair["Arn"]
    assert (len(sealed["SharedSecret"]), len(sealed["SharedSecretCiphertextBlob"])) == (32, size)
    blob = sealed["SharedSecretCiphertextBlob"]
    assert kms.decapsulate(SharedSecretCiphertextBlob=blob, **given)["SharedSecret"] == sealed["SharedSecret"]
    if spec == "ML_KEM_768":
        public = load_der_public_key(kms.get_public_key(KeyId=pair["KeyId"])["PublicKey"])
        assert isinstance(public, MLKEM768PublicKey)
        secret, ciphertext = public.encapsulate()
        assert kms.decapsulate(SharedSecretCiphertextBlob=ciphertext, **given)["SharedSecret"] == secret
    assert refused(kms.decapsulate, SharedSecretCiphertextBlob=blob[:-1], **given)[0] == "InvalidCiphertextException"


@pytest.mark.parametrize("spec", ["RSA_2048", "ECC_NIST_P256", "ECC_SECG_P256K1", "ECC_NIST_EDWARDS25519"])
def test_generate_data_key_pair(kms: Any, key: dict[str, Any], spec: str) -> None:
    given = {"KeyId": key["KeyId"], "KeyPairSpec": spec, "EncryptionContext": {"a": "b"}}
    answer = kms.generate_data_key_pair(**given)
    expected = {"KeyId", "KeyPairSpec", "KeyMaterialId", "PublicKey", "PrivateKeyCiphertextBlob"}
    assert answer.keys() - {"ResponseMetadata"} == expected | {"PrivateKeyPlaintext"}
    assert (answer["KeyId"], answer["KeyMaterialId"]) == (key["Arn"], key["CurrentKeyMaterialId"])
    private = load_der_private_key(answer["PrivateKeyPlaintext"], None)
    public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert public == answer["PublicKey"]
    opened = kms.decrypt(CiphertextBlob=answer["PrivateKeyCiphertextBlob"], EncryptionContext={"a": "b"})
    assert opened["Plaintext"] == answer["PrivateKeyPlaintext"]
    silent = kms.generate_data_key_pair_without_plaintext(**given)
    assert silent.keys() - {"ResponseMetadata"} == expected


def test_generate_data_key_pair__what_is_not_here(kms: Any, key: dict[str, Any]) -> None:
    for spec in ("SM2", "ML_KEM_512"):
        code, _ = refused(kms.generate_data_key_pair, KeyId=key["KeyId"], KeyPairSpec=spec)
        assert code == "UnsupportedOperationException"
