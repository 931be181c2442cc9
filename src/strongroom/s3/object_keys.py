"""Object keys: every object has a random key of its own, stored only sealed, by the bucket's wrap key, by the
customer's key, or by a key service. DSSE has a second one for the outer layer, which the bucket's wrap key seals.
"""

import secrets
from dataclasses import dataclass, field

from strongroom.aws.errors import S3Error
from strongroom.crypto.errors import IntegrityError, KeyMismatch
from strongroom.crypto.sealing import (
    open_object_key,
    open_object_key_sse_c,
    seal_object_key,
    seal_object_key_sse_c,
)
from strongroom.crypto.secret_key import SecretKey
from strongroom.identity.requester import Requester
from strongroom.metadata.records import (
    Dsse,
    Encryption,
    KmsEncryption,
    ObjectVersion,
    OpenBucket,
    SseC,
    SseKms,
    SseKmsBucketKey,
    SseS3,
    Upload,
)
from strongroom.s3 import kms_keys
from strongroom.s3.encryption import Chosen, ChosenKms, ChosenSseC, ChosenSseS3
from strongroom.s3.kms_keys import KmsUse
from strongroom.s3.storage import Storage

WRONG_KEY = (
    "Requests specifying Server Side Encryption with Customer provided keys must provide the correct secret key."
)
KEY_NEEDED = "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object."
OTHER_KEY = "The provided encryption parameters did not match the ones used originally."
KEY_NOT_APPLICABLE = "The encryption parameters are not applicable to this object."

_OUTER = 1  # the layer of DSSE's second key


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectKey:
    """An object's identity and key while it is worked on. `outer`: the key of DSSE's outer layer. `kept`: how the row
    keeps `material` where another's key seals it; None under SSE-S3, whose keys are sealed at the commit.
    """

    object_id: bytes
    material: bytes = field(repr=False)
    outer: bytes | None = field(default=None, repr=False)
    kept: SseC | SseKms | SseKmsBucketKey | None = None

    @property
    def shows_md5(self) -> bool:
        """Whether an ETag of what is written is the plaintext's MD5: under SSE-S3 alone, for a key of somebody else
        must protect that too.
        """
        return self.kept is None

    def sealed(self, bucket: OpenBucket) -> Encryption:
        """As the row keeps it: under the wrap key of the bucket's current secret, or as another's key sealed it before."""
        if self.outer is not None:
            assert isinstance(self.kept, SseKms)
            return Dsse(inner=self.kept, sealed_key=self._wrapped(bucket, self.outer, _OUTER))
        return self.kept or SseS3(sealed_key=self._wrapped(bucket, self.material, 0))

    def _wrapped(self, bucket: OpenBucket, material: bytes, layer: int) -> bytes:
        return seal_object_key(
            bucket.keys[bucket.version].wrap_key,
            material,
            bucket_id=bucket.bucket_id,
            object_id=self.object_id,
            version=bucket.version,
            layer=layer,
        )


async def new_object_key(
    storage: Storage, requester: Requester, bucket: OpenBucket, key: str, chosen: Chosen
) -> ObjectKey:
    """A fresh object with a fresh key; the customer's key, where given, is used here once and zeroed. Raises S3Error,
    and as KeyProvider does.
    """
    object_id = secrets.token_bytes(16)
    match chosen:
        case ChosenKms():
            use = KmsUse(storage=storage, requester=requester, bucket=bucket, key=key, object_id=object_id)
            made = await kms_keys.new_key(use, chosen)
            outer = secrets.token_bytes(32) if chosen.dsse else None
            return ObjectKey(object_id=object_id, material=made.material, outer=outer, kept=made.kept)
        case ChosenSseC(customer_key=customer_key):
            return sealed_by_customer(bucket, object_id, secrets.token_bytes(32), customer_key)
        case ChosenSseS3():
            return ObjectKey(object_id=object_id, material=secrets.token_bytes(32))


