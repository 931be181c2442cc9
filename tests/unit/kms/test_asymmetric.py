"""strongroom.kms.asymmetric: what it signs and encrypts `cryptography` verifies and decrypts outside, and the other way round."""

import hashlib
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSAMuHasher
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
)

from strongroom.aws.kms_errors import KmsError
from strongroom.kms import asymmetric
from strongroom.kms.call import Kms
from strongroom.kms.key_specs import SPECS
from strongroom.kms.records import Key
from tests.kms_values import add_key, call, new_kms, secret_of

MESSAGE = b"a message that somebody signs"
SIGNING = [
    (spec, algorithm)
    for spec, each in SPECS.items()
    if each.generate
    for algorithm in each.algorithms.get("SIGN_VERIFY", ())
]
ALL_SIGNING = sorted({algorithm for _, algorithm in SIGNING} | {"SM2DSA", "ED25519_PH_SHA_512"})
HASHES: dict[str, Any] = {"SHA_256": hashes.SHA256(), "SHA_384": hashes.SHA384(), "SHA_512": hashes.SHA512()}


def kms_with(spec: str, usage: str = "SIGN_VERIFY") -> tuple[Kms, Key]:
    kms = new_kms()
    return kms, add_key(kms, spec, usage)


def sign(kms: Kms, key: Key, algorithm: str, message: bytes = MESSAGE, **more: Any) -> bytes:
    outcome = asymmetric.sign(call("Sign", Message=message, SigningAlgorithm=algorithm, **more), kms, key)
    assert outcome.changes == ()
    assert outcome.output["KeyId"] == kms.key_arn(key.key_id)
    assert outcome.output["SigningAlgorithm"] == algorithm
    signature: bytes = outcome.output["Signature"]
    return signature


def verify(kms: Kms, key: Key, algorithm: str, signature: bytes, message: bytes = MESSAGE, **more: Any) -> None:
    request = call("Verify", Message=message, SigningAlgorithm=algorithm, Signature=signature, **more)
    outcome = asymmetric.verify(request, kms, key)
    assert outcome.output == {
        "KeyId": kms.key_arn(key.key_id),
        "SignatureValid": True,
        "SigningAlgorithm": algorithm,
    }


@contextmanager
def refused(code: str, message: str | None = None) -> Iterator[None]:
    with pytest.raises(KmsError) as raised:
        yield
    assert (raised.value.code, raised.value.message) == (code, message)


def outside_public_key(kms: Kms, key: Key) -> Any:
    return load_der_public_key(asymmetric.get_public_key(call("GetPublicKey"), kms, key).output["PublicKey"])


def outside_arguments(algorithm: str) -> tuple[Any, ...]:
    """What `cryptography` wants beside message and signature, said here once more."""
    if algorithm.startswith(("ED25519", "ML_DSA")):
        return ()
    hash_algorithm = HASHES[algorithm[-7:]]
    if algorithm.startswith("ECDSA"):
        return (ec.ECDSA(hash_algorithm),)
    if algorithm.startswith("RSASSA_PKCS1"):
        return padding.PKCS1v15(), hash_algorithm
    return padding.PSS(padding.MGF1(hash_algorithm), hash_algorithm.digest_size), hash_algorithm


# --- Sign and Verify


@pytest.mark.parametrize(("spec", "algorithm"), SIGNING)
def test_sign__verifies_outside_and_here(spec: str, algorithm: str) -> None:
    kms, key = kms_with(spec)
    signature = sign(kms, key, algorithm)
    outside_public_key(kms, key).verify(signature, MESSAGE, *outside_arguments(algorithm))
    verify(kms, key, algorithm, signature)
    assert len(signature) <= 6144


@pytest.mark.parametrize(("spec", "algorithm"), SIGNING)
def test_verify__takes_what_was_signed_outside(spec: str, algorithm: str) -> None:
    kms, key = kms_with(spec)
    private_key: Any = load_der_private_key(secret_of(kms, key), None)
    verify(kms, key, algorithm, private_key.sign(MESSAGE, *outside_arguments(algorithm)))


