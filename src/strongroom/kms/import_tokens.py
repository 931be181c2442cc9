"""Import tokens: the way by which somebody's own key material comes in, without anything kept here meanwhile.

A token is the wrapping private key, sealed for the one KMS key it was asked for, with its algorithm and its end; who
comes back with it gives us the key to open what they wrapped. So any number of them are valid side by side, none is
stored, and an abandoned one leaves nothing behind. Each has its end inside, for what seals them lasts longer.

Stored form: 01 || Cobblestone message under derive("import-token", key id), context `kms/import-token`.
"""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import cast

import msgspec
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, HashAlgorithm
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap_with_padding
from cryptography.hazmat.primitives.serialization import load_der_private_key

from strongroom.aws.kms_errors import KmsError
from strongroom.crypto.context import ctx, text
from strongroom.crypto.errors import IntegrityError
from strongroom.crypto.segments import open_sealed, seal
from strongroom.kms.call import Kms
from strongroom.kms.key_specs import generate_material
from strongroom.kms.records import Key

LIFETIME_US = 24 * 3600 * 1_000_000

_FORMAT = b"\x01"
_AES_KEY_SIZE = 32
_WRAPPING_SPECS = frozenset({"RSA_2048", "RSA_3072", "RSA_4096"})
_HASHES: Mapping[str, Callable[[], HashAlgorithm]] = {
    "RSAES_OAEP_SHA_1": SHA1,
    "RSAES_OAEP_SHA_256": SHA256,
    "RSA_AES_KEY_WRAP_SHA_1": SHA1,
    "RSA_AES_KEY_WRAP_SHA_256": SHA256,
}


class _Token(msgspec.Struct, frozen=True, array_like=True):
    wrapping_algorithm: str
    expires_us: int
    private_key: bytes

    def __repr__(self) -> str:
        return f"_Token({self.wrapping_algorithm!r}, {self.expires_us})"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportParameters:
    """`public_key`: DER SubjectPublicKeyInfo. `expires_us`: from then on the token is refused."""

    token: bytes = field(repr=False)
    public_key: bytes
    expires_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unwrapping:
    """What a token holds, opened."""

    algorithm: str
    private_key: RSAPrivateKey = field(repr=False)

    def unwrap(self, wrapped: bytes) -> bytes:
        """The material as it was before it was wrapped. Raises InvalidCiphertextException."""
        try:
            if not self.algorithm.startswith("RSA_AES"):
                return self._decrypt(wrapped)
            # PKCS #11 CKM_RSA_AES_KEY_WRAP: an AES key under OAEP, then the material under that key (RFC 5649)
            size = self.private_key.key_size // 8
            aes_key = self._decrypt(wrapped[:size])
            if len(aes_key) != _AES_KEY_SIZE:
                raise KmsError("InvalidCiphertextException", reason="the wrapping AES key has not 256 bits")
            return aes_key_unwrap_with_padding(aes_key, wrapped[size:])
        except (ValueError, InvalidUnwrap):
            raise KmsError("InvalidCiphertextException") from None

    def _decrypt(self, wrapped: bytes) -> bytes:
        hash_algorithm = _HASHES[self.algorithm]
        return self.private_key.decrypt(wrapped, OAEP(MGF1(hash_algorithm()), hash_algorithm(), None))


def issue(kms: Kms, key: Key, *, algorithm: str, wrapping_spec: str, now_us: int) -> ImportParameters:
    """A wrapping key pair, made now (slowly), and its token. Raises UnsupportedOperationException for algorithms and
    specs that are refused: RSAES_PKCS1_V1_5, on AWS since 2023, and SM2.
    """
    if algorithm not in _HASHES or wrapping_spec not in _WRAPPING_SPECS:
        raise KmsError("UnsupportedOperationException", f"{algorithm} with {wrapping_spec} is not supported.")
    private_key, public_key = generate_material(wrapping_spec)
    expires_us = now_us + LIFETIME_US
    content = msgspec.msgpack.encode(_Token(algorithm, expires_us, private_key))
    sealing_key, binding = _sealing(kms, key)
    return ImportParameters(
        token=_FORMAT + seal(sealing_key, binding, content), public_key=public_key, expires_us=expires_us
    )


def redeem(kms: Kms, key: Key, token: bytes, now_us: int) -> Unwrapping:
    """Raises InvalidImportTokenException for what is no token of this key, ExpiredImportTokenException after its end."""
    if not token.startswith(_FORMAT):
        raise KmsError("InvalidImportTokenException", reason="unknown format of an import token")
    sealing_key, binding = _sealing(kms, key)
    try:
        content = open_sealed(sealing_key, binding, token[len(_FORMAT) :])
    except IntegrityError as error:
        raise KmsError("InvalidImportTokenException", reason=str(error)) from error
    opened = msgspec.msgpack.decode(content, type=_Token)
    if now_us >= opened.expires_us:
        raise KmsError("ExpiredImportTokenException")
    private_key = load_der_private_key(opened.private_key, None, unsafe_skip_rsa_key_validation=True)
    return Unwrapping(algorithm=opened.wrapping_algorithm, private_key=cast("RSAPrivateKey", private_key))


def _sealing(kms: Kms, key: Key) -> tuple[bytes, bytes]:
    """(key, context) of the tokens of one KMS key."""
    key_id = uuid.UUID(key.key_id).bytes
    return kms.root.derive("import-token", key_id), ctx(
        "kms/import-token", text(kms.account_id), text(kms.region), key_id
    )
