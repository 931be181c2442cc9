"""`LocalBlobs`: the BlobStore seam over one directory, durable when a name is returned (local_files.py has the steps).

What blocks (writing, fsync, cold reads, unlink) runs in a pool of threads of the store's own, which lives as long as
the store. What the page cache holds is read where it is asked for: a hop to a thread costs as much as the whole GET of
a small object.

This file never looks into the bytes and knows no index: which blobs are orphans is decided above it.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

from strongroom.blobs import local_files
from strongroom.blobs.store import BlobId, BlobMissing, ListedBlob, StoredBlob

if TYPE_CHECKING:
    from strongroom.blobs.store import BlobStore

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

KEEP_FREE_BYTES = 32 << 20
_WRITE_BLOCK = 1 << 20  # a blob shorter than this is one job of the pool
_MAX_BUFFERS = 512  # of one write, below IOV_MAX
_CACHED_READ = 256 << 10
_READ_BLOCK = 512 << 10  # of which every reader under way holds several
_THREADS = 16


class LocalBlobs:
    """The blobs in one directory, for one event loop. Any number of processes may share the directory."""

    def __init__(self, directory: str | os.PathLike[str], *, keep_free: int = KEEP_FREE_BYTES) -> None:
        """`directory` is made where it is missing, its parents are not.

        `keep_free`: bytes of the disk that blobs leave alone. The database is on the same disk, and deleting needs a
        few pages of it: uploads that took the last byte would leave no way to make room. Raises OSError where the
        directory is at fault.
        """
        self._tree = local_files.open_tree(os.fspath(directory))
        self._keep_free = keep_free
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="blobs")
        self._buffer = bytearray(_CACHED_READ)  # shared by all reads, since none waits while it uses it

    async def write(self, chunks: AsyncIterator[bytes]) -> StoredBlob:
        blob_id = BlobId(os.urandom(16))
        file = local_files.NewFile(self._tree, blob_id, keep_free=self._keep_free)
        block: list[bytes] = []
        block_size = size = 0
        job: asyncio.Future[None] | None = None
        try:
            async for chunk in chunks:
                block.append(chunk)
                block_size += len(chunk)
                if block_size >= _WRITE_BLOCK or len(block) >= _MAX_BUFFERS:
                    if job is not None:
                        await _finished(job)
                    job = self._start(file.append, block)  # while it is written, the next block is made
                    size += block_size
                    block, block_size = [], 0
            if job is not None:
                await _finished(job)
            job = self._start(file.publish, block)
            await _finished(job)
        except BaseException:
            try:
                if job is not None:
                    with suppress(Exception):
                        await _finished(job)
            finally:
                await self._run(file.discard)
            raise
        return StoredBlob(blob_id, size + block_size)

    async def read(
        self, blob_id: BlobId, start: int, stop: int, *, size: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        descriptor = local_files.open_blob(self._tree, blob_id)
        ahead: asyncio.Future[bytes] | None = None
        try:
            found = os.fstat(descriptor).st_size
            if found < stop or (size is not None and found != size):
                raise BlobMissing(f"blob {blob_id.hex()} has {found} bytes, not {size or f'at least {stop}'}")
            first = self._read_cached(descriptor, start, stop)
            position = start + len(first)
            ahead = self._start_reading(descriptor, position, stop)
            if first:
                yield first
            while ahead is not None:
                block = await _finished(ahead)
                position += len(block)
                ahead = self._start_reading(descriptor, position, stop)  # while `block` is used
                yield block
        finally:
            try:
                if ahead is not None:
                    with suppress(Exception):
                        await _finished(ahead)
            finally:  # also where who waits for the end is cancelled
                os.close(descriptor)

    async def size(self, blob_id: BlobId) -> int:
        descriptor = local_files.open_blob(self._tree, blob_id)
        try:
            return os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)

    async def delete(self, blob_id: BlobId) -> bool:
        return await self._run(local_files.remove_unless_held, self._tree, blob_id)

    async def list(self) -> AsyncGenerator[ListedBlob, None]:
        shards = local_files.list_blobs(self._tree)
        while (shard := await self._run(next, shards, None)) is not None:
            for blob in shard:
                yield blob

    async def remove_abandoned(self) -> int:
        """Remove the temporary files whose writer, in any process, is dead; return how many there were."""
        return await self._run(local_files.remove_abandoned, self._tree)

    async def close(self) -> None:
        """Wait for running jobs and let go of the directory. Nobody may be writing or reading any more."""
        await asyncio.to_thread(self._pool.shutdown)
        self._tree.close()

    def _start(self, function: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._pool, function, *args)

    async def _run(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        return await _finished(self._start(function, *args))

    def _read_cached(self, descriptor: int, start: int, stop: int) -> bytes:
        """What the page cache holds from `start` on, up to 256 KiB; nothing where the file system cannot tell."""
        wanted = memoryview(self._buffer)[: max(stop - start, 0)]
        try:
            return bytes(wanted[: os.preadv(descriptor, [wanted], start, os.RWF_NOWAIT)])
        except OSError:  # EAGAIN, EOPNOTSUPP; what is worse will be said again by the read that may block
            return b""

    def _start_reading(self, descriptor: int, start: int, stop: int) -> asyncio.Future[bytes] | None:
        if start >= stop:
            return None
        return self._start(local_files.read_block, descriptor, start, min(start + _READ_BLOCK, stop))


async def _finished(job: asyncio.Future[T]) -> T:
    """The job's result. A cancellation is passed on when the job is over: its thread is using descriptors that we would
    close.
    """
    try:
        return await asyncio.shield(job)
    except asyncio.CancelledError:
        while not job.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait((job,))
        job.exception()  # seen here, or asyncio would complain that nobody saw it
        raise


if TYPE_CHECKING:

    def _is_blob_store(blobs: LocalBlobs) -> BlobStore:
        return blobs
