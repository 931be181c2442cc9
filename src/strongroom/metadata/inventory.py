"""All rows of the index, as `verify` and `backup` walk through them: in pages, raw, in the order of their primary keys.

Nothing is opened here, for who walks wants to go on where a row does not open. Each page is a read of its own: a long
one would keep the write-ahead log from being emptied.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import cast

from strongroom.database.database import Database, Row, Value
from strongroom.metadata import bucket_keys
from strongroom.metadata.rows import PART_COLUMNS, UPLOAD_COLUMNS, VERSION_COLUMNS

_PAGE = 200

_OF_BUCKET = "SELECT bucket_id FROM buckets WHERE ? IS NULL OR name = ?"
_VERSION = "SELECT 1 FROM object_versions v WHERE v.object_id = r.object_id"
_OPEN_UPLOAD = "SELECT 1 FROM uploads u WHERE u.object_id = r.object_id AND u.state = 0"
_OF_A_BUCKET = ("object_versions", "object_parts", "uploads", "upload_parts", "bucket_keys", "bucket_secrets")
_OF_AN_OBJECT = {
    "pages of parts": f"object_parts r WHERE NOT EXISTS ({_VERSION})",
    "pending parts": f"upload_parts r WHERE NOT EXISTS ({_OPEN_UPLOAD})",
    "blobs": "blobs r WHERE object_id IS NOT NULL AND delete_after_us IS NULL"
    f" AND NOT EXISTS ({_VERSION}) AND NOT EXISTS ({_OPEN_UPLOAD})",
}


def bucket_names(database: Database, *, only: str | None = None) -> AsyncIterator[str]:
    """Of all buckets, or `only` if there is such a bucket."""

    async def names() -> AsyncIterator[str]:
        sql = "SELECT name FROM buckets WHERE (? IS NULL OR name = ?) AND name > ? ORDER BY name LIMIT ?"
        async for (name,) in _paged(database, sql, (only, only), ("",)):
            yield cast("str", name)

    return names()


def version_rows(database: Database, bucket_id: bytes) -> AsyncIterator[Row]:
    """VERSION_COLUMNS, which begin with key and sequence."""
    sql = (
        f"SELECT {VERSION_COLUMNS} FROM object_versions WHERE bucket_id = ? AND (key, sequence) > (?, ?)"
        " ORDER BY key, sequence LIMIT ?"
    )
    return _paged(database, sql, (bucket_id,), ("", -1))


async def version_row(database: Database, bucket_id: bytes, row: Row) -> Row | None:
    """The same row as it is now."""
    sql = f"SELECT {VERSION_COLUMNS} FROM object_versions WHERE bucket_id = ? AND key = ? AND sequence = ?"
    return _one(await database.read(sql, (bucket_id, *row[:2])))


def upload_rows(database: Database, bucket_id: bytes) -> AsyncIterator[Row]:
    """UPLOAD_COLUMNS, which begin with key and upload id; completed uploads too."""
    sql = (
        f"SELECT {UPLOAD_COLUMNS} FROM uploads WHERE bucket_id = ? AND (key, upload_id) > (?, ?)"
        " ORDER BY key, upload_id LIMIT ?"
    )
    return _paged(database, sql, (bucket_id,), ("", ""))


async def upload_row(database: Database, bucket_id: bytes, row: Row) -> Row | None:
    """The same row as it is now."""
    sql = f"SELECT {UPLOAD_COLUMNS} FROM uploads WHERE bucket_id = ? AND key = ? AND upload_id = ?"
    return _one(await database.read(sql, (bucket_id, *row[:2])))


def part_rows(database: Database, bucket_id: bytes, object_id: bytes) -> AsyncIterator[Row]:
    """PART_COLUMNS of an upload's pending parts, which begin with the part number."""
    sql = (
        f"SELECT {PART_COLUMNS} FROM upload_parts WHERE bucket_id = ? AND object_id = ? AND part_number > ?"
        " ORDER BY part_number LIMIT ?"
    )
    return _paged(database, sql, (bucket_id, object_id), (-1,))


def bucket_key_rows(database: Database, bucket_id: bytes) -> AsyncIterator[Row]:
    """bucket_keys.COLUMNS, which begin with the bucket key's id."""
    sql = f"SELECT {bucket_keys.COLUMNS} FROM bucket_keys WHERE bucket_id = ? AND bucket_key_id > ? ORDER BY bucket_key_id LIMIT ?"
    return _paged(database, sql, (bucket_id,), (b"",))


async def bucket_key_row(database: Database, bucket_id: bytes, row: Row) -> Row | None:
    """The same row as it is now."""
    sql = f"SELECT {bucket_keys.COLUMNS} FROM bucket_keys WHERE bucket_id = ? AND bucket_key_id = ?"
    return _one(await database.read(sql, (bucket_id, row[0])))


