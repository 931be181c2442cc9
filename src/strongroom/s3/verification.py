"""Is what the index says true? Every row is opened, and every blob that a row names is read and authenticated.

It works beside running servers, so a row that looks damaged is read once more: only what stands there unchanged is
damage, for an object may have been deleted, replaced or sealed anew meanwhile. Memory is bounded: rows come in pages,
blobs in blocks. Blobs under SSE-C and SSE-KMS, whose keys nobody here has, are held against the checksum of their
ciphertext; of two layers (DSSE) the outer one is authenticated with this store's own key, and the inner one is left.

Nothing is changed or mended, and nothing is known of printing.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from strongroom.aws.checksums import hasher
from strongroom.blobs.store import BlobId, BlobMissing, StorageUnavailable
from strongroom.crypto.errors import IntegrityError, KeyMismatch
from strongroom.crypto.segments import HEADER_SIZE
from strongroom.database.database import Row, Value
from strongroom.keys.store_keys import StoreKeyError
from strongroom.metadata import inventory
from strongroom.metadata.bucket_keys import open_bucket_key
from strongroom.metadata.objects import StaleVersion, read_pages
from strongroom.metadata.records import Encryption, ObjectVersion, OpenBucket, Part, SseS3, Upload
from strongroom.metadata.rows import open_part, open_upload, open_version
from strongroom.s3.checksum_values import open_values
from strongroom.s3.messages import Reader, outer_reading, reading, stored_size
from strongroom.s3.object_keys import ObjectKey, outer_key, unseal_here
from strongroom.s3.storage import Storage

Kind = Literal["bucket", "bucket key", "version", "delete marker", "upload", "blob", "outer blob", "blob without key"]
"""Of blobs: authenticated whole; by the outer of their two layers; by the checksum of the ciphertext alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One thing is as it should be. `size`: plaintext bytes of a blob."""

    kind: Kind
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """What is wrong, and where as far as that can be said. `part`: 0 for the only one of a single PUT."""

    problem: str = ""
    bucket: str = ""
    key: str = ""
    version_id: str = ""
    upload_id: str = ""
    part: int | None = None


Finding = Checked | Damage
Progress = Callable[[int], None]
"""Called with the number of plaintext bytes that were read since the last call."""


async def verify(
    storage: Storage, *, only: str | None = None, progress: Progress = lambda _size: None
) -> AsyncGenerator[Finding, None]:
    """Everything, or the bucket `only`. Raises Unavailable where the index can't be read now."""
    if only is None:
        for problem in await inventory.strays(storage.database):
            yield Damage(problem=problem)
    async for name in inventory.bucket_names(storage.database, only=only):
        async for finding in _bucket(storage, name, progress):
            yield finding


async def _bucket(storage: Storage, name: str, progress: Progress) -> AsyncIterator[Finding]:
    try:
        bucket = await storage.keyring.open_bucket(name)
    except (IntegrityError, StoreKeyError) as error:
        yield Damage(bucket=_text(name), problem=f"the bucket does not open, and so nothing in it: {error}")
        return
    if bucket is None:
        return  # deleted meanwhile
    yield Checked(kind="bucket")
    walk = _Walk(storage=storage, name=name, bucket_id=bucket.bucket_id, progress=progress)
    async for row in inventory.bucket_key_rows(storage.database, bucket.bucket_id):
        for finding in await walk.judged(row, walk.bucket_key, inventory.bucket_key_row):
            yield finding
    async for row in inventory.version_rows(storage.database, bucket.bucket_id):
        for finding in await walk.judged(row, walk.version, inventory.version_row):
            yield finding
    async for row in inventory.upload_rows(storage.database, bucket.bucket_id):
        for finding in await walk.judged(row, walk.upload, inventory.upload_row):
            yield finding


