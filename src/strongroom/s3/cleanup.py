"""Space comes back by itself: the deletion queue, finished uploads, files of writers that died, and blobs and bucket
keys that no row names.

A blob whose commit is under way has no row yet and looks like an orphan. So an orphan is condemned first, which makes a
late commit fail, and deleted only after the grace; and one younger than `ORPHAN_AGE` is let alone, which spares slow
commits the failure.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from itertools import compress

from strongroom.blobs.store import BlobId
from strongroom.database.database import Connection
from strongroom.metadata import bucket_keys, deletions, uploads
from strongroom.observe import log, metrics
from strongroom.s3.storage import Storage

ORPHAN_AGE = 3600.0  # seconds
_BATCH = 500
_PAUSE = 5.0  # seconds between two looks at the queue
_SCAN_EVERY = 24 * 3600.0  # seconds


@dataclass(frozen=True, slots=True)
class Collected:
    """`orphans`: blobs condemned; `orphan_bytes`: their ciphertext bytes; `temporary`: abandoned files removed;
    `deleted`: blobs deleted; `waiting`: blobs whose grace has not passed, or that a backup holds.
    """

    orphans: int
    orphan_bytes: int
    temporary: int
    deleted: int
    waiting: int


async def delete_due(storage: Storage) -> int:
    """Delete the blobs whose grace has passed, unless a backup holds them; how many. Raises Unavailable,
    StorageUnavailable.
    """
    deleted = 0
    while blob_ids := await deletions.due(storage.database, now_us=storage.now_us(), limit=_BATCH):
        is_gone = await asyncio.gather(*(storage.blobs.delete(BlobId(blob_id)) for blob_id in blob_ids))
        gone, now_us = list(compress(blob_ids, is_gone)), storage.now_us()

        def bury(tx: Connection, gone: list[bytes] = gone, now_us: int = now_us) -> None:
            deletions.bury(tx, gone, now_us=now_us)

        await storage.database.transact(bury, frees_space=True)
        metrics.count_deleted_blobs(len(gone))
        deleted += len(gone)
        if len(gone) < len(blob_ids):
            break
    return deleted


async def condemn_orphans(storage: Storage, *, age: float = ORPHAN_AGE) -> tuple[int, int]:
    """Queue every blob older than `age` seconds that no row claims: their number and ciphertext bytes."""
    found = size = 0
    oldest = storage.now_us() / 1_000_000 - age
    batch: dict[bytes, int] = {}

    async def judge() -> None:
        nonlocal found, size
        claimed = await deletions.known(storage.database, batch)
        orphans = [blob_id for blob_id in batch if blob_id not in claimed]
        delete_after_us = storage.delete_after_us()

        def condemn(tx: Connection) -> list[bytes]:
            return [each for each in orphans if deletions.condemn(tx, each, delete_after_us=delete_after_us)]

        for blob_id in await storage.database.transact(condemn, frees_space=True) if orphans else []:
            found += 1
            size += batch[blob_id]
        batch.clear()

    async for blob in storage.blobs.list():
        if blob.modified <= oldest:
            batch[blob.blob_id] = blob.size
        if len(batch) == _BATCH:
            await judge()
    if batch:
        await judge()
    return found, size


async def collect(
    storage: Storage, remove_abandoned: Callable[[], Awaitable[int]], *, age: float = ORPHAN_AGE
) -> Collected:
    """One whole round, as `strongroom gc` runs it."""
    temporary = await remove_abandoned()
    orphans, orphan_bytes = await condemn_orphans(storage, age=age)
    await _forget_uploads(storage)
    await _forget_bucket_keys(storage)
    deleted = await delete_due(storage)
    return Collected(orphans, orphan_bytes, temporary, deleted, await deletions.waiting(storage.database))


async def maintain(storage: Storage, remove_abandoned: Callable[[], Awaitable[int]]) -> None:
    """The same for ever, in one worker: the queue every few seconds, everything else at the start and once a day."""
    loop = asyncio.get_running_loop()
    next_scan = loop.time()
    while True:
        if loop.time() >= next_scan:
            next_scan = loop.time() + _SCAN_EVERY
            collected = await collect(storage, remove_abandoned)
            if collected.orphans or collected.temporary:
                log.info("Removed what was abandoned", count=collected.orphans + collected.temporary)
        await delete_due(storage)
        await asyncio.sleep(_PAUSE)


async def _forget_uploads(storage: Storage) -> None:
    now_us = storage.now_us()

    def forget(tx: Connection) -> int:
        return uploads.forget_finished(tx, now_us=now_us, limit=_BATCH)

    while await storage.database.transact(forget, frees_space=True) == _BATCH:
        pass  # one after the other: other writers come in between


async def _forget_bucket_keys(storage: Storage) -> None:
    async for ids in bucket_keys.unused(storage.database, now_us=storage.now_us()):
        await storage.database.transact(partial(bucket_keys.remove_unused, ids=ids), frees_space=True)