@pytest.mark.parametrize(
    ("spec", "algorithm"), [pair for pair in SIGNING if pair[1][-7:] in HASHES and "ED" not in pair[1]]
)
def test_sign__a_digest_is_signed_as_its_message_is(spec: str, algorithm: str) -> None:
    kms, key = kms_with(spec)
    digest = hashlib.new(algorithm[-7:].replace("_", ""), MESSAGE).digest()
    verify(kms, key, algorithm, sign(kms, key, algorithm, digest, MessageType="DIGEST"))
    verify(kms, key, algorithm, sign(kms, key, algorithm), digest, MessageType="DIGEST")
    with refused("KMSInvalidSignatureException"):
        verify(kms, key, algorithm, sign(kms, key, algorithm, digest))  # a digest said to be a message is hashed again


@pytest.mark.parametrize("spec", ["ML_DSA_44", "ML_DSA_65", "ML_DSA_87"])
def test_sign__an_external_mu_is_signed_as_its_message_is(spec: str) -> None:
    kms, key = kms_with(spec)
    hasher = MLDSAMuHasher(outside_public_key(kms, key))
    hasher.update(MESSAGE)
    mu = hasher.finalize()
    verify(kms, key, "ML_DSA_SHAKE_256", sign(kms, key, "ML_DSA_SHAKE_256", mu, MessageType="EXTERNAL_MU"))
    verify(kms, key, "ML_DSA_SHAKE_256", sign(kms, key, "ML_DSA_SHAKE_256"), mu, MessageType="EXTERNAL_MU")


@pytest.mark.parametrize(
    "spec", [spec for spec, each in SPECS.items() if each.generate and "SIGN_VERIFY" in each.algorithms]
)
@pytest.mark.parametrize("operation", ["Sign", "Verify"])
def test_sign_and_verify__an_algorithm_of_another_spec_is_refused(operation: str, spec: str) -> None:
    kms, key = kms_with(spec)
    for algorithm in set(ALL_SIGNING) - set(SPECS[spec].algorithms["SIGN_VERIFY"]):
        request = call(operation, Message=MESSAGE, SigningAlgorithm=algorithm, Signature=b"x")
        if spec == "ECC_NIST_EDWARDS25519" and algorithm == "ED25519_PH_SHA_512":
            expected = refused("UnsupportedOperationException", "ED25519_PH_SHA_512 is not supported.")
        else:
            expected = refused(
                "InvalidKeyUsageException", f"Algorithm {algorithm} is incompatible with key spec {spec}."
            )
        with expected:
            getattr(asymmetric, operation.lower())(request, kms, key)


@pytest.mark.parametrize(
    ("spec", "usage"),
    [
        ("RSA_2048", "ENCRYPT_DECRYPT"),
        ("ECC_NIST_P256", "KEY_AGREEMENT"),
        ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"),
        ("HMAC_256", "GENERATE_VERIFY_MAC"),
        ("ML_KEM_768", "ENCAPSULATE_DECAPSULATE"),
    ],
)
@pytest.mark.parametrize("operation", ["Sign", "Verify"])
def test_sign_and_verify__a_key_of_another_usage_is_refused(operation: str, spec: str, usage: str) -> None:
    kms, key = kms_with(spec, usage)
    request = call(operation, Message=MESSAGE, SigningAlgorithm="ECDSA_SHA_256", Signature=b"x")
    text = f"{kms.key_arn(key.key_id)} key usage is {usage} which is not valid for {operation}."
    with refused("InvalidKeyUsageException", text):
        getattr(asymmetric, operation.lower())(request, kms, key)


