"""Object versions and delete markers: what exists, which is the newest, and how one becomes another.

Every change runs inside one serialised transaction and is compare-and-swap: it reads and authenticates the rows that it
replaces, and it names their revision. A key's versions are ordered by `sequence`, which only grows. Keys compare as
UTF-8 bytes.
"""

import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, cast

from strongroom.crypto.errors import IntegrityError
from strongroom.crypto.sealing import open_object_key, seal_object_key
from strongroom.database.database import Connection, Database, Row
from strongroom.metadata import deletions
from strongroom.metadata.bucket_keys import require_bucket_key
from strongroom.metadata.records import (
    NULL_VERSION,
    Dsse,
    ListedVersion,
    ObjectVersion,
    OpenBucket,
    Part,
    SseKmsBucketKey,
    SseS3,
)
from strongroom.metadata.rows import (
    PAGE_COLUMNS,
    VERSION_COLUMNS,
    open_listed,
    open_page,
    open_version,
    seal_page,
    seal_version,
)

PAGE_PARTS = 1000

Check = Callable[[ObjectVersion | None], None]
"""A precondition on the newest version of a key (None: there is none). What it raises undoes the transaction."""

_LATEST = (
    f"SELECT {VERSION_COLUMNS} FROM object_versions WHERE bucket_id = ? AND key = ? ORDER BY sequence DESC LIMIT 1"
)
_BY_ID = f"SELECT {VERSION_COLUMNS} FROM object_versions WHERE bucket_id = ? AND key = ? AND version_id = ?"
_IS_THERE = "SELECT 1 FROM object_versions WHERE bucket_id = ? AND key = ? AND sequence = ? AND object_id = ?"
_VERSION_COLUMNS = VERSION_COLUMNS.split(", ")
# What of a version may change while it stays the same version.
_CHANGING = ("mode", "key_arn", "material_id", "bucket_key_id", "secret_version", "revision", "sealed")
_VERSION_ID = re.compile(r"[0-9a-f]{32}")


class StaleVersion(Exception):
    """The row changed since it was read: read it again and try again."""


# --- reading


async def get_version(
    database: Database, bucket: OpenBucket, key: str, version_id: str | None = None
) -> ObjectVersion | None:
    """The newest version of `key` (it may be a delete marker), or the one named. None: there is none. Raises
    IntegrityError.
    """
    if version_id is None:
        rows = await database.read(_LATEST, (bucket.bucket_id, key))
    else:
        rows = await database.read(_BY_ID, (bucket.bucket_id, key, version_id))
    return open_version(bucket, rows[0]) if rows else None


async def read_pages(
    database: Database, bucket: OpenBucket, version: ObjectVersion, first_page: int, last_page: int
) -> list[Part]:
    """The parts of pages `first_page`..`last_page` (inclusive) in order. Raises IntegrityError where one is missing or
    was changed, StaleVersion where the version went since it was read, and they with it.
    """
    rows = await database.read(
        f"SELECT {PAGE_COLUMNS} FROM object_parts WHERE bucket_id = ? AND object_id = ? AND page BETWEEN ? AND ? ORDER BY page",
        (bucket.bucket_id, version.object_id, first_page, last_page),
    )
    if [row[0] for row in rows] != list(range(first_page, last_page + 1)):
        if not await database.read(_IS_THERE, (bucket.bucket_id, version.key, version.sequence, version.object_id)):
            raise StaleVersion("a version went, and its pages of parts with it")
        raise IntegrityError("a page of parts is missing")
    pages = [open_page(bucket, version.object_id, row) for row in rows]
    if [sum(part.size for part in page) for page in pages] != list(version.pages[first_page : last_page + 1]):
        raise IntegrityError("a page of parts is not the one that the version names")
    return [part for page in pages for part in page]


async def list_latest(
    database: Database, bucket: OpenBucket, *, lower: str, inclusive: bool, below: str | None, limit: int
) -> list[ListedVersion]:
    """The newest version of each of the next `limit` keys, delete markers too, by key.

    Markers come along because only a row that was opened may say that it is one. Raises IntegrityError.
    """
    at_least = ">=" if inclusive else ">"
    rows = await database.read(
        f"SELECT {VERSION_COLUMNS} FROM object_versions v WHERE bucket_id = ? AND key {at_least} ? AND (? IS NULL OR key < ?)"
        " AND NOT EXISTS (SELECT 1 FROM object_versions n WHERE n.bucket_id = v.bucket_id AND n.key = v.key AND n.sequence > v.sequence)"
        " ORDER BY key LIMIT ?",
        (bucket.bucket_id, lower, below, below, limit),
    )
    return [open_listed(bucket, row) for row in rows]


