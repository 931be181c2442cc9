"""The `BlobStore` seam: immutable byte strings under names that mean nothing.

A blob store sees ciphertext only and knows neither buckets, keys, nor rows. Lengths and offsets are ciphertext bytes,
half open.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import NewType, Protocol

BlobId = NewType("BlobId", bytes)  # 16 random bytes


class BlobMissing(Exception):
    """No blob of that name, or it ended before `stop`: to a reader both are damage."""


class StorageUnavailable(Exception):
    """The blob could not be made durable (an I/O error, a failed fsync) or not be read now: the client may try again.

    Nothing was stored.
    """


class StorageFull(StorageUnavailable):
    """No space is left."""


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A durable blob: its name, and what was written of it (`size`: ciphertext bytes)."""

    blob_id: BlobId
    size: int


@dataclass(frozen=True, slots=True)
class ListedBlob:
    blob_id: BlobId
    size: int
    modified: float  # seconds since the epoch


class BlobStore(Protocol):
    async def write(self, chunks: AsyncIterator[bytes]) -> StoredBlob:
        """Store all of `chunks` under a new random name; on return the bytes and the name are durable (fsynced).

        Whatever `chunks` raises reaches the caller and leaves nothing behind. Raises StorageUnavailable, StorageFull.
        """
        ...

    def read(self, blob_id: BlobId, start: int, stop: int, *, size: int | None = None) -> AsyncGenerator[bytes, None]:
        """The bytes `start` <= offset < `stop` in pieces of the store's choice, of a blob of `size` bytes, where given:
        one of another length is damaged wherever the range lies, and told before its first byte.

        Raises BlobMissing, StorageUnavailable. A caller that stops early calls `aclose`, as for any asynchronous
        generator.
        """
        ...

    async def size(self, blob_id: BlobId) -> int:
        """Ciphertext bytes. Raises BlobMissing."""
        ...

    async def delete(self, blob_id: BlobId) -> bool:
        """Remove it; a blob that is not there is no error (deleting twice is what a restart does).

        False: it stays for now, because a backup holds the blobs.
        """
        ...

    def list(self) -> AsyncIterator[ListedBlob]: ...
