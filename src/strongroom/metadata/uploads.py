"""Multipart uploads and their pending parts.

An upload fixes the object's id and key for all its parts. Each attempt at a part is a message of its own in a blob of
its own; a new attempt replaces the row and queues the old blob. Complete moves the chosen parts into a version without
touching a byte; the upload's row stays a while, so that a repeated Complete gets the same answer.
"""

import secrets
from collections.abc import Collection
from dataclasses import replace

from strongroom.database.database import Connection, Database
from strongroom.metadata import deletions
from strongroom.metadata.bucket_keys import require_bucket_key
from strongroom.metadata.records import (
    Completion,
    Dsse,
    Encryption,
    OpenBucket,
    Part,
    SseC,
    SseKms,
    SseKmsBucketKey,
    SseS3,
    Upload,
)
from strongroom.metadata.rows import PART_COLUMNS, UPLOAD_COLUMNS, open_part, open_upload, seal_part, seal_upload

COMPLETED_KEPT_US = 24 * 3600 * 1_000_000

_UPLOAD = f"SELECT {UPLOAD_COLUMNS} FROM uploads WHERE bucket_id = ? AND key = ? AND upload_id = ?"


def new_upload_id(now_us: int) -> str:
    """48 URL-safe characters that sort by the time of their creation, as ListMultipartUploads wants uploads of one key."""
    return f"{now_us:016x}{secrets.token_hex(16)}"


# --- reading


async def get_upload(database: Database, bucket: OpenBucket, key: str, upload_id: str) -> Upload | None:
    """The upload, open or completed. Raises IntegrityError."""
    rows = await database.read(_UPLOAD, (bucket.bucket_id, key, upload_id))
    return open_upload(bucket, rows[0]) if rows else None


async def list_parts(
    database: Database, bucket: OpenBucket, upload: Upload, *, after: int = 0, limit: int = 10_000
) -> list[Part]:
    """Pending parts with number > `after`, in order. Raises IntegrityError."""
    rows = await database.read(
        f"SELECT {PART_COLUMNS} FROM upload_parts WHERE bucket_id = ? AND object_id = ? AND part_number > ?"
        " ORDER BY part_number LIMIT ?",
        (bucket.bucket_id, upload.object_id, after, limit),
    )
    return [open_part(bucket, upload.object_id, row) for row in rows]


async def list_uploads(
    database: Database,
    bucket: OpenBucket,
    *,
    lower: str,
    inclusive: bool,
    after_upload_id: str | None,
    below: str | None,
    limit: int,
) -> list[Upload]:
    """Open uploads by key and time, from `lower` (or after it); with `after_upload_id`, later ones of `lower` itself
    come first.
    """
    if after_upload_id is not None:
        rest = await database.read(
            f"SELECT {UPLOAD_COLUMNS} FROM uploads WHERE bucket_id = ? AND key = ? AND upload_id > ? ORDER BY upload_id LIMIT ?",
            (bucket.bucket_id, lower, after_upload_id, limit),
        )
        found = [open_upload(bucket, row) for row in rest]
        if len(found) == limit:
            return found
        return found + await list_uploads(
            database,
            bucket,
            lower=lower,
            inclusive=False,
            after_upload_id=None,
            below=below,
            limit=limit - len(found),
        )
    at_least = ">=" if inclusive else ">"
    rows = await database.read(
        f"SELECT {UPLOAD_COLUMNS} FROM uploads WHERE bucket_id = ? AND key {at_least} ? AND (? IS NULL OR key < ?)"
        " ORDER BY key, upload_id LIMIT ?",
        (bucket.bucket_id, lower, below, below, limit),
    )
    return [open_upload(bucket, row) for row in rows]


# --- writing (inside a transaction)


def find_upload(tx: Connection, bucket: OpenBucket, key: str, upload_id: str) -> Upload | None:
    rows = tx.execute(_UPLOAD, (bucket.bucket_id, key, upload_id))
    return open_upload(bucket, rows[0]) if rows else None


def create_upload(tx: Connection, bucket: OpenBucket, upload: Upload) -> None:
    """Raises BucketKeyGone."""
    if isinstance(upload.encryption, SseKmsBucketKey):
        require_bucket_key(tx, bucket, upload.encryption.bucket_key_id)
    row = seal_upload(bucket, upload)
    marks = ", ".join("?" * len(row))
    tx.execute(
        f"INSERT INTO uploads (bucket_id, {UPLOAD_COLUMNS}) VALUES (?, {marks})",
        (bucket.bucket_id, *row),
    )