def sealed_by_customer(bucket: OpenBucket, object_id: bytes, material: bytes, customer_key: SecretKey) -> ObjectKey:
    """An object's key for the row, sealed under a customer's key, and that zeroed."""
    with customer_key:
        sealed = seal_object_key_sse_c(customer_key.material, material, bucket_id=bucket.bucket_id, object_id=object_id)
    return ObjectKey(object_id=object_id, material=material, kept=SseC(sealed_key=sealed))


async def unseal(
    storage: Storage,
    requester: Requester,
    bucket: OpenBucket,
    record: ObjectVersion | Upload,
    customer_key: SecretKey | None,
    *,
    wrong_key: S3Error | None = None,
) -> ObjectKey:
    """The object key of a row. Raises as `unseal_here`, and as KeyProvider does."""
    key = unseal_here(bucket, record, customer_key, wrong_key=wrong_key)
    return key or await unseal_by_kms(storage, requester, bucket, record)


def unseal_here(
    bucket: OpenBucket,
    record: ObjectVersion | Upload,
    customer_key: SecretKey | None,
    *,
    wrong_key: S3Error | None = None,
) -> ObjectKey | None:
    """The object key of a row, None where only a key service opens it. The customer's key (zeroed here) is needed for
    SSE-C and for nothing else.

    The row was authenticated before, so a commitment that does not match can only mean a wrong customer key: 403, or
    `wrong_key`. Raises S3Error (facts: Amazon S3, "Using server-side encryption with customer-provided keys"),
    IntegrityError.
    """
    encryption, object_id = record.encryption, record.object_id
    if customer_key is not None and not isinstance(encryption, SseC):
        customer_key.zero()
        raise S3Error("InvalidRequest", KEY_NOT_APPLICABLE)
    match encryption:
        case SseS3(sealed_key=sealed):
            return ObjectKey(object_id=object_id, material=_unwrapped(bucket, record, sealed, 0))
        case SseC(sealed_key=sealed):
            if customer_key is None:
                raise S3Error("InvalidRequest", KEY_NEEDED)
            with customer_key:
                try:
                    material = open_object_key_sse_c(
                        customer_key.material, sealed, bucket_id=bucket.bucket_id, object_id=object_id
                    )
                except KeyMismatch as error:
                    raise (wrong_key or S3Error("AccessDenied", WRONG_KEY)) from error
            return ObjectKey(object_id=object_id, material=material, kept=encryption)
        case _:
            return None


async def unseal_by_kms(
    storage: Storage, requester: Requester, bucket: OpenBucket, record: ObjectVersion | Upload
) -> ObjectKey:
    """The object key of a row that names a key service. Raises S3Error (transport), IntegrityError, and as KeyProvider
    does.
    """
    encryption = record.encryption
    assert isinstance(encryption, KmsEncryption)
    outer = outer_key(bucket, record)  # damage shows without a call
    material = await kms_keys.open_key(kms_use(storage, requester, bucket, record), encryption)
    kept = encryption.inner if isinstance(encryption, Dsse) else encryption
    return ObjectKey(object_id=record.object_id, material=material, outer=outer, kept=kept)


def kms_use(storage: Storage, requester: Requester, bucket: OpenBucket, record: ObjectVersion | Upload) -> KmsUse:
    return KmsUse(storage=storage, requester=requester, bucket=bucket, key=record.key, object_id=record.object_id)


def outer_key(bucket: OpenBucket, record: ObjectVersion | Upload) -> bytes | None:
    """The key of DSSE's outer layer, which this server alone opens; None in other modes. Raises IntegrityError."""
    encryption = record.encryption
    return _unwrapped(bucket, record, encryption.sealed_key, _OUTER) if isinstance(encryption, Dsse) else None


def _unwrapped(bucket: OpenBucket, record: ObjectVersion | Upload, sealed: bytes, layer: int) -> bytes:
    version = record.secret_version
    keys = bucket.keys.get(version)
    if keys is None:
        raise IntegrityError("a row names a version of its bucket's secret that does not exist")
    ids = {"bucket_id": bucket.bucket_id, "object_id": record.object_id}
    try:
        return open_object_key(keys.wrap_key, sealed, **ids, version=version, layer=layer)
    except KeyMismatch as error:
        raise IntegrityError("an object key was not sealed by its bucket") from error
