"""What every S3 operation works on: the index, the blobs, the keys and a clock, in one value; and the one way to
commit.

A handler opens its bucket, does its work, and commits with the bucket it opened. Where the bucket changed meanwhile
(its settings, or a rotated secret) the commit opens it again and runs the same function anew, so whatever depends on
the bucket belongs into that function.
"""

import re
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

from strongroom.aws.errors import S3Error
from strongroom.blobs.store import BlobId, BlobStore, StorageUnavailable
from strongroom.database.database import Connection, Database
from strongroom.identity.call import AuthorizedCall
from strongroom.keys.bucket_keys import KmsBucketKeys
from strongroom.keys.keyring import Keyring
from strongroom.keys.provider import KeyProvider
from strongroom.metadata.bucket_keys import BucketKeyGone
from strongroom.metadata.buckets import StaleBucket, check_unchanged
from strongroom.metadata.deletions import BlobCondemned
from strongroom.metadata.objects import StaleVersion
from strongroom.metadata.records import OpenBucket

T = TypeVar("T")

_ACCOUNT_ID = re.compile(r"[0-9]{12}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """`kms`: the key service, asked for people. `deletion_grace`: seconds that a deleted blob stays for readers that
    have begun. `hashing`: threads for hashes of big blocks.
    """

    database: Database = field(repr=False)
    blobs: BlobStore = field(repr=False)
    keyring: Keyring = field(repr=False)
    kms: KeyProvider = field(repr=False)
    bucket_keys: KmsBucketKeys = field(repr=False)
    hashing: Executor = field(repr=False)
    now_us: Callable[[], int]
    region: str
    deletion_grace: float
    blocks_sse_c: bool

    def delete_after_us(self) -> int:
        return self.now_us() + int(self.deletion_grace * 1_000_000)


async def open_bucket(storage: Storage, call: AuthorizedCall) -> OpenBucket:
    """The bucket of the call. Raises S3Error NoSuchBucket, and AccessDenied where it is not the expected owner's."""
    return await open_named_bucket(storage, call.input["Bucket"], call.input.get("ExpectedBucketOwner"))


async def open_named_bucket(storage: Storage, name: str, expected_owner: str | None = None) -> OpenBucket:
    if expected_owner is not None and _ACCOUNT_ID.fullmatch(expected_owner) is None:
        raise S3Error("InvalidBucketOwnerAWSAccountID")
    bucket = await storage.keyring.open_bucket(name)
    if bucket is None:
        raise S3Error("NoSuchBucket", BucketName=name)
    if expected_owner is not None and expected_owner != bucket.config.owner_account:
        raise S3Error("AccessDenied")
    return bucket


async def open_again(storage: Storage, bucket: OpenBucket) -> OpenBucket:
    """The bucket as it is now. Raises S3Error NoSuchBucket where it went: one made anew under its name is another."""
    again = await open_named_bucket(storage, bucket.bucket.name)
    if again.bucket_id != bucket.bucket_id:
        raise S3Error("NoSuchBucket", BucketName=bucket.bucket.name)
    return again


async def commit(
    storage: Storage,
    bucket: OpenBucket,
    change: Callable[[Connection, OpenBucket], T],
    *,
    frees_space: bool = False,
) -> T:
    """Run `change` in one durable transaction that holds only while the bucket is as `change` sees it; return its
    result.

    `change` may run several times, the last time with the bucket as it is. Raises what it raises, S3Error NoSuchBucket
    where the bucket went and SlowDown where the blob was condemned, or the bucket key collected, meanwhile.
    """

    def guarded(tx: Connection) -> T:
        check_unchanged(tx, bucket)
        return change(tx, bucket)

    while True:
        try:
            return await storage.database.transact(guarded, frees_space=frees_space)
        except StaleBucket:
            bucket = await open_again(storage, bucket)
        except StaleVersion:
            continue
        except (BlobCondemned, BucketKeyGone) as error:  # it took longer than what nobody names yet is kept
            raise S3Error("SlowDown") from error


async def commit_blob(
    storage: Storage, bucket: OpenBucket, blob_id: bytes, change: Callable[[Connection, OpenBucket], T]
) -> T:
    """`commit` of what names a new blob. Where the change is refused, the blob goes at once; where nobody can say
    whether it took place (the client went, the disk failed), the blob is left to the collector of orphans.
    """
    try:
        return await commit(storage, bucket, change)
    except S3Error:
        with suppress(StorageUnavailable):
            await storage.blobs.delete(BlobId(blob_id))
        raise
