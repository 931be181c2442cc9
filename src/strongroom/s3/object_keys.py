"""Object keys: every object has a random key of its own, stored only sealed, by the bucket's wrap key or by the
customer's key.
"""

import secrets
from dataclasses import dataclass, field

from strongroom.aws.errors import S3Error
from strongroom.crypto.customer_key import CustomerKey
from strongroom.crypto.errors import IntegrityError, KeyMismatch
from strongroom.crypto.sealing import (
    open_object_key,
    open_object_key_sse_c,
    seal_object_key,
    seal_object_key_sse_c,
)
from strongroom.metadata.records import Encryption, OpenBucket, SseC, SseS3

WRONG_KEY = (
    "Requests specifying Server Side Encryption with Customer provided keys must provide the correct secret key."
)
KEY_NEEDED = "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object."
OTHER_KEY = "The provided encryption parameters did not match the ones used originally."
KEY_NOT_APPLICABLE = "The encryption parameters are not applicable to this object."


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectKey:
    """An object's identity and key while it is worked on. `customer_sealed`: how the row keeps it under SSE-C; None
    under SSE-S3.
    """

    object_id: bytes
    material: bytes = field(repr=False)
    customer_sealed: bytes | None = field(default=None, repr=False)

    def sealed(self, bucket: OpenBucket) -> Encryption:
        """As the row keeps it: under the wrap key of the bucket's current secret, or as the customer's key sealed it
        before.
        """
        if self.customer_sealed is not None:
            return SseC(sealed_key=self.customer_sealed)
        keys = bucket.keys[bucket.version]
        return SseS3(
            sealed_key=seal_object_key(
                keys.wrap_key,
                self.material,
                bucket_id=bucket.bucket_id,
                object_id=self.object_id,
                version=bucket.version,
            )
        )


def new_object_key(bucket: OpenBucket, customer_key: CustomerKey | None) -> ObjectKey:
    """A fresh object with a fresh key; the customer's key, where given, is used here once and zeroed."""
    object_id, material = secrets.token_bytes(16), secrets.token_bytes(32)
    return sealed_anew(bucket, object_id, material, customer_key)


def sealed_anew(bucket: OpenBucket, object_id: bytes, material: bytes, customer_key: CustomerKey | None) -> ObjectKey:
    """An object's key for the row: with a customer's key sealed under it (and that zeroed), else to be sealed at the
    commit.
    """
    if customer_key is None:
        return ObjectKey(object_id=object_id, material=material)
    with customer_key:
        sealed = seal_object_key_sse_c(customer_key.material, material, bucket_id=bucket.bucket_id, object_id=object_id)
    return ObjectKey(object_id=object_id, material=material, customer_sealed=sealed)


def unseal(
    bucket: OpenBucket,
    encryption: Encryption,
    *,
    object_id: bytes,
    secret_version: int,
    customer_key: CustomerKey | None,
    wrong_key: S3Error | None = None,
) -> ObjectKey:
    """The object key of a row, the customer's key (zeroed here) being needed for SSE-C and for nothing else.

    The row was authenticated before, so a commitment that does not match can only mean a wrong customer key: 403, or
    `wrong_key`. Raises S3Error (facts: Amazon S3, "Using server-side encryption with customer-provided keys"),
    IntegrityError.
    """
    match encryption, customer_key:
        case SseS3(sealed_key=sealed), None:
            keys = bucket.keys.get(secret_version)
            if keys is None:
                raise IntegrityError("a row names a version of its bucket's secret that does not exist")
            try:
                material = open_object_key(
                    keys.wrap_key, sealed, bucket_id=bucket.bucket_id, object_id=object_id, version=secret_version
                )
            except KeyMismatch as error:
                raise IntegrityError("an object key was not sealed by its bucket") from error
            return ObjectKey(object_id=object_id, material=material)
        case SseS3(), CustomerKey():
            customer_key.zero()
            raise S3Error("InvalidRequest", KEY_NOT_APPLICABLE)
        case SseC(), None:
            raise S3Error("InvalidRequest", KEY_NEEDED)
        case SseC(sealed_key=sealed), CustomerKey():
            with customer_key:
                try:
                    material = open_object_key_sse_c(
                        customer_key.material, sealed, bucket_id=bucket.bucket_id, object_id=object_id
                    )
                except KeyMismatch as error:
                    raise (wrong_key or S3Error("AccessDenied", WRONG_KEY)) from error
            return ObjectKey(object_id=object_id, material=material, customer_sealed=sealed)
    raise AssertionError("unreachable")