@pytest.mark.parametrize(
    ("spec", "algorithm", "message_type"),
    [
        ("RSA_2048", "RSASSA_PSS_SHA_256", "EXTERNAL_MU"),
        ("ECC_NIST_P256", "ECDSA_SHA_256", "EXTERNAL_MU"),
        ("ECC_NIST_EDWARDS25519", "ED25519_SHA_512", "DIGEST"),
        ("ECC_NIST_EDWARDS25519", "ED25519_SHA_512", "EXTERNAL_MU"),
        ("ML_DSA_44", "ML_DSA_SHAKE_256", "DIGEST"),
    ],
)
def test_sign__a_message_type_that_the_algorithm_does_not_have_is_refused(spec, algorithm, message_type) -> None:
    kms, key = kms_with(spec)
    with refused("ValidationException", f"Message type {message_type} is incompatible with algorithm {algorithm}."):
        sign(kms, key, algorithm, b"x" * 64, MessageType=message_type)


@pytest.mark.parametrize(
    ("spec", "algorithm", "message_type", "size"),
    [
        ("RSA_2048", "RSASSA_PKCS1_V1_5_SHA_256", "DIGEST", 32),
        ("RSA_2048", "RSASSA_PSS_SHA_384", "DIGEST", 48),
        ("ECC_NIST_P521", "ECDSA_SHA_512", "DIGEST", 64),
        ("ML_DSA_44", "ML_DSA_SHAKE_256", "EXTERNAL_MU", 64),
    ],
)
def test_sign__a_digest_of_another_length_is_refused(spec, algorithm, message_type, size) -> None:
    kms, key = kms_with(spec)
    for wrong in {1, 20, 32, 48, 64, 65, size - 1, size + 1} - {size}:
        with refused("ValidationException", f"Digest is invalid length for algorithm {algorithm}."):
            sign(kms, key, algorithm, b"d" * wrong, MessageType=message_type)
    sign(kms, key, algorithm, b"d" * size, MessageType=message_type)


def test_sign__a_dry_run_opens_nothing_and_says_what_would_have_been() -> None:
    kms, key = kms_with("ECC_NIST_P256")
    text = "The request would have succeeded, but the DryRun option is set."
    with refused("DryRunOperationException", text):
        sign(kms, key, "ECDSA_SHA_256", DryRun=True)
    with refused("DryRunOperationException", text):
        verify(kms, key, "ECDSA_SHA_256", b"no signature", DryRun=True)
    with refused("InvalidKeyUsageException", "Algorithm ECDSA_SHA_384 is incompatible with key spec ECC_NIST_P256."):
        sign(kms, key, "ECDSA_SHA_384", DryRun=True)