async def list_versions(
    database: Database,
    bucket: OpenBucket,
    *,
    lower: str,
    inclusive: bool,
    before_sequence: int | None,
    below: str | None,
    limit: int,
) -> list[ListedVersion]:
    """The next `limit` versions by key, newest first within one.

    From `lower` (or after it); with `before_sequence`, the versions of `lower` itself that are older than that come
    first.
    """
    if before_sequence is not None:
        older = await database.read(
            f"SELECT {VERSION_COLUMNS} FROM object_versions WHERE bucket_id = ? AND key = ? AND sequence < ?"
            " ORDER BY sequence DESC LIMIT ?",
            (bucket.bucket_id, lower, before_sequence, limit),
        )
        listed = [open_listed(bucket, row) for row in older]
        if len(listed) == limit:
            return listed
        return listed + await list_versions(
            database,
            bucket,
            lower=lower,
            inclusive=False,
            before_sequence=None,
            below=below,
            limit=limit - len(listed),
        )
    at_least = ">=" if inclusive else ">"
    rows = await database.read(
        f"SELECT {VERSION_COLUMNS} FROM object_versions WHERE bucket_id = ? AND key {at_least} ? AND (? IS NULL OR key < ?)"
        " ORDER BY key, sequence DESC LIMIT ?",
        (bucket.bucket_id, lower, below, below, limit),
    )
    return [open_listed(bucket, row) for row in rows]


async def newest_sequence(database: Database, bucket: OpenBucket, key: str) -> int | None:
    """The sequence of a key's newest version, for `IsLatest` of the first version on a page."""
    rows = await database.read(
        "SELECT max(sequence) FROM object_versions WHERE bucket_id = ? AND key = ?", (bucket.bucket_id, key)
    )
    return cast("int | None", rows[0][0])


# --- version ids


def new_version_id(sequence: int) -> str:
    """32 URL-safe characters that sort newest first and hold the sequence, so that a listing can go on after a version
    that is gone.
    """
    return f"{2**64 - 1 - sequence:016x}{secrets.token_hex(8)}"


def sequence_of(version_id: str) -> int | None:
    """The sequence in a version id of ours; None for "null" and for strings that we never made."""
    if _VERSION_ID.fullmatch(version_id) is None:
        return None
    sequence = 2**64 - 1 - int(version_id[:16], 16)
    return sequence if sequence < 2**63 else None  # BIGINT


# --- writing (inside a transaction)


def latest(tx: Connection, bucket: OpenBucket, key: str) -> ObjectVersion | None:
    """The newest version of `key`, authenticated. Raises IntegrityError."""
    rows = tx.execute(_LATEST, (bucket.bucket_id, key))
    return open_version(bucket, rows[0]) if rows else None


def find(tx: Connection, bucket: OpenBucket, key: str, version_id: str | None) -> ObjectVersion | None:
    """As `get_version`, inside a transaction."""
    if version_id is None:
        return latest(tx, bucket, key)
    rows = tx.execute(_BY_ID, (bucket.bucket_id, key, version_id))
    return open_version(bucket, rows[0]) if rows else None


def put_version(
    tx: Connection,
    bucket: OpenBucket,
    new: ObjectVersion,
    *,
    pages: Sequence[Sequence[Part]] = (),
    now_us: int,
    delete_after_us: int,
    check: Check,
) -> ObjectVersion:
    """Make `new` the newest version of its key; its place (sequence, version id, time, revision) is decided here.

    `new.secret_version` must be the bucket's current one. With versioning off or suspended the null version is
    replaced, and its blobs are queued for deletion unless `new` keeps its object id. Raises what `check` raises,
    BlobCondemned, BucketKeyGone, IntegrityError.
    """
    newest = latest(tx, bucket, new.key)
    check(newest)
    sequence = max(now_us, newest.sequence + 1 if newest else 0)
    if bucket.config.versioning == "Enabled":
        version_id = new_version_id(sequence)
    else:
        version_id = NULL_VERSION
        null = newest if newest and newest.version_id == NULL_VERSION else find(tx, bucket, new.key, NULL_VERSION)
        if null:
            if null.object_id == new.object_id:
                _delete_row(tx, bucket, null)
            else:
                remove_version(tx, bucket, null, delete_after_us=delete_after_us)
    record = replace(new, sequence=sequence, version_id=version_id, last_modified_us=now_us, revision=1)
    _insert(tx, bucket, record)
    for number, page in enumerate(pages):
        tx.execute(
            f"INSERT INTO object_parts (bucket_id, object_id, {PAGE_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)",
            (bucket.bucket_id, record.object_id, *seal_page(bucket, record.object_id, number, page)),
        )
    return record


