"""The KMS data keys of buckets ("S3 Bucket Keys") as rows: what objects name instead of a data key of their own.

A row holds the key as the key service sealed it, and the encryption context that it was sealed with; its plaintext is
nowhere. It is sealed under the bucket's row key, as every row is (label `row/bucket-key`), and written before anything
is sealed under the key. Objects and uploads name it, so a row goes only with its bucket, or when nothing has named it
for a day; whoever writes a name checks that the row is still there, in the same transaction.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import msgspec
from msgspec import Struct

from strongroom.crypto.context import ctx, text, u32, u64
from strongroom.crypto.errors import IntegrityError
from strongroom.crypto.sealing import seal_row
from strongroom.database.database import Connection, Database, Row, Value
from strongroom.metadata.records import OpenBucket
from strongroom.metadata.sealed_row import associated_data, open_sealed, row_key_of

COLUMNS = "bucket_key_id, key_arn, material_id, created_us, secret_version, revision, sealed"
UNUSED_KEPT_US = 24 * 3600 * 1_000_000

_PAGE = 500
_BY_ID = f"SELECT {COLUMNS} FROM bucket_keys WHERE bucket_id = ? AND bucket_key_id = ?"
_UNNAMED = " AND ".join(
    f"NOT EXISTS (SELECT 1 FROM {table} n WHERE n.bucket_key_id = k.bucket_key_id AND n.bucket_id = k.bucket_id)"
    for table in ("object_versions", "uploads")
)


class BucketKeyGone(Exception):
    """The row was collected as unused before anything named it: take another bucket key and try again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KmsBucketKey:
    """One row of `bucket_keys`. `key_arn`, `material_id`: of the CMK that sealed it."""

    bucket_key_id: bytes
    key_arn: str
    material_id: bytes | None
    created_us: int
    ciphertext_blob: bytes = field(repr=False)
    context: Mapping[str, str]
    revision: int = 1


class _Body(Struct, frozen=True, array_like=True):
    ciphertext_blob: bytes
    context: dict[str, str]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Body).decode


# --- rows and records


def _ad(
    bucket_id: bytes,
    bucket_key_id: bytes,
    key_arn: str,
    material_id: bytes | None,
    created_us: int,
    version: int,
    revision: int,
) -> bytes:
    return ctx(
        "row/bucket-key",
        u32(version),
        bucket_id,
        bucket_key_id,
        text(key_arn),
        material_id or b"",
        u64(created_us),
        u64(revision),
    )


def seal_bucket_key(bucket: OpenBucket, key: KmsBucketKey) -> tuple[Value, ...]:
    """The row (COLUMNS), sealed under the bucket's current secret."""
    version = bucket.version
    clear = (key.bucket_key_id, key.key_arn, key.material_id, key.created_us, version, key.revision)
    plaintext = _encode(_Body(key.ciphertext_blob, dict(key.context)))
    return (*clear, seal_row(bucket.keys[version].rows, version, _ad(bucket.bucket_id, *clear), plaintext))


def open_bucket_key(bucket: OpenBucket, row: Row) -> KmsBucketKey:
    """The record of a row (COLUMNS). Raises IntegrityError."""
    bucket_key_id, key_arn, material_id, created_us, version, revision, sealed = cast(
        "tuple[bytes, str, bytes | None, int, int, int, bytes]", row
    )
    ad = associated_data(_ad, bucket.bucket_id, bucket_key_id, key_arn, material_id, created_us, version, revision)
    body = _decode(open_sealed(row_key_of(bucket, version), version, ad, sealed))
    return KmsBucketKey(
        bucket_key_id=bucket_key_id,
        key_arn=key_arn,
        material_id=material_id or None,
        created_us=created_us,
        ciphertext_blob=body.ciphertext_blob,
        context=body.context,
        revision=revision,
    )


# --- reading


async def get_bucket_key(database: Database, bucket: OpenBucket, bucket_key_id: bytes) -> KmsBucketKey:
    """The row that an object or an upload names. Raises IntegrityError, also where there is none."""
    rows = await database.read(_BY_ID, (bucket.bucket_id, bucket_key_id))
    if not rows:
        raise IntegrityError("a bucket key that is named does not exist")
    return open_bucket_key(bucket, rows[0])


# --- writing (inside a transaction)


def insert_bucket_key(tx: Connection, bucket: OpenBucket, key: KmsBucketKey) -> None:
    tx.execute(
        f"INSERT INTO bucket_keys (bucket_id, {COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (bucket.bucket_id, *seal_bucket_key(bucket, key)),
    )


def update_bucket_key(tx: Connection, bucket: OpenBucket, old: KmsBucketKey, new: KmsBucketKey) -> KmsBucketKey:
    """Write the same key as another CMK, or newer material, sealed it: next revision, current secret. Raises
    BucketKeyGone where the row is not `old` any more.
    """
    changed = replace(new, bucket_key_id=old.bucket_key_id, created_us=old.created_us, revision=old.revision + 1)
    row = seal_bucket_key(bucket, changed)
    tx.execute(
        "UPDATE bucket_keys SET key_arn = ?, material_id = ?, secret_version = ?, revision = ?, sealed = ?"
        " WHERE bucket_id = ? AND bucket_key_id = ? AND revision = ?",
        (row[1], row[2], *row[4:], bucket.bucket_id, old.bucket_key_id, old.revision),
    )
    if not tx.changed:
        raise BucketKeyGone
    return changed


def require_bucket_key(tx: Connection, bucket: OpenBucket, bucket_key_id: bytes) -> None:
    """For every transaction that writes a version or an upload which names the key: an upload may have lasted longer
    than an unused row is kept. Raises BucketKeyGone.
    """
    if not tx.execute(
        "SELECT 1 FROM bucket_keys WHERE bucket_id = ? AND bucket_key_id = ?", (bucket.bucket_id, bucket_key_id)
    ):
        raise BucketKeyGone


# --- those that nothing names


async def unused(database: Database, *, now_us: int) -> AsyncIterator[list[tuple[bytes, bytes]]]:
    """(bucket_id, bucket_key_id) of the rows that are a day old and that no version and no upload names, in batches."""
    after: tuple[Value, ...] = (b"", b"")
    while rows := await database.read(
        f"SELECT k.bucket_id, k.bucket_key_id, k.created_us <= ? AND {_UNNAMED} FROM bucket_keys k"
        " WHERE (k.bucket_id, k.bucket_key_id) > (?, ?) ORDER BY k.bucket_id, k.bucket_key_id LIMIT ?",
        (now_us - UNUSED_KEPT_US, *after, _PAGE),
    ):
        if found := [cast("tuple[bytes, bytes]", row[:2]) for row in rows if row[2]]:
            yield found
        after = rows[-1][:2]


def remove_unused(tx: Connection, ids: Sequence[tuple[bytes, bytes]]) -> int:
    """Remove those of `unused` that nothing names now either; how many."""
    removed = 0
    for bucket_id, bucket_key_id in ids:
        tx.execute(
            "DELETE FROM bucket_keys WHERE (bucket_id, bucket_key_id) IN (SELECT k.bucket_id, k.bucket_key_id"
            f" FROM bucket_keys k WHERE k.bucket_id = ? AND k.bucket_key_id = ? AND {_UNNAMED})",
            (bucket_id, bucket_key_id),
        )
        removed += tx.changed
    return removed