@pytest.mark.parametrize(("spec", "algorithm"), SIGNING)
def test_verify__damage_another_message_and_another_key_are_one_error(spec: str, algorithm: str) -> None:
    kms, key = kms_with(spec)
    other_kms, other = kms_with(spec)
    signature = sign(kms, key, algorithm)
    flipped = [
        bytes([*signature[:at], signature[at] ^ 1, *signature[at + 1 :]])
        for at in (0, len(signature) // 2, -1 % len(signature))
    ]
    for bad in [
        *flipped,
        signature[:-1],
        signature + b"\0",
        b"\0" + signature,
        signature * 2,
        b"\0",
        b"\0" * len(signature),
        b"\xff" * 64,
    ]:
        with refused("KMSInvalidSignatureException"):
            verify(kms, key, algorithm, bad)
    with refused("KMSInvalidSignatureException"):
        verify(kms, key, algorithm, signature, MESSAGE + b".")
    if not SPECS[spec].slow:  # of RSA keys the tests share one
        with refused("KMSInvalidSignatureException"):
            verify(other_kms, other, algorithm, signature)


def test_verify__one_rsa_padding_is_not_another() -> None:
    kms, key = kms_with("RSA_2048")
    names = SPECS["RSA_2048"].algorithms["SIGN_VERIFY"]
    for made, asked in itertools.permutations(names, 2):
        with refused("KMSInvalidSignatureException"):
            verify(kms, key, asked, sign(kms, key, made))


@pytest.mark.parametrize("salt", [0, 20, 31, 33, 222])
def test_verify__a_pss_salt_of_another_length_than_the_digest_is_refused(salt: int) -> None:
    kms, key = kms_with("RSA_2048")
    private_key: Any = load_der_private_key(secret_of(kms, key), None)
    signature = private_key.sign(MESSAGE, padding.PSS(padding.MGF1(hashes.SHA256()), salt), hashes.SHA256())
    with refused("KMSInvalidSignatureException"):
        verify(kms, key, "RSASSA_PSS_SHA_256", signature)


def test_verify__a_pss_mask_of_another_hash_is_refused() -> None:
    kms, key = kms_with("RSA_2048")
    private_key: Any = load_der_private_key(secret_of(kms, key), None)
    signature = private_key.sign(MESSAGE, padding.PSS(padding.MGF1(hashes.SHA512()), 32), hashes.SHA256())
    with refused("KMSInvalidSignatureException"):
        verify(kms, key, "RSASSA_PSS_SHA_256", signature)


@pytest.mark.parametrize("spec", ["ECC_NIST_P256", "ECC_SECG_P256K1"])
def test_verify__ecdsa_edge_values_are_refused(spec: str) -> None:
    """As in Wycheproof's ECDSA vectors: zeros, the order, negative and overlong numbers, BER instead of DER."""
    kms, key = kms_with(spec)
    order = {
        "ECC_NIST_P256": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
        "ECC_SECG_P256K1": 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141,
    }[spec]
    signature = sign(kms, key, "ECDSA_SHA_256")
    r, s = decode_dss_signature(signature)
    numbers = [(0, 0), (0, s), (r, 0), (order, s), (r, order), (r + order, s), (r, s + order), (1, 1)]
    ber = [
        b"\x30\x80" + signature[2:] + b"\0\0",  # indefinite length
        b"\x30\x81" + signature[1:],  # long form of a short length
        signature[:1] + bytes([signature[1] + 2]) + signature[2:] + b"\x05\x00",  # something behind the numbers
        b"\x31" + signature[1:],
        b"\x30\x06\x02\x01\xff\x02\x01\x01",  # a negative number
        b"\x30\x00",
        b"\x30\x06\x02\x01\x00\x02\x01\x00",
    ]
    for bad in [*(encode_dss_signature(*each) for each in numbers), *ber]:
        with refused("KMSInvalidSignatureException"):
            verify(kms, key, "ECDSA_SHA_256", bad)


def test_verify__an_ed25519_signature_with_a_scalar_beyond_the_order_is_refused() -> None:
    """RFC 8032, 5.1.7: otherwise every signature has siblings."""
    kms, key = kms_with("ECC_NIST_EDWARDS25519")
    signature = sign(kms, key, "ED25519_SHA_512")
    order = 2**252 + 27742317777372353535851937790883648493
    scalar = int.from_bytes(signature[32:], "little") + order
    with refused("KMSInvalidSignatureException"):
        verify(kms, key, "ED25519_SHA_512", signature[:32] + scalar.to_bytes(32, "little"))


@pytest.mark.parametrize(("spec", "algorithm"), SIGNING)
def test_sign__messages_from_one_byte_to_4096(spec: str, algorithm: str) -> None:
    kms, key = kms_with(spec)
    for message in (b"\0", b"m" * 4096):
        verify(kms, key, algorithm, sign(kms, key, algorithm, message), message)


# --- GetPublicKey


@pytest.mark.parametrize(
    ("spec", "usage"),
    [(spec, usage) for spec, each in SPECS.items() if each.generate and each.is_pair for usage in each.algorithms],
)
def test_get_public_key__is_the_pairs_with_what_it_may_do(spec: str, usage: str) -> None:
    kms, key = kms_with(spec, usage)
    output = dict(asymmetric.get_public_key(call("GetPublicKey"), kms, key).output)
    private_key: Any = load_der_private_key(secret_of(kms, key), None)
    assert output.pop("PublicKey") == private_key.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    (algorithms,) = [list(SPECS[spec].algorithms[usage])]
    assert output.pop("KeyId") == kms.key_arn(key.key_id)
    assert (output.pop("KeySpec"), output.pop("CustomerMasterKeySpec"), output.pop("KeyUsage")) == (spec, spec, usage)
    assert list(output.values()) == [algorithms]


@pytest.mark.parametrize(
    ("spec", "usage"), [("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"), ("HMAC_512", "GENERATE_VERIFY_MAC")]
)
def test_get_public_key__of_a_secret_key_is_refused(spec: str, usage: str) -> None:
    kms, key = kms_with(spec, usage)
    with refused("UnsupportedOperationException", "GetPublicKey is not supported for symmetric keys."):
        asymmetric.get_public_key(call("GetPublicKey"), kms, key)


# --- RSA encryption

ROOM = {
    ("RSA_2048", "RSAES_OAEP_SHA_1"): 214,
    ("RSA_3072", "RSAES_OAEP_SHA_1"): 342,
    ("RSA_4096", "RSAES_OAEP_SHA_1"): 470,
    ("RSA_2048", "RSAES_OAEP_SHA_256"): 190,
    ("RSA_3072", "RSAES_OAEP_SHA_256"): 318,
    ("RSA_4096", "RSAES_OAEP_SHA_256"): 446,
}


def outside_oaep(algorithm: str) -> padding.OAEP:
    hash_algorithm = hashes.SHA1() if algorithm.endswith("SHA_1") else hashes.SHA256()
    return padding.OAEP(padding.MGF1(hash_algorithm), hash_algorithm, None)


@pytest.mark.parametrize(("spec", "algorithm"), ROOM)
def test_rsa__round_trips_here_and_outside(spec: str, algorithm: str) -> None:
    kms, key = kms_with(spec, "ENCRYPT_DECRYPT")
    private_key: Any = load_der_private_key(secret_of(kms, key), None)
    for plaintext in (b"p", b"p" * ROOM[spec, algorithm]):
        ciphertext = asymmetric.rsa_encrypt(kms, key, plaintext, algorithm)
        assert asymmetric.rsa_decrypt(kms, key, ciphertext, algorithm) == plaintext
        assert private_key.decrypt(ciphertext, outside_oaep(algorithm)) == plaintext
        outside = private_key.public_key().encrypt(plaintext, outside_oaep(algorithm))
        assert asymmetric.rsa_decrypt(kms, key, outside, algorithm) == plaintext


@pytest.mark.parametrize(("spec", "algorithm"), ROOM)
def test_rsa_encrypt__too_long_a_plaintext_is_told_the_limit(spec: str, algorithm: str) -> None:
    kms, key = kms_with(spec, "ENCRYPT_DECRYPT")
    room = ROOM[spec, algorithm]
    text = f"Algorithm {algorithm} and key spec {spec} cannot encrypt data larger than {room} bytes."
    for size in (room + 1, 4096):
        with refused("ValidationException", text):
            asymmetric.rsa_encrypt(kms, key, b"p" * size, algorithm)


def test_rsa__algorithms_of_other_keys_are_refused() -> None:
    kms, key = kms_with("RSA_2048", "ENCRYPT_DECRYPT")
    for algorithm in ("SYMMETRIC_DEFAULT", "SM2PKE"):
        for operation in (asymmetric.rsa_encrypt, asymmetric.rsa_decrypt):
            with refused("InvalidKeyUsageException", f"Algorithm {algorithm} is incompatible with key spec RSA_2048."):
                operation(kms, key, b"x", algorithm)


def test_rsa_decrypt__whatever_is_wrong_is_one_error() -> None:
    kms, key = kms_with("RSA_2048", "ENCRYPT_DECRYPT")
    good = asymmetric.rsa_encrypt(kms, key, b"plaintext", "RSAES_OAEP_SHA_256")
    public_key: Any = outside_public_key(kms, key)
    labelled = public_key.encrypt(b"p", padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), b"label"))
    mixed = public_key.encrypt(b"p", padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA256(), None))
    pkcs1 = public_key.encrypt(b"p", padding.PKCS1v15())
    sha_1 = asymmetric.rsa_encrypt(kms, key, b"plaintext", "RSAES_OAEP_SHA_1")
    flipped = good[:-1] + bytes([good[-1] ^ 1])
    for bad in (
        flipped,
        good[:-1],
        good + b"\0",
        b"\0" + good,
        b"x",
        b"\0" * 256,
        b"\xff" * 256,
        labelled,
        mixed,
        pkcs1,
        sha_1,
    ):
        with refused("InvalidCiphertextException"):
            asymmetric.rsa_decrypt(kms, key, bad, "RSAES_OAEP_SHA_256")