@dataclass(frozen=True, slots=True, kw_only=True)
class _Walk:
    """One bucket. What is found of one row is gathered, not streamed: it counts only if the row has not changed."""

    storage: Storage
    name: str
    bucket_id: bytes
    progress: Progress

    async def judged(
        self,
        row: Row | None,
        judge: Callable[[OpenBucket, Row], Awaitable[list[Finding]]],
        read_again: Callable[..., Awaitable[Row | None]],
    ) -> list[Finding]:
        """What `judge` finds of the row as it stands; nothing where it went meanwhile."""
        while row is not None:
            # Opened after the row was read, so that it has the secret that the row names.
            bucket = await self.storage.keyring.open_bucket(self.name)
            if bucket is None or bucket.bucket_id != self.bucket_id:
                break
            findings = await judge(bucket, row)
            if not any(isinstance(finding, Damage) for finding in findings):
                return findings
            before, row = row, await read_again(self.storage.database, self.bucket_id, row=row)
            if row == before:
                return findings
        return []

    # --- rows

    async def bucket_key(self, bucket: OpenBucket, row: Row) -> list[Finding]:
        try:
            open_bucket_key(bucket, row)
        except IntegrityError as error:
            name = row[0].hex() if isinstance(row[0], bytes) else repr(row[0])
            return [Damage(bucket=_text(self.name), problem=f"bucket key {name}: {error}")]
        return [Checked(kind="bucket key")]

    async def version(self, bucket: OpenBucket, row: Row) -> list[Finding]:
        where = Damage(bucket=_text(self.name), key=_text(row[0]), version_id=_text(row[2]))
        try:
            version = open_version(bucket, row)
            if version.is_delete_marker:
                return [Checked(kind="delete marker")]
            keys = _keys_of(bucket, version)
            if keys.whole is not None:
                open_values(keys.whole, version.checksums)
            parts = await self._parts_of(bucket, version)
        except (IntegrityError, StaleVersion) as error:  # which of them it is, `judged` finds out
            return [replace(where, problem=str(error))]
        blobs = [await self._blob(keys, part, where) for part in parts]
        return [Checked(kind="version"), *blobs]

    async def upload(self, bucket: OpenBucket, row: Row) -> list[Finding]:
        where = Damage(bucket=_text(self.name), key=_text(row[0]), upload_id=_text(row[1]))
        try:
            upload = open_upload(bucket, row)
            if upload.completion:
                return [Checked(kind="upload")]
            keys = _keys_of(bucket, upload)
        except IntegrityError as error:
            return [replace(where, problem=str(error))]
        found: list[Finding] = [Checked(kind="upload")]
        read_again = partial(inventory.part_row, object_id=upload.object_id)
        async for part_row in inventory.part_rows(self.storage.database, self.bucket_id, upload.object_id):
            found += await self.judged(part_row, partial(self._pending_part, upload, keys, where), read_again)
        return found

    async def _pending_part(
        self, upload: Upload, keys: "_Keys", where: Damage, bucket: OpenBucket, row: Row
    ) -> list[Finding]:
        try:
            part = open_part(bucket, upload.object_id, row)
        except IntegrityError as error:
            return [replace(where, part=row[0] if isinstance(row[0], int) else None, problem=str(error))]
        return [await self._blob(keys, part, where)]

    async def _parts_of(self, bucket: OpenBucket, version: ObjectVersion) -> list[Part]:
        """Raises IntegrityError where they are not what the version says, StaleVersion where it went."""
        database, parts = self.storage.database, list(version.parts)
        if await inventory.page_count(database, self.bucket_id, version.object_id) != len(version.pages):
            raise IntegrityError("there are more or fewer pages of parts than the version names")
        if version.pages:
            parts = await read_pages(database, bucket, version, 0, len(version.pages) - 1)
        if sum(part.size for part in parts) != version.size or len(parts) != max(version.part_count, 1):
            raise IntegrityError("the parts of an object do not add up to it")
        return parts

    # --- blobs

    async def _blob(self, keys: "_Keys", part: Part, where: Damage) -> Finding:
        """One part's blob, and the row that keeps it from being deleted."""
        try:
            await self._check_claim(keys.object_id, part)
            await self._check_bytes(part, keys)
        except (IntegrityError, StorageUnavailable) as error:
            return replace(where, part=part.part_number, problem=f"blob {part.blob_id.hex()}: {error}")
        return Checked(kind=keys.kind, size=part.size)

    async def _check_claim(self, object_id: bytes, part: Part) -> None:
        claim = await inventory.claim_of(self.storage.database, part.blob_id)
        if claim is None:
            raise IntegrityError("nothing claims it, so that it would go as an orphan")
        claimed_by, is_doomed = claim
        if claimed_by != object_id:
            raise IntegrityError("another object claims it")
        if is_doomed:
            raise IntegrityError("it is queued for deletion")

    async def _check_bytes(self, part: Part, keys: "_Keys") -> None:
        """Raises IntegrityError, StorageUnavailable."""
        blob_id, length = BlobId(part.blob_id), stored_size(keys.encryption, part.size)
        checksum, begin, inner = hasher("CRC64NVME"), b"", b""
        try:
            reader = _reader(keys, part)
            if (found := await self.storage.blobs.size(blob_id)) != length:
                raise IntegrityError(f"it has {found} bytes and not {length}")
            async with aclosing(self.storage.blobs.read(blob_id, 0, length)) as blocks:
                async for block in blocks:
                    begin += block[: HEADER_SIZE - len(begin)]
                    checksum.update(block)
                    if reader is not None:
                        opened = reader.feed(block)
                        inner += opened[: HEADER_SIZE - len(inner)]
                    self.progress(len(block) * part.size // length)
            if reader is not None:
                inner += reader.finish()[: HEADER_SIZE - len(inner)]
        except BlobMissing as error:
            raise IntegrityError("it is missing or cut") from error
        except KeyMismatch as error:
            raise IntegrityError("it is another object's or part's") from error
        if keys.outer is not None:
            begin += inner  # the header in the row is that of both layers
        if begin != part.header:
            raise IntegrityError("it begins with another message's header")
        if checksum.digest() != part.stored_crc64nvme:
            raise IntegrityError("its bytes have not the checksum that they were stored with")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Keys:
    """What this store has to open an object with. `whole`: its key (SSE-S3); `outer`: that of its outer layer (DSSE)."""

    object_id: bytes
    encryption: Encryption
    whole: ObjectKey | None
    outer: bytes | None

    @property
    def kind(self) -> Kind:
        if self.whole is not None:
            return "blob"
        return "blob without key" if self.outer is None else "outer blob"


def _keys_of(bucket: OpenBucket, record: ObjectVersion | Upload) -> _Keys:
    """Raises IntegrityError."""
    assert record.encryption is not None
    return _Keys(
        object_id=record.object_id,
        encryption=record.encryption,
        whole=unseal_here(bucket, record, None) if isinstance(record.encryption, SseS3) else None,
        outer=outer_key(bucket, record),
    )


def _reader(keys: _Keys, part: Part) -> Reader | None:
    """What authenticates as much of the message as can be, its sealed checksums being opened on the way. Raises
    IntegrityError.
    """
    if keys.outer is not None:
        return outer_reading(keys.outer, keys.object_id, part).reader
    if keys.whole is None:
        return None
    open_values(keys.whole, part.checksums, part.part_number)
    return reading(keys.whole, part, 0, part.size - 1).reader


def _text(value: Value) -> str:
    """A name to show, whatever somebody wrote in its place."""
    return value if isinstance(value, str) else repr(value)
