"""Every sealed value that is stored, every derived key: under which key, with which label and fields, in which form.

The stored form is a format byte, then the versions that a reader needs to find the key, then the message; the names in
front are in the context too. Every label is here, except those of rows, which belong to their columns. Tables:
docs/object-format.md, "Sealed values".

Ids are raw bytes. Whatever does not open is an IntegrityError: UnknownFormat names a format byte that is not ours,
KeyMismatch means that the key, or what the value is bound to, is another one. Keys of another length than 32 bytes are
a ValueError: they are never hashed into shape.
"""

from base64 import b64decode
from os import urandom
from string import printable

from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from strongroom.crypto.context import ctx, u8, u32
from strongroom.crypto.errors import IntegrityError
from strongroom.crypto.rows import RowSealer
from strongroom.crypto.segments import KEY_SIZE, open_sealed, seal
from strongroom.crypto.stored_form import FORMAT as _FORMAT
from strongroom.crypto.stored_form import ID_SIZE as _ID_SIZE
from strongroom.crypto.stored_form import expand as _expand
from strongroom.crypto.stored_form import message_of as _message
from strongroom.crypto.stored_form import open_key as _open_key
from strongroom.crypto.stored_form import require_key as _require_key
from strongroom.crypto.stored_form import seal_key as _seal_key

WHOLE_OBJECT = 2**32 - 1
"""In the place of a part number: the checksums are the whole object's."""

_SALT_SIZE = 32
_FINGERPRINT_SIZE = 16


# --- keys


def derive(secret: bytes | bytearray, label: str, *fields: bytes) -> bytes:
    """A 32-byte key for one purpose: HKDF-Expand-SHA-512 (RFC 5869, 2.3). `secret`: 32 uniformly random bytes."""
    return _expand(secret, ctx(label, *fields), KEY_SIZE)


def fingerprint(key: bytes | bytearray, purpose: str) -> bytes:
    """16 bytes that name a key and tell nothing of it."""
    return _expand(key, ctx("fingerprint", purpose.encode("ascii")), _FINGERPRINT_SIZE)


def check_master_key(key: bytes | bytearray) -> None:
    """Raises ValueError for what cannot be 32 random bytes: another length, one byte repeated, a typed text."""
    if len(key) != KEY_SIZE:
        raise ValueError(f"a master key has {KEY_SIZE} bytes, this one has {len(key)}")
    if len(set(key)) == 1:
        raise ValueError("all bytes of the master key are equal")
    if set(key) <= set(printable.encode()):
        raise ValueError("the master key is printable text, not random bytes")


def decode_master_key(text: bytes) -> bytes:
    """A master key as people keep it: base64 of 32 random bytes. Raises ValueError, with the reason and nothing of it."""
    try:
        key = b64decode(text.strip(), validate=True)
    except ValueError:
        raise ValueError("it is not base64") from None
    check_master_key(key)
    return key


def wrap_key(secret: bytes, bucket_id: bytes, version: int) -> bytes:
    """The key that seals the object keys of a bucket (SSE-S3)."""
    return derive(secret, "bucket-wrap", bucket_id, u32(version))


def row_key(secret: bytes, bucket_id: bytes, version: int) -> bytes:
    """The key of a bucket's `RowSealer`."""
    return derive(secret, "bucket-row", bucket_id, u32(version))


def identity_row_key(identity_key: bytes) -> bytes:
    """The key of the `RowSealer` of users and access keys."""
    return derive(identity_key, "identity-row")


def service_secret(identity_key: bytes) -> bytes:
    """What the S3 servers and the KMS share to know each other by."""
    return derive(identity_key, "service-credential", b"s3")


# --- bodies


def body_context(object_id: bytes, part_number: int, layer: int = 0) -> bytes:
    """The context of a body. `part_number`: 0 for a single PUT; `layer`: 0 inner or only, 1 outer (DSSE)."""
    return ctx("body", object_id, u32(part_number), u8(layer))


# --- bucket secrets


def seal_bucket_secret(
    store_key: bytes, secret: bytes, *, store_id: bytes, bucket_id: bytes, version: int, store_key_id: bytes
) -> bytes:
    """01 || version u32 || store_key_id 16 || message."""
    context = ctx("bucket-secret", store_id, bucket_id, u32(version), store_key_id)
    return _FORMAT + _secret_names(version, store_key_id) + _seal_key(store_key, context, secret)


def open_bucket_secret(
    store_key: bytes, sealed: bytes, *, store_id: bytes, bucket_id: bytes, version: int, store_key_id: bytes
) -> bytes:
    """The bucket's secret, 32 bytes."""
    message = bucket_secret_message(sealed, version=version, store_key_id=store_key_id)
    return _open_key(store_key, ctx("bucket-secret", store_id, bucket_id, u32(version), store_key_id), message)


def bucket_secret_message(sealed: bytes, *, version: int, store_key_id: bytes) -> bytes:
    """What the store key opens, once the row is found to name the version and the key that were sealed.

    Apart from `open_bucket_secret`, since a row that was edited must not pass for one whose key is missing. What cannot
    have been sealed (a version out of range, an id of another length) is an IntegrityError too.
    """
    try:
        names = _secret_names(version, store_key_id)
    except (OverflowError, ValueError):
        raise IntegrityError("the row of a bucket secret holds what cannot have been written") from None
    return _message(sealed, names)


