"""Key pairs: GetPublicKey, Sign, Verify, RSA's half of Encrypt and Decrypt, DeriveSharedSecret, Encapsulate, Decapsulate.

A private key is opened for the one call that needs it and kept nowhere; what the public key can do is done with it, which
lies open in the (authenticated) record. Wrong signatures, ciphertexts and foreign public keys are one error each,
whatever is wrong with them, and AWS says nothing more either.
"""

from collections.abc import Mapping
from typing import cast

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_der_public_key

from strongroom.aws.kms_errors import KmsError
from strongroom.kms.call import Kms, KmsCall, Outcome
from strongroom.kms.key_specs import (
    SPECS,
    MldsaPrivateKey,
    MldsaPublicKey,
    MlkemPrivateKey,
    MlkemPublicKey,
    PrivateKey,
    PublicKey,
    describe_algorithms,
)
from strongroom.kms.key_use import check_algorithm, check_usage, stop_dry_run
from strongroom.kms.records import Key, Material

_HASHES: Mapping[str, hashes.HashAlgorithm] = {
    "SHA_1": hashes.SHA1(),  # noqa: S303  (OAEP does not ask for collision resistance; AWS offers it)
    "SHA_256": hashes.SHA256(),
    "SHA_384": hashes.SHA384(),
    "SHA_512": hashes.SHA512(),
}
_MESSAGE_TYPES: Mapping[str, tuple[str, ...]] = {
    "ED25519_SHA_512": ("RAW",),
    "ML_DSA_SHAKE_256": ("RAW", "EXTERNAL_MU"),
}
_MU_SIZE = 64  # FIPS 204, 6.2


def get_public_key(call: KmsCall, kms: Kms, key: Key) -> Outcome:
    del call
    if not SPECS[key.spec].is_pair:
        raise KmsError("UnsupportedOperationException", "GetPublicKey is not supported for symmetric keys.")
    return Outcome(
        output={
            "KeyId": kms.key_arn(key.key_id),
            "PublicKey": _material(kms, key).public_key,
            "CustomerMasterKeySpec": key.spec,
            "KeySpec": key.spec,
            "KeyUsage": key.usage,
            **describe_algorithms(key),
        }
    )


# --- signatures


def sign(call: KmsCall, kms: Kms, key: Key) -> Outcome:
    algorithm, message_type = _check_message(call, kms, key)
    stop_dry_run(call)
    signature = _sign(_private_key(kms, key), algorithm, message_type, call.input["Message"])
    arn = kms.key_arn(key.key_id)
    return Outcome(output={"KeyId": arn, "Signature": signature, "SigningAlgorithm": algorithm})


def verify(call: KmsCall, kms: Kms, key: Key) -> Outcome:
    """Raises KMSInvalidSignatureException for any signature but a valid one."""
    algorithm, message_type = _check_message(call, kms, key)
    stop_dry_run(call)
    try:
        _verify(_public_key(kms, key), algorithm, message_type, call.input["Signature"], call.input["Message"])
    except (InvalidSignature, ValueError) as error:
        raise KmsError("KMSInvalidSignatureException") from error
    arn = kms.key_arn(key.key_id)
    return Outcome(output={"KeyId": arn, "SignatureValid": True, "SigningAlgorithm": algorithm})


def _check_message(call: KmsCall, kms: Kms, key: Key) -> tuple[str, str]:
    """(signing algorithm, message type), once key, algorithm and message fit together."""
    algorithm: str = call.input["SigningAlgorithm"]
    message_type: str = call.input.get("MessageType", "RAW")
    check_usage(call, kms, key, "SIGN_VERIFY")
    check_algorithm(key, algorithm)
    if message_type not in _MESSAGE_TYPES.get(algorithm, ("RAW", "DIGEST")):
        raise KmsError(
            "ValidationException", f"Message type {message_type} is incompatible with algorithm {algorithm}."
        )
    if message_type != "RAW":
        expected = _MU_SIZE if message_type == "EXTERNAL_MU" else _hash(algorithm).digest_size
        if len(call.input["Message"]) != expected:
            raise KmsError("ValidationException", f"Digest is invalid length for algorithm {algorithm}.")
    return algorithm, message_type


def _sign(private_key: PrivateKey, algorithm: str, message_type: str, message: bytes) -> bytes:
    match private_key:
        case rsa.RSAPrivateKey():
            return private_key.sign(message, _padding(algorithm), _hash_step(algorithm, message_type))
        case ec.EllipticCurvePrivateKey():
            return private_key.sign(message, ec.ECDSA(_hash_step(algorithm, message_type)))
        case Ed25519PrivateKey():
            return private_key.sign(message)
        case _:
            ml_dsa = cast("MldsaPrivateKey", private_key)
            return ml_dsa.sign_mu(message) if message_type == "EXTERNAL_MU" else ml_dsa.sign(message)


def _verify(public_key: PublicKey, algorithm: str, message_type: str, signature: bytes, message: bytes) -> None:
    match public_key:
        case rsa.RSAPublicKey():
            public_key.verify(signature, message, _padding(algorithm), _hash_step(algorithm, message_type))
        case ec.EllipticCurvePublicKey():
            public_key.verify(signature, message, ec.ECDSA(_hash_step(algorithm, message_type)))
        case Ed25519PublicKey():
            public_key.verify(signature, message)
        case _:
            ml_dsa = cast("MldsaPublicKey", public_key)
            if message_type == "EXTERNAL_MU":
                ml_dsa.verify_mu(signature, message)
            else:
                ml_dsa.verify(signature, message)