def update_version(tx: Connection, bucket: OpenBucket, old: ObjectVersion, new: ObjectVersion) -> ObjectVersion:
    """Write changed sealed fields of a version, its encryption among them, in place: same identity, next revision,
    current secret. Raises StaleVersion, BucketKeyGone.
    """
    record = rewrapped(bucket, replace(new, revision=old.revision + 1))
    _require_bucket_key(tx, bucket, record)
    row = dict(zip(_VERSION_COLUMNS, seal_version(bucket, record), strict=True))
    tx.execute(
        f"UPDATE object_versions SET {', '.join(f'{column} = ?' for column in _CHANGING)}"
        " WHERE bucket_id = ? AND key = ? AND sequence = ? AND revision = ?",
        (*(row[column] for column in _CHANGING), bucket.bucket_id, old.key, old.sequence, old.revision),
    )
    if not tx.changed:
        raise StaleVersion
    return record


def rewrapped(bucket: OpenBucket, version: ObjectVersion) -> ObjectVersion:
    """The same version under the bucket's current secret: row key and wrapped object key always go together."""
    old = version.secret_version
    if old == bucket.version:
        return version
    encryption = version.encryption
    if isinstance(encryption, SseS3 | Dsse):
        layer = 1 if isinstance(encryption, Dsse) else 0
        ids: dict[str, Any] = {"bucket_id": bucket.bucket_id, "object_id": version.object_id, "layer": layer}
        object_key = open_object_key(bucket.keys[old].wrap_key, encryption.sealed_key, version=old, **ids)
        sealed_key = seal_object_key(bucket.keys[bucket.version].wrap_key, object_key, version=bucket.version, **ids)
        encryption = replace(encryption, sealed_key=sealed_key)
    return replace(version, encryption=encryption, secret_version=bucket.version)


def put_delete_marker(
    tx: Connection, bucket: OpenBucket, key: str, *, now_us: int, delete_after_us: int, check: Check
) -> ObjectVersion:
    """Hide `key` behind a delete marker (versioning Enabled or Suspended; Suspended replaces the null version)."""
    marker = ObjectVersion(
        key=key,
        sequence=0,
        version_id="",
        object_id=secrets.token_bytes(16),
        is_delete_marker=True,
        size=0,
        last_modified_us=0,
        revision=1,
        secret_version=bucket.version,
    )
    return put_version(tx, bucket, marker, now_us=now_us, delete_after_us=delete_after_us, check=check)


def remove_version(tx: Connection, bucket: OpenBucket, version: ObjectVersion, *, delete_after_us: int) -> None:
    """Remove a version for good and queue its blobs. Raises StaleVersion."""
    _delete_row(tx, bucket, version)
    if version.pages:
        tx.execute(
            "DELETE FROM object_parts WHERE bucket_id = ? AND object_id = ?", (bucket.bucket_id, version.object_id)
        )
    deletions.doom_object(tx, version.object_id, delete_after_us=delete_after_us)


def _delete_row(tx: Connection, bucket: OpenBucket, version: ObjectVersion) -> None:
    tx.execute(
        "DELETE FROM object_versions WHERE bucket_id = ? AND key = ? AND sequence = ? AND revision = ?",
        (bucket.bucket_id, version.key, version.sequence, version.revision),
    )
    if not tx.changed:
        raise StaleVersion


def _insert(tx: Connection, bucket: OpenBucket, record: ObjectVersion) -> None:
    _require_bucket_key(tx, bucket, record)
    row: Row = seal_version(bucket, record)
    marks = ", ".join("?" * len(row))
    tx.execute(
        f"INSERT INTO object_versions (bucket_id, {VERSION_COLUMNS}) VALUES (?, {marks})",
        (bucket.bucket_id, *row),
    )


def _require_bucket_key(tx: Connection, bucket: OpenBucket, record: ObjectVersion) -> None:
    if isinstance(record.encryption, SseKmsBucketKey):
        require_bucket_key(tx, bucket, record.encryption.bucket_key_id)