# --- DeriveSharedSecret


def spki(public_key: Any) -> bytes:
    encoded: bytes = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return encoded


def derive(kms: Kms, key: Key, public_key: bytes, **more: Any) -> Any:
    request = call("DeriveSharedSecret", KeyAgreementAlgorithm="ECDH", PublicKey=public_key, **more)
    return asymmetric.derive_shared_secret(request, kms, key).output


CURVES: dict[str, Any] = {
    "ECC_NIST_P256": ec.SECP256R1(),
    "ECC_NIST_P384": ec.SECP384R1(),
    "ECC_NIST_P521": ec.SECP521R1(),
}


@pytest.mark.parametrize("spec", CURVES)
def test_derive_shared_secret__is_what_the_peer_derives(spec: str) -> None:
    kms, key = kms_with(spec, "KEY_AGREEMENT")
    peer = ec.generate_private_key(CURVES[spec])
    output = derive(kms, key, spki(peer.public_key()))
    assert output == {
        "KeyId": kms.key_arn(key.key_id),
        "SharedSecret": peer.exchange(ec.ECDH(), outside_public_key(kms, key)),
        "KeyAgreementAlgorithm": "ECDH",
        "KeyOrigin": "AWS_KMS",
    }


def test_derive_shared_secret__a_public_key_that_is_none_of_the_curve_is_refused_without_a_word() -> None:
    kms, key = kms_with("ECC_NIST_P256", "KEY_AGREEMENT")
    good = spki(ec.generate_private_key(ec.SECP256R1()).public_key())
    off_curve = good[:-1] + bytes([good[-1] ^ 1])
    infinity = good[:-65][:1] + bytes([good[1] - 64]) + good[2:-66] + b"\x02\x00\x00"
    others = [
        spki(ec.generate_private_key(ec.SECP384R1()).public_key()),
        spki(ec.generate_private_key(ec.SECP256K1()).public_key()),
        spki(rsa.generate_private_key(65537, 2048).public_key()),
        spki(x25519.X25519PrivateKey.generate().public_key()),
    ]
    for bad in [
        off_curve,
        infinity,
        *others,
        good[:-1],
        good + b"\0",
        b"x",
        b"\x30\x06\x02\x01\xff\x02\x01\x01",  # a negative number
        b"\x30\x00",
        good[26:],
        secret_of(kms, key),
    ]:
        with refused("ValidationException"):
            derive(kms, key, bad)


