"""How an object is encrypted, as its row keeps it: a mode and clear columns, which SQL counts by and the row binds, and
what is sealed beside them.

One fact in two halves, so both directions stand here. A row that was authenticated and yet says what nobody writes is
an IntegrityError: its mode belongs to a later version.
"""

from typing import NamedTuple

from strongroom.crypto.errors import IntegrityError
from strongroom.metadata.records import Dsse, Encryption, SseC, SseKms, SseKmsBucketKey, SseS3, Tags

NO_MODE, SSE_S3, SSE_C, SSE_KMS, SSE_KMS_BUCKET_KEY, DSSE_KMS = range(6)


class Columns(NamedTuple):
    """What the clear columns say of an encryption."""

    mode: int
    key_arn: str | None = None
    material_id: bytes | None = None
    bucket_key_id: bytes | None = None


class SealedKeys(NamedTuple):
    """What the sealed part of a row keeps of an encryption."""

    sealed_key: bytes = b""
    context: Tags = ()
    outer_key: bytes = b""


def split(encryption: Encryption | None) -> tuple[Columns, SealedKeys]:
    """An encryption as its row keeps it: in clear columns, and sealed."""
    match encryption:
        case None:
            return Columns(NO_MODE), SealedKeys()
        case SseS3(sealed_key=key):
            return Columns(SSE_S3), SealedKeys(key)
        case SseC(sealed_key=key):
            return Columns(SSE_C), SealedKeys(key)
        case SseKms(key_arn=arn, material_id=material_id):
            return Columns(SSE_KMS, arn, material_id), SealedKeys(encryption.ciphertext_blob, encryption.context)
        case SseKmsBucketKey(key_arn=arn, bucket_key_id=bucket_key_id, sealed_key=key):
            return Columns(SSE_KMS_BUCKET_KEY, arn, None, bucket_key_id), SealedKeys(key)
        case Dsse(inner=inner, sealed_key=outer):
            columns = Columns(DSSE_KMS, inner.key_arn, inner.material_id)
            return columns, SealedKeys(inner.ciphertext_blob, inner.context, outer)


def joined(columns: Columns, keys: SealedKeys) -> Encryption | None:
    """The inverse, of a row that has been authenticated. Raises IntegrityError."""
    match columns:
        case (0, None, None, None):  # NO_MODE
            return None
        case (1, None, None, None):  # SSE_S3
            return SseS3(sealed_key=keys.sealed_key)
        case (2, None, None, None):  # SSE_C
            return SseC(sealed_key=keys.sealed_key)
        case (3, str() as arn, material_id, None):  # SSE_KMS
            return _sse_kms(arn, material_id, keys)
        case (4, str() as arn, None, bytes() as bucket_key_id):  # SSE_KMS_BUCKET_KEY
            return SseKmsBucketKey(key_arn=arn, bucket_key_id=bucket_key_id, sealed_key=keys.sealed_key)
        case (5, str() as arn, material_id, None):  # DSSE_KMS
            return Dsse(inner=_sse_kms(arn, material_id, keys), sealed_key=keys.outer_key)
        case _:
            raise IntegrityError(f"mode {columns.mode} with these columns is not known to this version")


def _sse_kms(key_arn: str, material_id: bytes | None, keys: SealedKeys) -> SseKms:
    # To the row's binding an empty column and none are the same.
    return SseKms(
        key_arn=key_arn, material_id=material_id or None, context=keys.context, ciphertext_blob=keys.sealed_key
    )