def _secret_names(version: int, store_key_id: bytes) -> bytes:
    return u32(version) + _id(store_key_id)


def _id(key_id: bytes) -> bytes:
    if len(key_id) != _ID_SIZE:
        raise ValueError(f"a key id has {_ID_SIZE} bytes")
    return key_id


# --- object keys


def seal_object_key(
    wrap_key: bytes, object_key: bytes, *, bucket_id: bytes, object_id: bytes, version: int, layer: int = 0
) -> bytes:
    """SSE-S3: 01 || version u32 || message. `version`: of the bucket secret that `wrap_key` comes from."""
    context = ctx("oek/sse-s3", bucket_id, object_id, u8(layer), u32(version))
    return _FORMAT + u32(version) + _seal_key(wrap_key, context, object_key)


def open_object_key(
    wrap_key: bytes, sealed: bytes, *, bucket_id: bytes, object_id: bytes, version: int, layer: int = 0
) -> bytes:
    """The object key, 32 bytes."""
    context = ctx("oek/sse-s3", bucket_id, object_id, u8(layer), u32(version))
    return _open_key(wrap_key, context, _message(sealed, u32(version)))


def seal_object_key_sse_c(
    customer_key: bytes | bytearray, object_key: bytes, *, bucket_id: bytes, object_id: bytes
) -> bytes:
    """SSE-C: 01 || salt 32 || message, with a fresh salt each time."""
    salt = urandom(_SALT_SIZE)
    kek = _customer_kek(customer_key, salt, bucket_id, object_id)
    return _FORMAT + salt + _seal_key(kek, ctx("oek/sse-c", bucket_id, object_id), object_key)


def open_object_key_sse_c(
    customer_key: bytes | bytearray, sealed: bytes, *, bucket_id: bytes, object_id: bytes
) -> bytes:
    """The object key, 32 bytes.

    `sealed` comes out of a row that authenticated, so KeyMismatch can only mean another customer key (the client's
    error); every other IntegrityError is damage.
    """
    stored = _message(sealed)
    salt, message = stored[:_SALT_SIZE], stored[_SALT_SIZE:]
    kek = _customer_kek(customer_key, salt, bucket_id, object_id)
    return _open_key(kek, ctx("oek/sse-c", bucket_id, object_id), message)


def seal_object_key_bucket_key(
    bucket_key: bytes, object_key: bytes, *, bucket_id: bytes, object_id: bytes, bucket_key_id: bytes
) -> bytes:
    """SSE-KMS with an S3 Bucket Key: 01 || bucket_key_id 16 || message. `bucket_key`: a KMS's data key."""
    context = ctx("oek/sse-kms-bucket", bucket_id, object_id, bucket_key_id)
    return _FORMAT + _id(bucket_key_id) + _seal_key(bucket_key, context, object_key)


def open_object_key_bucket_key(
    bucket_key: bytes, sealed: bytes, *, bucket_id: bytes, object_id: bytes, bucket_key_id: bytes
) -> bytes:
    """The object key, 32 bytes."""
    context = ctx("oek/sse-kms-bucket", bucket_id, object_id, bucket_key_id)
    return _open_key(bucket_key, context, _message(sealed, _id(bucket_key_id)))


def _customer_kek(customer_key: bytes | bytearray, salt: bytes, bucket_id: bytes, object_id: bytes) -> bytes:
    """HKDF-SHA-512 with its Extract step: whether a customer's key is uniformly random is not ours to know."""
    _require_key(customer_key)
    return HKDF(SHA512(), KEY_SIZE, salt, ctx("sse-c-kek", bucket_id, object_id)).derive(customer_key)


# --- checksums and rows


def seal_checksums(object_key: bytes, object_id: bytes, part_number: int, values: bytes) -> bytes:
    """01 || message. Under the object key in every mode: without it nobody confirms a guess of the plaintext."""
    return _FORMAT + seal(object_key, _checksums_context(object_id, part_number), values)


def open_checksums(object_key: bytes, object_id: bytes, part_number: int, sealed: bytes) -> bytes:
    """The checksum values."""
    return open_sealed(object_key, _checksums_context(object_id, part_number), _message(sealed))


def _checksums_context(object_id: bytes, part_number: int) -> bytes:
    return ctx("checksums", object_id, u32(part_number))


def seal_row(sealer: RowSealer, version: int, ad: bytes, plaintext: bytes) -> bytes:
    """01 || version u32 || XAES message. `version`: of the secret behind the row key; `ad`: the row's context."""
    return _FORMAT + u32(version) + sealer.seal(plaintext, ad)


def open_row(sealer: RowSealer, version: int, ad: bytes, stored: bytes) -> bytes:
    """The row's plaintext."""
    return sealer.open(_message(stored, u32(version)), ad)


def seal_identity_row(sealer: RowSealer, ad: bytes, plaintext: bytes) -> bytes:
    """01 || XAES message. There is one identity key, so the row names none."""
    return _FORMAT + sealer.seal(plaintext, ad)


def open_identity_row(sealer: RowSealer, ad: bytes, stored: bytes) -> bytes:
    """The row's plaintext."""
    return sealer.open(_message(stored), ad)