def test_derive_shared_secret__a_signing_key_is_refused() -> None:
    kms, key = kms_with("ECC_NIST_P256")
    text = f"{kms.key_arn(key.key_id)} key usage is SIGN_VERIFY which is not valid for DeriveSharedSecret."
    with refused("InvalidKeyUsageException", text):
        derive(kms, key, b"x")


def test_derive_shared_secret__a_dry_run_gives_no_secret() -> None:
    kms, key = kms_with("ECC_NIST_P256", "KEY_AGREEMENT")
    with refused("DryRunOperationException", "The request would have succeeded, but the DryRun option is set."):
        derive(kms, key, spki(ec.generate_private_key(ec.SECP256R1()).public_key()), DryRun=True)


# --- Encapsulate and Decapsulate


def encapsulate(kms: Kms, key: Key, **more: Any) -> Any:
    return asymmetric.encapsulate(call("Encapsulate", EncapsulationAlgorithm="ML_KEM", **more), kms, key).output


def decapsulate(kms: Kms, key: Key, blob: bytes, **more: Any) -> Any:
    request = call("Decapsulate", EncapsulationAlgorithm="ML_KEM", SharedSecretCiphertextBlob=blob, **more)
    return asymmetric.decapsulate(request, kms, key).output


@pytest.mark.parametrize(("spec", "size"), [("ML_KEM_768", 1088), ("ML_KEM_1024", 1568)])
def test_encapsulate__gives_what_decapsulate_recovers_here_and_outside(spec: str, size: int) -> None:
    kms, key = kms_with(spec, "ENCAPSULATE_DECAPSULATE")
    made = encapsulate(kms, key)
    assert (len(made["SharedSecret"]), len(made["SharedSecretCiphertextBlob"])) == (32, size)
    assert decapsulate(kms, key, made["SharedSecretCiphertextBlob"]) == {
        "KeyId": kms.key_arn(key.key_id),
        "SharedSecret": made["SharedSecret"],
        "EncapsulationAlgorithm": "ML_KEM",
    }
    private_key: Any = load_der_private_key(secret_of(kms, key), None)
    assert private_key.decapsulate(made["SharedSecretCiphertextBlob"]) == made["SharedSecret"]
    shared_secret, ciphertext = outside_public_key(kms, key).encapsulate()
    assert decapsulate(kms, key, ciphertext)["SharedSecret"] == shared_secret


