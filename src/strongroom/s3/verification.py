"""Is what the index says true? Every row is opened, and every blob that a row names is read and authenticated.

It works beside running servers, so a row that looks damaged is read once more: only what stands there unchanged is
damage, for an object may have been deleted, replaced or sealed anew meanwhile. Memory is bounded: rows come in pages,
blobs in blocks. Blobs under SSE-C, whose key nobody here has, are held against the checksum of their ciphertext.

Nothing is changed or mended, and nothing is known of printing.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Literal, TypeVar, cast

from strongroom.aws.checksums import hasher
from strongroom.blobs.store import BlobId, BlobMissing, StorageUnavailable
from strongroom.crypto.errors import IntegrityError, KeyMismatch
from strongroom.crypto.sealing import body_context
from strongroom.crypto.segments import HEADER_SIZE, SegmentReader, ciphertext_size, whole
from strongroom.database.database import Database, Row, Value
from strongroom.keys.store_keys import StoreKeyError
from strongroom.metadata.objects import read_pages
from strongroom.metadata.records import Encryption, ObjectVersion, OpenBucket, Part, SseS3, Upload
from strongroom.metadata.rows import PART_COLUMNS, UPLOAD_COLUMNS, VERSION_COLUMNS, open_part, open_upload, open_version
from strongroom.s3.checksum_values import open_values
from strongroom.s3.object_keys import ObjectKey, unseal
from strongroom.s3.storage import Storage

_PAGE = 200  # rows

Kind = Literal["bucket", "version", "delete marker", "upload", "blob", "blob without key"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One thing is as it should be. `size`: plaintext bytes of a blob."""

    kind: Kind
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """Where, as far as it applies, and what is wrong. `part`: 0 for the only one of a single PUT."""

    problem: str
    bucket: str = ""
    key: str = ""
    version_id: str = ""
    upload_id: str = ""
    part: int | None = None


Finding = Checked | Damage
Progress = Callable[[int], None]
"""Called with the number of plaintext bytes that were checked since the last call."""


async def verify(
    storage: Storage, *, only: str | None = None, progress: Progress = lambda _size: None
) -> AsyncGenerator[Finding, None]:
    """Everything, or the bucket `only`. Raises Unavailable where the index can't be read now."""
    if only is None:
        async for damage in _strays(storage.database):
            yield damage
    async for (name,) in _rows(storage.database, "SELECT name FROM buckets WHERE name > ? ORDER BY name", ("",)):
        if only in (None, name):
            async for finding in _bucket(storage, cast("str", name), progress):
                yield finding


async def total_size(database: Database, *, only: str | None = None) -> int:
    """Plaintext bytes that `verify` will read, about."""
    of_bucket = "SELECT bucket_id FROM buckets WHERE ? IS NULL OR name = ?"
    rows = await database.read(
        f"SELECT (SELECT coalesce(sum(size), 0) FROM object_versions WHERE bucket_id IN ({of_bucket}))"  # noqa: S608 - constants
        f" + (SELECT coalesce(sum(size), 0) FROM upload_parts WHERE bucket_id IN ({of_bucket}))",
        (only, only, only, only),
    )
    return cast("int", rows[0][0])


# --- rows that belong to nothing


async def _strays(database: Database) -> AsyncIterator[Damage]:
    """Rows that no bucket, object or upload answers for. What they belonged to must have been taken out of the index by
    force: every transaction removes them together.
    """
    for table in ("object_versions", "object_parts", "uploads", "upload_parts", "bucket_secrets"):
        sql = f"SELECT DISTINCT bucket_id FROM {table} r WHERE NOT EXISTS (SELECT 1 FROM buckets b WHERE b.bucket_id = r.bucket_id)"  # noqa: S608, E501 - constants
        for (bucket_id,) in await database.read(sql):
            yield Damage(problem=f"the table {table} has rows of bucket id {_hex(bucket_id)}, which does not exist")
    version = "SELECT 1 FROM object_versions v WHERE v.object_id = r.object_id"
    upload = "SELECT 1 FROM uploads u WHERE u.object_id = r.object_id AND u.state = 0"
    for what, sql in (
        ("pages of parts", f"SELECT DISTINCT object_id FROM object_parts r WHERE NOT EXISTS ({version})"),  # noqa: S608
        ("parts", f"SELECT DISTINCT object_id FROM upload_parts r WHERE NOT EXISTS ({upload})"),  # noqa: S608
        (
            "blobs",
            "SELECT DISTINCT object_id FROM blobs r WHERE object_id IS NOT NULL AND delete_after_us IS NULL"  # noqa: S608
            f" AND NOT EXISTS ({version}) AND NOT EXISTS ({upload})",
        ),
    ):
        for (object_id,) in await database.read(sql):
            yield Damage(problem=f"there are {what} of object id {_hex(object_id)}, whose own row is missing")


# --- buckets and what is in them


