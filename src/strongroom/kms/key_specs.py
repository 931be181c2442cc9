"""What kinds of KMS keys there are: one table from a key spec to what such a key may do, and how its material is made.

Names, usages and algorithms are AWS KMS's ("Key spec reference" of its Developer Guide), the order is that in which
DescribeKey lists them. What `cryptography` does not offer is in the table without a way to make it (SM2, ML_KEM_512), or
left out of the algorithms (ED25519_PH_SHA_512): refused by name, never imitated.

Material is 32 bytes (SYMMETRIC_DEFAULT), the HMAC key, or a private key as DER PKCS #8; a public key is DER
SubjectPublicKeyInfo. This module knows no key of anybody's.
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import (
    MLDSA44PrivateKey,
    MLDSA44PublicKey,
    MLDSA65PrivateKey,
    MLDSA65PublicKey,
    MLDSA87PrivateKey,
    MLDSA87PublicKey,
)
from cryptography.hazmat.primitives.asymmetric.mlkem import (
    MLKEM768PrivateKey,
    MLKEM768PublicKey,
    MLKEM1024PrivateKey,
    MLKEM1024PublicKey,
)
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from strongroom.aws.kms_errors import KmsError
from strongroom.kms.records import Key

MldsaPrivateKey = MLDSA44PrivateKey | MLDSA65PrivateKey | MLDSA87PrivateKey
MldsaPublicKey = MLDSA44PublicKey | MLDSA65PublicKey | MLDSA87PublicKey
MlkemPrivateKey = MLKEM768PrivateKey | MLKEM1024PrivateKey
MlkemPublicKey = MLKEM768PublicKey | MLKEM1024PublicKey
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | Ed25519PrivateKey | MldsaPrivateKey | MlkemPrivateKey
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | Ed25519PublicKey | MldsaPublicKey | MlkemPublicKey

NewMaterial = tuple[bytes, bytes]
"""Secret or private key; public key or b""."""

SYMMETRIC = "SYMMETRIC_DEFAULT"

ALGORITHM_MEMBERS: Mapping[str, str] = {
    "ENCRYPT_DECRYPT": "EncryptionAlgorithms",
    "SIGN_VERIFY": "SigningAlgorithms",
    "GENERATE_VERIFY_MAC": "MacAlgorithms",
    "KEY_AGREEMENT": "KeyAgreementAlgorithms",
    "ENCAPSULATE_DECAPSULATE": "EncapsulationAlgorithms",
}
"""The member of KeyMetadata and of GetPublicKey's answer that lists a key's algorithms, by its usage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySpec:
    """`algorithms`: by usage; its usages are the only ones. `generate`: None where nothing makes such a key. `importable`:
    whether the origin may be EXTERNAL. `slow`: generating one takes up to seconds and belongs into a thread.
    `size`: bytes of a secret that is no key pair, else 0.
    """

    algorithms: Mapping[str, tuple[str, ...]]
    generate: Callable[[], bytes | PrivateKey] | None = field(repr=False)
    importable: bool = True
    slow: bool = False
    size: int = 0

    @property
    def is_pair(self) -> bool:
        return self.size == 0


def _secret(usage: str, algorithm: str, size: int) -> KeySpec:
    return KeySpec(algorithms={usage: (algorithm,)}, generate=partial(secrets.token_bytes, size), size=size)


def _rsa(bits: int) -> KeySpec:
    return KeySpec(
        algorithms={
            "ENCRYPT_DECRYPT": ("RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"),
            "SIGN_VERIFY": (
                "RSASSA_PKCS1_V1_5_SHA_256",
                "RSASSA_PKCS1_V1_5_SHA_384",
                "RSASSA_PKCS1_V1_5_SHA_512",
                "RSASSA_PSS_SHA_256",
                "RSASSA_PSS_SHA_384",
                "RSASSA_PSS_SHA_512",
            ),
        },
        generate=partial(rsa.generate_private_key, 65537, bits),
        slow=True,
    )