def _padding(algorithm: str) -> padding.AsymmetricPadding:
    """PSS with a salt as long as the digest, on both sides: what AWS's signatures have, and nothing else verifies."""
    if algorithm.startswith("RSASSA_PSS"):
        return padding.PSS(padding.MGF1(_hash(algorithm)), padding.PSS.DIGEST_LENGTH)
    return padding.PKCS1v15()


def _hash_step(algorithm: str, message_type: str) -> hashes.HashAlgorithm | Prehashed:
    return Prehashed(_hash(algorithm)) if message_type == "DIGEST" else _hash(algorithm)


def _hash(algorithm: str) -> hashes.HashAlgorithm:
    """The hash that an algorithm's name ends with."""
    return _HASHES[algorithm[algorithm.rindex("SHA_") :]]


# --- RSA encryption


def rsa_encrypt(kms: Kms, key: Key, plaintext: bytes, algorithm: str) -> bytes:
    """With the public key. Raises InvalidKeyUsageException, ValidationException for too long a plaintext."""
    check_algorithm(key, algorithm)
    public_key = cast("rsa.RSAPublicKey", _public_key(kms, key))
    room = public_key.key_size // 8 - 2 * _hash(algorithm).digest_size - 2  # RFC 8017, 7.1.1
    if len(plaintext) > room:
        raise KmsError(
            "ValidationException",
            f"Algorithm {algorithm} and key spec {key.spec} cannot encrypt data larger than {room} bytes.",
        )
    return public_key.encrypt(plaintext, _oaep(algorithm))


def rsa_decrypt(kms: Kms, key: Key, ciphertext: bytes, algorithm: str) -> bytes:
    """Raises InvalidKeyUsageException, InvalidCiphertextException for whatever is wrong with the ciphertext."""
    check_algorithm(key, algorithm)
    private_key = cast("rsa.RSAPrivateKey", _private_key(kms, key))
    try:
        return private_key.decrypt(ciphertext, _oaep(algorithm))
    except ValueError:
        raise KmsError("InvalidCiphertextException") from None


def _oaep(algorithm: str) -> padding.OAEP:
    return padding.OAEP(padding.MGF1(_hash(algorithm)), _hash(algorithm), None)


# --- shared secrets


def derive_shared_secret(call: KmsCall, kms: Kms, key: Key) -> Outcome:
    """ECDH, the raw x coordinate. Raises ValidationException without a word for a public key that is none of the curve."""
    algorithm: str = call.input["KeyAgreementAlgorithm"]
    check_usage(call, kms, key, "KEY_AGREEMENT")
    check_algorithm(key, algorithm)
    own = cast("ec.EllipticCurvePublicKey", _public_key(kms, key))
    peer = _peer_public_key(call.input["PublicKey"], own.curve)
    stop_dry_run(call)
    private_key = cast("ec.EllipticCurvePrivateKey", _private_key(kms, key))
    return Outcome(
        output={
            "KeyId": kms.key_arn(key.key_id),
            "SharedSecret": private_key.exchange(ec.ECDH(), peer),
            "KeyAgreementAlgorithm": algorithm,
            "KeyOrigin": key.origin,
        }
    )


def _peer_public_key(der: bytes, curve: ec.EllipticCurve) -> ec.EllipticCurvePublicKey:
    """`cryptography` takes points of the curve only, and never the one at infinity."""
    try:
        public_key = load_der_public_key(der)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise KmsError("ValidationException") from None
    if not isinstance(public_key, ec.EllipticCurvePublicKey) or public_key.curve.name != curve.name:
        raise KmsError("ValidationException")
    return public_key


def encapsulate(call: KmsCall, kms: Kms, key: Key) -> Outcome:
    algorithm: str = call.input["EncapsulationAlgorithm"]
    check_usage(call, kms, key, "ENCAPSULATE_DECAPSULATE")
    check_algorithm(key, algorithm)
    stop_dry_run(call)
    shared_secret, ciphertext = cast("MlkemPublicKey", _public_key(kms, key)).encapsulate()
    return Outcome(
        output={
            "KeyId": kms.key_arn(key.key_id),
            "SharedSecret": shared_secret,
            "SharedSecretCiphertextBlob": ciphertext,
            "EncapsulationAlgorithm": algorithm,
        }
    )


def decapsulate(call: KmsCall, kms: Kms, key: Key) -> Outcome:
    """Another key's ciphertext, or a changed one, gives another secret (FIPS 203, implicit rejection). Raises
    InvalidCiphertextException for one of another length only.
    """
    algorithm: str = call.input["EncapsulationAlgorithm"]
    check_usage(call, kms, key, "ENCAPSULATE_DECAPSULATE")
    check_algorithm(key, algorithm)
    stop_dry_run(call)
    private_key = cast("MlkemPrivateKey", _private_key(kms, key))
    try:
        shared_secret = private_key.decapsulate(call.input["SharedSecretCiphertextBlob"])
    except ValueError:
        raise KmsError("InvalidCiphertextException") from None
    return Outcome(
        output={
            "KeyId": kms.key_arn(key.key_id),
            "SharedSecret": shared_secret,
            "EncapsulationAlgorithm": algorithm,
        }
    )


# --- the keys themselves


def _material(kms: Kms, key: Key) -> Material:
    """The only one that a key pair ever has: such keys are not rotated."""
    assert key.current_material_id is not None  # the state table lets no key without material through
    return kms.state.materials[key.current_material_id]


def _public_key(kms: Kms, key: Key) -> PublicKey:
    return cast("PublicKey", load_der_public_key(_material(kms, key).public_key))


def _private_key(kms: Kms, key: Key) -> PrivateKey:
    """RSA's numbers are not checked again: they were when the key was made or imported, and the seal says it is the same."""
    der = kms.root.open_material(key, _material(kms, key))
    return cast("PrivateKey", load_der_private_key(der, None, unsafe_skip_rsa_key_validation=True))