async def part_row(database: Database, bucket_id: bytes, object_id: bytes, row: Row) -> Row | None:
    """The same row as it is now."""
    sql = f"SELECT {PART_COLUMNS} FROM upload_parts WHERE bucket_id = ? AND object_id = ? AND part_number = ?"
    return _one(await database.read(sql, (bucket_id, object_id, row[0])))


async def page_count(database: Database, bucket_id: bytes, object_id: bytes) -> int:
    """How many pages of parts an object has, named by its version or not."""
    sql = "SELECT count(*) FROM object_parts WHERE bucket_id = ? AND object_id = ?"
    return cast("int", (await database.read(sql, (bucket_id, object_id)))[0][0])


async def strays(database: Database) -> list[str]:
    """What is wrong between tables: rows that no bucket, object or open upload answers for.

    Every transaction removes those together, so what they belonged to was taken out of the index by force.
    """
    found = []
    for table in _OF_A_BUCKET:
        rows = await database.read(
            f"SELECT DISTINCT bucket_id FROM {table} r"
            " WHERE NOT EXISTS (SELECT 1 FROM buckets b WHERE b.bucket_id = r.bucket_id)"
        )
        found += [f"{table} has rows of the bucket with id {_hex(row[0])}, which does not exist" for row in rows]
    for what, source in _OF_AN_OBJECT.items():
        rows = await database.read(f"SELECT DISTINCT object_id FROM {source}")
        found += [f"there are {what} of the object with id {_hex(row[0])}, whose own row is missing" for row in rows]
    for table in ("object_versions", "uploads"):
        rows = await database.read(
            f"SELECT DISTINCT bucket_key_id FROM {table} r WHERE bucket_key_id IS NOT NULL AND NOT EXISTS"
            " (SELECT 1 FROM bucket_keys k WHERE k.bucket_id = r.bucket_id AND k.bucket_key_id = r.bucket_key_id)"
        )
        found += [f"{table} has rows that name the bucket key {_hex(row[0])}, which does not exist" for row in rows]
    return found


async def claim_of(database: Database, blob_id: bytes) -> tuple[bytes | None, bool] | None:
    """The object id that claims a blob, and whether the blob is queued for deletion or deleted; None: nothing does."""
    rows = await database.read("SELECT object_id, delete_after_us, deleted_us FROM blobs WHERE blob_id = ?", (blob_id,))
    if not rows:
        return None
    return cast("bytes | None", rows[0][0]), rows[0][1:] != (None, None)


async def total_size(database: Database, *, only: str | None = None) -> int:
    """Plaintext bytes of all versions and pending parts, or of those of one bucket."""
    rows = await database.read(
        f"SELECT (SELECT coalesce(sum(size), 0) FROM object_versions WHERE bucket_id IN ({_OF_BUCKET}))"
        f" + (SELECT coalesce(sum(size), 0) FROM upload_parts WHERE bucket_id IN ({_OF_BUCKET}))",
        (only, only, only, only),
    )
    return cast("int", rows[0][0])


# --- a copy of the index, read without an event loop

ReadCopy = Callable[[str, Sequence[Value]], list[Row]]


def blobs_in_use(read: ReadCopy) -> Iterator[list[bytes]]:
    """The ids of all blobs that rows name, in pages."""
    after = b""
    sql = "SELECT blob_id FROM blobs WHERE delete_after_us IS NULL AND blob_id > ? ORDER BY blob_id LIMIT ?"
    while rows := read(sql, (after, _PAGE)):
        page = [cast("bytes", blob_id) for (blob_id,) in rows]
        yield page
        after = page[-1]


def blob_count(read: ReadCopy) -> int:
    """How many `blobs_in_use` there are."""
    return cast("int", read("SELECT count(*) FROM blobs WHERE delete_after_us IS NULL", ())[0][0])


def store_keys_in_use(read: ReadCopy) -> set[bytes]:
    """The ids of the store keys without which something in the index does not open."""
    sql = "SELECT store_key_id FROM bucket_secrets UNION SELECT value FROM store WHERE name = 'primary_store_key_id'"
    return {cast("bytes", identity) for (identity,) in read(sql, ())}


async def _paged(
    database: Database, sql: str, fixed: tuple[Value, ...], after: tuple[Value, ...]
) -> AsyncIterator[Row]:
    """`sql` takes `fixed`, `after` and a limit; its rows are in the order of their first columns, which `after` is
    compared with.
    """
    while rows := await database.read(sql, (*fixed, *after, _PAGE)):
        for row in rows:
            yield row
        after = rows[-1][: len(after)]


def _one(rows: list[Row]) -> Row | None:
    return rows[0] if rows else None


def _hex(value: Value) -> str:
    return value.hex() if isinstance(value, bytes) else repr(value)