async def _bucket(storage: Storage, name: str, progress: Progress) -> AsyncIterator[Finding]:
    try:
        bucket = await _settled(lambda: storage.keyring.open_bucket(name))
    except (IntegrityError, StoreKeyError) as error:
        yield Damage(bucket=name, problem=f"the bucket does not open, and so nothing in it: {error}")
        return
    if bucket is None:
        return  # deleted meanwhile
    yield Checked(kind="bucket")
    walk = _Walk(storage=storage, name=name, bucket_id=bucket.bucket_id, progress=progress)
    async for row in _rows(
        storage.database,
        f"SELECT {VERSION_COLUMNS} FROM object_versions WHERE bucket_id = ? AND (key, sequence) > (?, ?) ORDER BY key, sequence",  # noqa: S608, E501
        (bucket.bucket_id, "", -1),
    ):
        for finding in await walk.judged(row, walk.version, walk.version_row(row)):
            yield finding
    async for row in _rows(
        storage.database,
        f"SELECT {UPLOAD_COLUMNS} FROM uploads WHERE bucket_id = ? AND (key, upload_id) > (?, ?) ORDER BY key, upload_id",  # noqa: S608
        (bucket.bucket_id, "", ""),
    ):
        for finding in await walk.judged(row, walk.upload, walk.upload_row(row)):
            yield finding