def _nist(curve: ec.EllipticCurve, signing_algorithm: str) -> KeySpec:
    return KeySpec(
        algorithms={"SIGN_VERIFY": (signing_algorithm,), "KEY_AGREEMENT": ("ECDH",)},
        generate=partial(ec.generate_private_key, curve),
    )


def _ml_dsa(generate: Callable[[], PrivateKey]) -> KeySpec:
    return KeySpec(algorithms={"SIGN_VERIFY": ("ML_DSA_SHAKE_256",)}, generate=generate, importable=False)


def _ml_kem(generate: Callable[[], PrivateKey] | None) -> KeySpec:
    return KeySpec(algorithms={"ENCAPSULATE_DECAPSULATE": ("ML_KEM",)}, generate=generate, importable=False)


SPECS: Mapping[str, KeySpec] = {
    SYMMETRIC: _secret("ENCRYPT_DECRYPT", SYMMETRIC, 32),
    "HMAC_224": _secret("GENERATE_VERIFY_MAC", "HMAC_SHA_224", 28),
    "HMAC_256": _secret("GENERATE_VERIFY_MAC", "HMAC_SHA_256", 32),
    "HMAC_384": _secret("GENERATE_VERIFY_MAC", "HMAC_SHA_384", 48),
    "HMAC_512": _secret("GENERATE_VERIFY_MAC", "HMAC_SHA_512", 64),
    "RSA_2048": _rsa(2048),
    "RSA_3072": _rsa(3072),
    "RSA_4096": _rsa(4096),
    "ECC_NIST_P256": _nist(ec.SECP256R1(), "ECDSA_SHA_256"),
    "ECC_NIST_P384": _nist(ec.SECP384R1(), "ECDSA_SHA_384"),
    "ECC_NIST_P521": _nist(ec.SECP521R1(), "ECDSA_SHA_512"),
    "ECC_SECG_P256K1": KeySpec(
        algorithms={"SIGN_VERIFY": ("ECDSA_SHA_256",)}, generate=partial(ec.generate_private_key, ec.SECP256K1())
    ),
    "ECC_NIST_EDWARDS25519": KeySpec(
        algorithms={"SIGN_VERIFY": ("ED25519_SHA_512",)}, generate=Ed25519PrivateKey.generate
    ),
    "ML_DSA_44": _ml_dsa(MLDSA44PrivateKey.generate),
    "ML_DSA_65": _ml_dsa(MLDSA65PrivateKey.generate),
    "ML_DSA_87": _ml_dsa(MLDSA87PrivateKey.generate),
    "ML_KEM_512": _ml_kem(None),
    "ML_KEM_768": _ml_kem(MLKEM768PrivateKey.generate),
    "ML_KEM_1024": _ml_kem(MLKEM1024PrivateKey.generate),
    "SM2": KeySpec(
        algorithms={"ENCRYPT_DECRYPT": ("SM2PKE",), "SIGN_VERIFY": ("SM2DSA",), "KEY_AGREEMENT": ("ECDH",)},
        generate=None,
        importable=False,
    ),
}

