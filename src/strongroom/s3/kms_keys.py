"""Object keys under a key service: how S3 asks for them, and what they are bound to.

The encryption context names the object's ARN, or the bucket's where a bucket key stands between, beside the client's
own pairs. Whoever asks is the requester, and the key service judges that person. A request makes one call at most for
what it writes and one for what it reads; nothing is remembered here.

What the key service refuses leaves here as it came; `kms_errors` says it to the client.
"""

import secrets
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from hmac import compare_digest

from strongroom.aws.errors import S3Error
from strongroom.crypto.errors import IntegrityError, KeyMismatch
from strongroom.crypto.sealing import open_object_key_bucket_key, seal_object_key_bucket_key
from strongroom.identity.requester import Requester
from strongroom.keys.provider import ARN_PAIR, KeyServiceMisbehaved
from strongroom.metadata.buckets import StaleBucket
from strongroom.metadata.records import (
    Dsse,
    KmsEncryption,
    OpenBucket,
    SseKms,
    SseKmsBucketKey,
    Tags,
)
from strongroom.s3.encryption import ChosenKms, refuse_without_kms_terms
from strongroom.s3.permissions import bucket_arn, object_arn
from strongroom.s3.storage import Storage


@dataclass(frozen=True, slots=True, kw_only=True)
class KmsUse:
    """Whose object it is and who asks: what every question to the key service has in common."""

    storage: Storage
    requester: Requester
    bucket: OpenBucket
    key: str
    object_id: bytes

    def context(self, pairs: Tags) -> dict[str, str]:
        """The encryption context of a key that this object alone has."""
        return {**dict(pairs), ARN_PAIR: object_arn(self.bucket.bucket.name, self.key)}

    def hearing(self, *asked: str) -> AbstractContextManager[None]:
        """Around a question that is this object's alone: a refusal ends what a bucket key has allowed, as well."""
        return self.storage.bucket_keys.hearing(self.requester.principal.arn, *asked)


@dataclass(frozen=True, slots=True)
class KmsKey:
    """An object key in clear, and as the row keeps it."""

    material: bytes = field(repr=False)
    kept: SseKms | SseKmsBucketKey


async def new_key(use: KmsUse, chosen: ChosenKms) -> KmsKey:
    """A fresh object key. Raises S3Error (transport), and as KeyProvider does."""
    if chosen.bucket_key:
        material = secrets.token_bytes(32)
        return KmsKey(material, await _under_bucket_key(use, material, chosen))
    _check(use)
    context = use.context(chosen.context)
    with use.hearing(chosen.key_id):
        data_key = await use.storage.kms.generate_data_key(chosen.key_id, context, use.requester)
    kept = SseKms(
        key_arn=data_key.sealed.key_arn,
        material_id=data_key.sealed.material_id,
        context=chosen.context,
        ciphertext_blob=data_key.sealed.ciphertext_blob,
    )
    return KmsKey(data_key.plaintext, kept)


async def seal(use: KmsUse, material: bytes, chosen: ChosenKms) -> SseKms | SseKmsBucketKey:
    """An object key that exists, put under the key service. Raises as `new_key`.

    Encrypt does not say which material of the key it used, and an object may hang on nothing that was never seen to
    open: so what it answered is opened once.
    """
    if chosen.bucket_key:
        return await _under_bucket_key(use, material, chosen)
    _check(use)
    kms, context = use.storage.kms, use.context(chosen.context)
    with use.hearing(chosen.key_id):
        sealed = await kms.encrypt(chosen.key_id, material, context, use.requester)
        proof = await kms.decrypt(sealed.key_arn, sealed.ciphertext_blob, context, use.requester)
    if not compare_digest(proof.plaintext, material):
        raise KeyServiceMisbehaved("what the key service sealed opens as something else")
    return SseKms(
        key_arn=sealed.key_arn,
        material_id=proof.sealed.material_id,
        context=chosen.context,
        ciphertext_blob=sealed.ciphertext_blob,
    )


async def reseal(use: KmsUse, kept: SseKms, chosen: ChosenKms) -> SseKms:
    """The same object key under another KMS key or other pairs, unseen here. Raises as `new_key`."""
    _check(use)
    with use.hearing(kept.key_arn, chosen.key_id):
        sealed = await use.storage.kms.re_encrypt(
            kept.key_arn,
            kept.ciphertext_blob,
            use.context(kept.context),
            to_key_id=chosen.key_id,
            to_context=use.context(chosen.context),
            requester=use.requester,
        )
    return SseKms(
        key_arn=sealed.key_arn,
        material_id=sealed.material_id,
        context=chosen.context,
        ciphertext_blob=sealed.ciphertext_blob,
    )


async def open_key(use: KmsUse, encryption: KmsEncryption) -> bytes:
    """The object key of a row that was authenticated. Raises S3Error (transport), IntegrityError, and as KeyProvider
    does.
    """
    _check(use)
    match encryption:
        case SseKmsBucketKey():
            return await _open_by_bucket_key(use, encryption)
        case SseKms() as kept:
            pass
        case Dsse(inner=kept):
            pass
    context = use.context(kept.context)
    with use.hearing(kept.key_arn):
        opened = await use.storage.kms.decrypt(kept.key_arn, kept.ciphertext_blob, context, use.requester)
    return opened.plaintext


async def _under_bucket_key(use: KmsUse, material: bytes, chosen: ChosenKms) -> SseKmsBucketKey:
    _check(use)
    try:
        opened = await use.storage.bucket_keys.for_write(
            use.bucket, bucket_arn(use.bucket.bucket.name), chosen.key_id, dict(chosen.context), use.requester
        )
    except StaleBucket as error:
        raise S3Error("NoSuchBucket", BucketName=use.bucket.bucket.name) from error
    sealed = seal_object_key_bucket_key(
        opened.plaintext,
        material,
        bucket_id=use.bucket.bucket_id,
        object_id=use.object_id,
        bucket_key_id=opened.bucket_key_id,
    )
    return SseKmsBucketKey(key_arn=opened.key_arn, bucket_key_id=opened.bucket_key_id, sealed_key=sealed)


async def _open_by_bucket_key(use: KmsUse, encryption: SseKmsBucketKey) -> bytes:
    opened = await use.storage.bucket_keys.for_read(use.bucket, encryption.bucket_key_id, use.requester)
    try:
        return open_object_key_bucket_key(
            opened.plaintext,
            encryption.sealed_key,
            bucket_id=use.bucket.bucket_id,
            object_id=use.object_id,
            bucket_key_id=encryption.bucket_key_id,
        )
    except KeyMismatch as error:
        raise IntegrityError("an object key was not sealed by its bucket key") from error


def _check(use: KmsUse) -> None:
    refuse_without_kms_terms(secure=use.requester.secure_transport, signed=bool(use.requester.access_key_id))