def test_decapsulate__a_changed_ciphertext_is_rejected_implicitly_and_one_of_another_length_openly() -> None:
    kms, key = kms_with("ML_KEM_768", "ENCAPSULATE_DECAPSULATE")
    made = encapsulate(kms, key)
    blob = made["SharedSecretCiphertextBlob"]
    changed = decapsulate(kms, key, bytes([blob[0] ^ 1, *blob[1:]]))["SharedSecret"]
    assert changed != made["SharedSecret"]
    assert len(changed) == 32
    for bad in (blob[:-1], blob + b"\0", b"x", b"x" * 1568):
        with refused("InvalidCiphertextException"):
            decapsulate(kms, key, bad)


def test_encapsulate__dry_runs_and_other_keys_are_refused() -> None:
    kms, key = kms_with("ML_KEM_768", "ENCAPSULATE_DECAPSULATE")
    text = "The request would have succeeded, but the DryRun option is set."
    with refused("DryRunOperationException", text):
        encapsulate(kms, key, DryRun=True)
    with refused("DryRunOperationException", text):
        decapsulate(kms, key, b"x", DryRun=True)
    signing = add_key(kms, "ML_DSA_44", "SIGN_VERIFY")
    text = f"{kms.key_arn(signing.key_id)} key usage is SIGN_VERIFY which is not valid for Encapsulate."
    with refused("InvalidKeyUsageException", text):
        encapsulate(kms, signing)


def test_outside_verification__is_no_formality() -> None:
    """The judge of this file says no where it should."""
    kms, key = kms_with("ECC_NIST_P256")
    with pytest.raises(InvalidSignature):
        outside_public_key(kms, key).verify(sign(kms, key, "ECDSA_SHA_256"), b"another", ec.ECDSA(hashes.SHA256()))