_CURVES = {
    "secp256r1": "ECC_NIST_P256",
    "secp384r1": "ECC_NIST_P384",
    "secp521r1": "ECC_NIST_P521",
    "secp256k1": "ECC_SECG_P256K1",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyKind:
    """What of a key is settled for good when it is created."""

    spec: str
    usage: str
    origin: Literal["AWS_KMS", "EXTERNAL"]


def check_create(input: Mapping[str, Any]) -> KeyKind:
    """The kind of key that CreateKey's input asks for. Raises ValidationException for what contradicts itself,
    UnsupportedOperationException for what this service does not have.
    """
    if "KeySpec" in input and "CustomerMasterKeySpec" in input:
        raise KmsError(
            "ValidationException",
            "You cannot specify KeySpec and CustomerMasterKeySpec in the same request. CustomerMasterKeySpec is deprecated.",
        )
    name: str = input.get("KeySpec") or input.get("CustomerMasterKeySpec") or SYMMETRIC
    origin: str = input.get("Origin", "AWS_KMS")
    _refuse_elsewhere(input, origin)
    spec = SPECS[name]
    usage: str | None = input.get("KeyUsage")
    if usage is None:
        if name != SYMMETRIC:
            raise KmsError(
                "ValidationException",
                "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys.",
            )
        usage = "ENCRYPT_DECRYPT"
    if usage not in spec.algorithms:
        raise KmsError("ValidationException", f"KeyUsage {usage} is not compatible with KeySpec {name}")
    check_available(name)
    if origin == "EXTERNAL" and not spec.importable:
        raise KmsError("UnsupportedOperationException", f"KeySpec {name} is not supported with Origin EXTERNAL.")
    return KeyKind(spec=name, usage=usage, origin="EXTERNAL" if origin == "EXTERNAL" else "AWS_KMS")


def _refuse_elsewhere(input: Mapping[str, Any], origin: str) -> None:
    """Keys that live in other places than this service's own store: refused, never made here instead."""
    if origin not in {"AWS_KMS", "EXTERNAL"} or "CustomKeyStoreId" in input or "XksKeyId" in input:
        raise KmsError("UnsupportedOperationException", "Custom key stores are not supported.")
    if input.get("MultiRegion"):
        raise KmsError("UnsupportedOperationException", "Multi-Region keys are not supported.")


def check_available(key_spec: str) -> None:
    """Raises UnsupportedOperationException for a spec that nothing here can make."""
    if SPECS[key_spec].generate is None:
        raise KmsError("UnsupportedOperationException", f"{key_spec} is not supported.")


def generate_material(key_spec: str) -> NewMaterial:
    """Raises UnsupportedOperationException. `SPECS[key_spec].slow`: not to
    be called on the event loop.
    """
    check_available(key_spec)
    generate = SPECS[key_spec].generate
    assert generate is not None
    made = generate()
    return (made, b"") if isinstance(made, bytes) else (private_der(made), public_der(made))


def describe_algorithms(key: Key) -> dict[str, list[str]]:
    """The one member of KeyMetadata that lists what the key can do, by its name."""
    return {ALGORITHM_MEMBERS[key.usage]: list(SPECS[key.spec].algorithms[key.usage])}


def is_symmetric_encryption(key: Key) -> bool:
    return key.spec == SYMMETRIC


def is_slow(operation: str, input: Mapping[str, Any]) -> bool:
    """Whether an operation makes an RSA key (primes are searched): that belongs into a thread."""
    match operation:
        case "CreateKey":
            name = input.get("KeySpec") or input.get("CustomerMasterKeySpec") or SYMMETRIC
            return input.get("Origin") != "EXTERNAL" and SPECS[name].slow
        case "GenerateDataKeyPair" | "GenerateDataKeyPairWithoutPlaintext":
            return SPECS[input["KeyPairSpec"]].slow
        case _:
            return operation == "GetParametersForImport"


def spec_of(private_key: object) -> str | None:
    """The spec of a key pair that was made elsewhere; None for what has none here."""
    match private_key:
        case rsa.RSAPrivateKey():
            return f"RSA_{private_key.key_size}"
        case ec.EllipticCurvePrivateKey():
            return _CURVES.get(private_key.curve.name)
        case Ed25519PrivateKey():
            return "ECC_NIST_EDWARDS25519"
        case _:
            return None


def private_der(private_key: PrivateKey) -> bytes:
    """PKCS #8 (RFC 5958); ML-DSA and ML-KEM keys as their seeds."""
    return private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def public_der(private_key: PrivateKey) -> bytes:
    """The SubjectPublicKeyInfo of the pair."""
    return private_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
