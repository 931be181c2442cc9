"""Copies blobs from one directory of `LocalBlobs` to another, for a backup: each durable, under the name that it has.

Copies, not hard links: a link is the same file, so that a disk's error or a slip of the hand would spoil both. The
kernel moves the bytes, and shares them where the file system can (reflinks of XFS and btrfs). Which blobs are wanted is
not known here, nor what they hold.
"""

import errno
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

from strongroom.blobs.local_files import (
    Tree,
    new_blob_file,
    open_blob,
    opened,
    remove_blob,
    sync_shards,
    translated,
)
from strongroom.blobs.store import BlobId, BlobMissing, StorageFull, StorageUnavailable

_THREADS = 8  # so that a disk can group what they sync
_PIECE = 1 << 30
_NO_COPY_RANGE = frozenset({errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM})


class Copier:
    """From `source` to `destination`, in threads of its own; `sync` makes the names durable."""

    def __init__(self, source: Tree, destination: Tree) -> None:
        self._copy = partial(_copied, source, destination)
        self._destination = destination
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="copy")
        self.copied_bytes = 0

    def copy(self, blob_ids: Iterable[bytes]) -> list[BlobId]:
        """Copy them all; those that are missing or cannot be read come back. Raises StorageFull."""
        wanted = [BlobId(blob_id) for blob_id in blob_ids]
        sizes = list(self._pool.map(self._copy, wanted))
        self.copied_bytes += sum(size for size in sizes if size is not None)
        return [blob_id for blob_id, size in zip(wanted, sizes, strict=True) if size is None]

    def sync(self) -> None:
        """Raises StorageUnavailable."""
        sync_shards(self._destination)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


def _copied(source: Tree, destination: Tree, blob_id: BlobId) -> int | None:
    """Its ciphertext bytes; None, and nothing left behind, where it could not be copied. Raises StorageFull."""
    try:
        with opened(open_blob(source, blob_id)) as reading:
            return _copied_file(reading, destination, blob_id)
    except StorageFull:
        raise
    except (BlobMissing, StorageUnavailable):
        with suppress(StorageUnavailable):
            remove_blob(destination, blob_id)
        return None


def _copied_file(reading: int, destination: Tree, blob_id: BlobId) -> int:
    with new_blob_file(destination, blob_id) as writing, translated():
        size = os.fstat(reading).st_size
        copied, move = 0, _copy_range
        while copied < size:
            try:
                moved = move(reading, writing, size - copied)
            except OSError as error:
                if move is _send or error.errno not in _NO_COPY_RANGE:
                    raise
                move = _send  # another file system, or one that can't
                continue
            if not moved:
                raise StorageUnavailable("the blob became shorter while it was copied")
            copied += moved
        os.fsync(writing)
    return size


def _copy_range(reading: int, writing: int, size: int) -> int:
    return os.copy_file_range(reading, writing, min(size, _PIECE))


def _send(reading: int, writing: int, size: int) -> int:
    return os.sendfile(writing, reading, None, min(size, _PIECE))
