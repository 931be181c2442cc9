"""The stored form of everything sealed: a format byte, then the names that a reader needs to find the key, then the
message.

The names in front are in the message's context too. What a value is bound to, and under which key, is told in
crypto/sealing.py and crypto/kms_sealing.py; this module knows no label.
"""

from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from strongroom.crypto.errors import IntegrityError, UnknownFormat
from strongroom.crypto.segments import KEY_SIZE, ciphertext_size, open_sealed, seal

FORMAT = b"\x01"
ID_SIZE = 16
_SEALED_KEY_SIZE = ciphertext_size(KEY_SIZE)

Key = bytes | bytearray


def message_of(stored: bytes, names: bytes = b"") -> bytes:
    """What follows the format byte and `names`, which must be there to the letter. Raises UnknownFormat, IntegrityError."""
    if not stored.startswith(FORMAT):
        raise UnknownFormat(f"unknown format {stored[:1].hex() or '(nothing)'} of a sealed value")
    if not stored.startswith(names, len(FORMAT)):
        raise IntegrityError("the sealed value names another key")
    return stored[len(FORMAT) + len(names) :]


def seal_key(key: Key, context: bytes, secret: Key) -> bytes:
    """The message of a key sealed under another one. Raises ValueError for another length than 32 bytes."""
    require_key(secret)
    return seal(key, context, secret)


def open_key(key: Key, context: bytes, message: bytes) -> bytes:
    """The 32 bytes of a sealed key. Raises KeyMismatch, IntegrityError."""
    if len(message) != _SEALED_KEY_SIZE:
        raise IntegrityError("a sealed key has another length")
    return open_sealed(key, context, message)


def expand(secret: Key, info: bytes, length: int) -> bytes:
    """HKDF-Expand-SHA-512 (RFC 5869, 2.3) of 32 uniformly random bytes."""
    require_key(secret)
    return HKDFExpand(SHA512(), length, info).derive(secret)


def require_key(key: Key) -> None:
    if len(key) != KEY_SIZE:
        raise ValueError(f"a key has {KEY_SIZE} bytes")
