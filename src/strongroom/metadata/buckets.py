"""Buckets and their secrets as rows, inside a transaction that the caller runs.

A bucket's row is sealed under its newest secret; the secrets themselves are sealed by the store key, whose id stands
beside each. Who may hold which key is not known here: sealed secrets come and go as bytes.
"""

from dataclasses import replace

from strongroom.database.database import Connection, Database, Row
from strongroom.metadata import deletions
from strongroom.metadata.records import Bucket, BucketConfig, BucketKeys, OpenBucket
from strongroom.metadata.rows import BUCKET_COLUMNS, seal_bucket

_JOINED = ", ".join(f"b.{column}" for column in BUCKET_COLUMNS.split(", "))
BUCKET_WIDTH = (
    BUCKET_COLUMNS.count(",") + 1
)  # columns of a row below that are the bucket's; then version, store_key_id, sealed secret


class StaleBucket(Exception):
    """The bucket changed (or went) since it was opened: open it again and try again."""


class BucketNotEmpty(Exception):
    """It holds versions or delete markers."""


async def read_bucket(database: Database, name: str) -> list[Row]:
    """The bucket's row joined with each of its secrets: BUCKET_COLUMNS, version, store_key_id, sealed secret. Empty: no
    such bucket.
    """
    return await database.read(
        f"SELECT {_JOINED}, s.version, s.store_key_id, s.sealed FROM buckets b"
        " LEFT JOIN bucket_secrets s ON s.bucket_id = b.bucket_id WHERE b.name = ? ORDER BY s.version",
        (name,),
    )


async def read_buckets(
    database: Database, *, prefix_from: str, prefix_below: str | None, after: str, limit: int
) -> list[Row]:
    """Rows as of `read_bucket` of the first `limit` buckets by name with `prefix_from` <= name < `prefix_below` and
    name > `after`.
    """
    return await database.read(
        f"SELECT {_JOINED}, s.version, s.store_key_id, s.sealed FROM"
        " (SELECT * FROM buckets WHERE name >= ? AND name > ? AND (? IS NULL OR name < ?) ORDER BY name LIMIT ?) b"
        " LEFT JOIN bucket_secrets s ON s.bucket_id = b.bucket_id ORDER BY b.name, s.version",
        (prefix_from, after, prefix_below, prefix_below, limit),
    )


def insert_bucket(
    tx: Connection, bucket: Bucket, keys: BucketKeys, *, store_key_id: bytes, sealed_secret: bytes
) -> bool:
    """Create it with its first secret; False where the name is taken."""
    tx.execute(
        f"INSERT INTO buckets ({BUCKET_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO NOTHING",
        seal_bucket(keys.rows, bucket),
    )
    if not tx.changed:
        return False
    insert_secret(tx, bucket.bucket_id, bucket.secret_version, store_key_id, sealed_secret)
    return True


def insert_secret(tx: Connection, bucket_id: bytes, version: int, store_key_id: bytes, sealed: bytes) -> None:
    tx.execute(
        "INSERT INTO bucket_secrets (bucket_id, version, store_key_id, sealed) VALUES (?, ?, ?, ?)",
        (bucket_id, version, store_key_id, sealed),
    )


def retire_secrets(tx: Connection, bucket_id: bytes, *, current: int) -> None:
    """Remove the secrets that no row names any more; without them no old copy of their rows opens again."""
    named = " UNION ALL ".join(
        f"SELECT 1 FROM {table} r WHERE r.bucket_id = s.bucket_id AND r.secret_version = s.version"
        for table in ("object_versions", "object_parts", "uploads", "upload_parts", "bucket_keys")
    )
    tx.execute(
        "DELETE FROM bucket_secrets WHERE bucket_id = ? AND version IN (SELECT version FROM bucket_secrets s"
        f" WHERE s.bucket_id = ? AND s.version <> ? AND NOT EXISTS ({named}))",
        (bucket_id, bucket_id, current),
    )


def check_unchanged(tx: Connection, bucket: OpenBucket) -> None:
    """The first line of every transaction that writes below a bucket. Raises StaleBucket."""
    rows = tx.execute(
        "SELECT revision FROM buckets WHERE bucket_id = ? AND name = ?", (bucket.bucket_id, bucket.bucket.name)
    )
    if rows != [(bucket.bucket.revision,)]:
        raise StaleBucket


def update_bucket(
    tx: Connection, bucket: OpenBucket, *, config: BucketConfig, secret: tuple[int, BucketKeys] | None = None
) -> None:
    """Write the bucket anew, where nobody changed it meanwhile. `secret`: version and keys of a new secret to seal it.
    Raises StaleBucket.
    """
    version, keys = secret or (bucket.version, bucket.keys[bucket.version])
    changed = replace(bucket.bucket, config=config, secret_version=version, revision=bucket.bucket.revision + 1)
    tx.execute(
        "UPDATE buckets SET secret_version = ?, revision = ?, sealed = ? WHERE bucket_id = ? AND revision = ?",
        (version, changed.revision, seal_bucket(keys.rows, changed)[-1], bucket.bucket_id, bucket.bucket.revision),
    )
    if not tx.changed:
        raise StaleBucket


def delete_bucket(tx: Connection, bucket: OpenBucket, *, delete_after_us: int) -> None:
    """Remove an empty bucket, its unfinished uploads, its bucket keys and its secrets, without which nothing of it opens
    again. Raises BucketNotEmpty.
    """
    of_bucket = (bucket.bucket_id,)
    if tx.execute("SELECT 1 FROM object_versions WHERE bucket_id = ? LIMIT 1", of_bucket):
        raise BucketNotEmpty
    for (object_id,) in tx.execute("SELECT object_id FROM uploads WHERE bucket_id = ? AND state = 0", of_bucket):
        deletions.doom_object(tx, object_id, delete_after_us=delete_after_us)  # type: ignore[arg-type]
    tx.execute("DELETE FROM upload_parts WHERE bucket_id = ?", of_bucket)
    tx.execute("DELETE FROM uploads WHERE bucket_id = ?", of_bucket)
    tx.execute("DELETE FROM bucket_keys WHERE bucket_id = ?", of_bucket)
    tx.execute("DELETE FROM bucket_secrets WHERE bucket_id = ?", of_bucket)
    tx.execute("DELETE FROM buckets WHERE bucket_id = ? AND revision = ?", (bucket.bucket_id, bucket.bucket.revision))
    if not tx.changed:
        raise StaleBucket