def put_part(tx: Connection, bucket: OpenBucket, upload: Upload, part: Part, *, delete_after_us: int) -> None:
    """Record a part; an earlier attempt at the same number goes. Raises BlobCondemned, IntegrityError."""
    rows = tx.execute(
        f"SELECT {PART_COLUMNS} FROM upload_parts WHERE bucket_id = ? AND object_id = ? AND part_number = ?",
        (bucket.bucket_id, upload.object_id, part.part_number),
    )
    revision = 1
    if rows:
        earlier = open_part(bucket, upload.object_id, rows[0])
        revision = int(rows[0][4]) + 1  # type: ignore[arg-type]
        deletions.doom(tx, [earlier.blob_id], delete_after_us=delete_after_us)
    deletions.claim(tx, part.blob_id, upload.object_id)
    tx.execute(
        f"INSERT INTO upload_parts (bucket_id, object_id, {PART_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (bucket_id, object_id, part_number) DO UPDATE SET size = excluded.size, modified_us = excluded.modified_us,"
        " secret_version = excluded.secret_version, revision = excluded.revision, sealed = excluded.sealed",
        (bucket.bucket_id, upload.object_id, *seal_part(bucket, upload.object_id, part, revision)),
    )


def pending_parts(tx: Connection, bucket: OpenBucket, upload: Upload) -> dict[int, Part]:
    """All the pending parts by number. Raises IntegrityError."""
    rows = tx.execute(
        f"SELECT {PART_COLUMNS} FROM upload_parts WHERE bucket_id = ? AND object_id = ? ORDER BY part_number",
        (bucket.bucket_id, upload.object_id),
    )
    return {part.part_number: part for part in (open_part(bucket, upload.object_id, row) for row in rows)}


def finish_upload(
    tx: Connection,
    bucket: OpenBucket,
    upload: Upload,
    completion: Completion,
    *,
    unused: Collection[Part],
    now_us: int,
    delete_after_us: int,
) -> None:
    """The upload is an object now: its part rows go, `unused` parts' blobs are queued, its own row stays for a repeated
    Complete.
    """
    deletions.doom(tx, [part.blob_id for part in unused], delete_after_us=delete_after_us)
    _remove_parts(tx, bucket, upload)
    done = replace(
        upload,
        completion=completion,
        finished_us=now_us,
        revision=upload.revision + 1,
        # The sealed object key went on into the version; a finished upload has no use for one.
        encryption=without_keys(upload.encryption),
        secret_version=bucket.version,
    )
    _delete_row(tx, bucket, upload)
    create_upload(tx, bucket, done)


def without_keys(encryption: Encryption) -> Encryption:
    """What an answer says of an encryption, and nothing that opens."""
    match encryption:
        case SseKms():
            return replace(encryption, ciphertext_blob=b"", context=())
        case Dsse(inner=inner):
            return Dsse(inner=replace(inner, ciphertext_blob=b"", context=()), sealed_key=b"")
        case SseS3() | SseC() | SseKmsBucketKey():
            return replace(encryption, sealed_key=b"")


def abort_upload(tx: Connection, bucket: OpenBucket, upload: Upload, *, delete_after_us: int) -> None:
    """Remove an open upload, its parts and their blobs."""
    _remove_parts(tx, bucket, upload)
    deletions.doom_object(tx, upload.object_id, delete_after_us=delete_after_us)
    _delete_row(tx, bucket, upload)


def forget_finished(tx: Connection, *, now_us: int, limit: int) -> int:
    """Drop completed uploads whose time for a repeated Complete has passed, `limit` at most; how many."""
    tx.execute(
        "DELETE FROM uploads WHERE (bucket_id, key, upload_id) IN"
        " (SELECT bucket_id, key, upload_id FROM uploads WHERE finished_us <= ? LIMIT ?)",
        (now_us - COMPLETED_KEPT_US, limit),
    )
    return tx.changed


def _remove_parts(tx: Connection, bucket: OpenBucket, upload: Upload) -> None:
    tx.execute("DELETE FROM upload_parts WHERE bucket_id = ? AND object_id = ?", (bucket.bucket_id, upload.object_id))


def _delete_row(tx: Connection, bucket: OpenBucket, upload: Upload) -> None:
    tx.execute(
        "DELETE FROM uploads WHERE bucket_id = ? AND key = ? AND upload_id = ? AND revision = ?",
        (bucket.bucket_id, upload.key, upload.upload_id, upload.revision),
    )