async def _settled(read: Callable[[], Awaitable[T]]) -> T:
    """Once more after a failure: a bucket's row and its keys change while they are read. Raises what the second time
    raises.
    """
    try:
        return await read()
    except (IntegrityError, StoreKeyError):
        return await read()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Walk:
    """One bucket. Findings of one row are gathered, not streamed: they count only when the row has not changed."""

    storage: Storage
    name: str
    bucket_id: bytes
    progress: Progress

    def version_row(self, row: Row) -> Callable[[], Awaitable[Row | None]]:
        return self._reread(
            f"SELECT {VERSION_COLUMNS} FROM object_versions WHERE bucket_id = ? AND key = ? AND sequence = ?",  # noqa: S608
            row[:2],
        )

    def upload_row(self, row: Row) -> Callable[[], Awaitable[Row | None]]:
        return self._reread(
            f"SELECT {UPLOAD_COLUMNS} FROM uploads WHERE bucket_id = ? AND key = ? AND upload_id = ?",  # noqa: S608
            row[:2],
        )

    def _reread(self, sql: str, identity: Row) -> Callable[[], Awaitable[Row | None]]:
        async def read() -> Row | None:
            rows = await self.storage.database.read(sql, (self.bucket_id, *identity))
            return rows[0] if rows else None

        return read

    async def judged(
        self,
        row: Row | None,
        judge: Callable[[OpenBucket, Row], Awaitable[list[Finding]]],
        read: Callable[[], Awaitable[Row | None]],
    ) -> list[Finding]:
        """What `judge` finds of the row as it stands; nothing where it went meanwhile."""
        while row is not None:
            bucket = await self.storage.keyring.open_bucket(self.name)  # after the row, so that it has the row's secret
            if bucket is None or bucket.bucket_id != self.bucket_id:
                break
            findings = await judge(bucket, row)
            before, row = row, await read()
            if row == before or (row is not None and not any(isinstance(each, Damage) for each in findings)):
                return findings
        return []

    # --- judges

    async def version(self, bucket: OpenBucket, row: Row) -> list[Finding]:
        where = Damage(problem="", bucket=self.name, key=cast("str", row[0]), version_id=cast("str", row[2]))
        try:
            version = open_version(bucket, row)
            if version.is_delete_marker:
                return [Checked(kind="delete marker")]
            parts = await self._parts_of(bucket, version)
            key = _key_of(bucket, version)
            if key is not None:
                open_values(key, version.checksums)
        except IntegrityError as error:
            return [replace(where, problem=str(error))]
        found: list[Finding] = [Checked(kind="version")]
        for part in parts:
            found.append(await self._blob(version.object_id, part, key, where))
        return found

    async def upload(self, bucket: OpenBucket, row: Row) -> list[Finding]:
        where = Damage(problem="", bucket=self.name, key=cast("str", row[0]), upload_id=cast("str", row[1]))
        try:
            upload = open_upload(bucket, row)
            key = None if upload.completion else _key_of(bucket, upload)
        except IntegrityError as error:
            return [replace(where, problem=str(error))]
        found: list[Finding] = [Checked(kind="upload")]
        if upload.completion:
            return found
        rows = await self.storage.database.read(
            f"SELECT {PART_COLUMNS} FROM upload_parts WHERE bucket_id = ? AND object_id = ? ORDER BY part_number",  # noqa: S608
            (self.bucket_id, upload.object_id),
        )
        for part_row in rows:
            found += await self.judged(part_row, self._pending(upload, key, where), self._part_row(upload, part_row))
        return found

    def _part_row(self, upload: Upload, row: Row) -> Callable[[], Awaitable[Row | None]]:
        return self._reread(
            f"SELECT {PART_COLUMNS} FROM upload_parts WHERE bucket_id = ? AND object_id = ? AND part_number = ?",  # noqa: S608
            (upload.object_id, row[0]),
        )

    def _pending(
        self, upload: Upload, key: ObjectKey | None, where: Damage
    ) -> Callable[[OpenBucket, Row], Awaitable[list[Finding]]]:
        async def judge(bucket: OpenBucket, row: Row) -> list[Finding]:
            try:
                part = open_part(bucket, upload.object_id, row)
                if (part.part_number, part.size, part.modified_us) != row[:3]:
                    raise IntegrityError("the columns of a part are not what was sealed")
            except IntegrityError as error:
                return [replace(where, part=cast("int", row[0]), problem=str(error))]
            return [await self._blob(upload.object_id, part, key, where)]

        return judge

    async def _parts_of(self, bucket: OpenBucket, version: ObjectVersion) -> list[Part]:
        """Raises IntegrityError where they are not what the version says."""
        parts = list(version.parts)
        if version.pages:
            rows = await self.storage.database.read(
                "SELECT count(*) FROM object_parts WHERE bucket_id = ? AND object_id = ?",
                (self.bucket_id, version.object_id),
            )
            if rows != [(len(version.pages),)]:
                raise IntegrityError("there are more or fewer pages of parts than the version names")
            parts = await read_pages(self.storage.database, bucket, version, 0, len(version.pages) - 1)
        if sum(part.size for part in parts) != version.size or len(parts) != max(version.part_count, 1):
            raise IntegrityError("the parts of an object do not add up to it")
        return parts

    # --- blobs

    async def _blob(self, object_id: bytes, part: Part, key: ObjectKey | None, where: Damage) -> Finding:
        """One part's blob, and the row that keeps it from being deleted."""
        try:
            await self._check_claim(object_id, part)
            await self._check_bytes(part, key)
        except (IntegrityError, StorageUnavailable) as error:
            return replace(where, part=part.part_number, problem=f"blob {part.blob_id.hex()}: {error}")
        return Checked(kind="blob" if key else "blob without key", size=part.size)

    async def _check_claim(self, object_id: bytes, part: Part) -> None:
        rows = await self.storage.database.read(
            "SELECT object_id, delete_after_us, deleted_us FROM blobs WHERE blob_id = ?", (part.blob_id,)
        )
        if not rows:
            raise IntegrityError("nothing claims it, so that it could be taken for an orphan")
        if rows[0][0] != object_id:
            raise IntegrityError("another object claims it")
        if rows[0][1:] != (None, None):
            raise IntegrityError("it is queued for deletion")

    async def _check_bytes(self, part: Part, key: ObjectKey | None) -> None:
        """Raises IntegrityError, StorageUnavailable."""
        blob_id, expected = BlobId(part.blob_id), ciphertext_size(part.size)
        checksum, begin, reader = hasher("CRC64NVME"), b"", None
        try:
            if (size := await self.storage.blobs.size(blob_id)) != expected:
                raise IntegrityError(f"it has {size} bytes and not {expected}")
            if key is not None:
                context = body_context(key.object_id, part.part_number)
                reader = SegmentReader(key.material, context, part.header, part.size, whole(part.size))
                open_values(key, part.checksums, *([part.part_number] if part.checksums else []))
            async with aclosing(self.storage.blobs.read(blob_id, 0, expected)) as blocks:
                async for block in blocks:
                    begin = begin or block[:HEADER_SIZE]
                    checksum.update(block)
                    if reader is not None:
                        reader.feed(block)
                    self.progress(len(block) * part.size // expected)
            if reader is not None:
                reader.finish()
        except BlobMissing as error:
            raise IntegrityError("it is missing or cut") from error
        except KeyMismatch as error:
            raise IntegrityError("it is not of this object and part") from error
        if begin != part.header:
            raise IntegrityError("it begins with another header")
        if checksum.digest() != part.stored_crc64nvme:
            raise IntegrityError("its bytes do not have the checksum that was stored with them")


def _key_of(bucket: OpenBucket, record: ObjectVersion | Upload) -> ObjectKey | None:
    """The object key, or None under SSE-C. Raises IntegrityError."""
    encryption: Encryption | None = record.encryption
    if not isinstance(encryption, SseS3):
        return None
    return unseal(
        bucket, encryption, object_id=record.object_id, secret_version=record.secret_version, customer_key=None
    )


async def _rows(database: Database, sql: str, params: tuple[Value, ...]) -> AsyncIterator[Row]:
    """All the rows, a page at a time, each page a read of its own: a long one would keep the WAL from being emptied.

    `sql` ends in an order by its first columns, and its last parameters are those columns' values to go on after.
    """
    columns = sql.rpartition("ORDER BY")[2].count(",") + 1
    fixed, after = params[:-columns], params[-columns:]
    while rows := await database.read(f"{sql} LIMIT ?", (*fixed, *after, _PAGE)):
        for row in rows:
            yield row
        after = rows[-1][:columns]


def _hex(value: Value) -> str:
    return value.hex() if isinstance(value, bytes) else repr(value)
