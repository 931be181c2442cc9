"""Who holds a blob, and the queue of blobs to delete.

The table's primary key decides every race between a commit and the collector of orphans: a commit *claims* a blob by
inserting its row, the collector *condemns* an orphan by inserting the same row, and whoever comes second loses. An
orphan that was deleted keeps its row for a while, so that a commit that slept through it all fails instead of naming a
file that is gone. This table is the only one without a seal: whoever can write it can delete, as whoever can write a database always
can, and nothing more.
"""

from collections.abc import Iterable
from typing import cast

from strongroom.database.database import Connection, Database

TOMBSTONE_US = 24 * 3600 * 1_000_000


class BlobCondemned(Exception):
    """The collector took the blob for an orphan before its commit came: nothing may name it any more; the client tries
    again.
    """


def claim(tx: Connection, blob_id: bytes, object_id: bytes) -> None:
    """Make a new blob part of an object. Raises BlobCondemned."""
    tx.execute(
        "INSERT INTO blobs (blob_id, object_id) VALUES (?, ?) ON CONFLICT (blob_id) DO NOTHING", (blob_id, object_id)
    )
    if not tx.changed:
        raise BlobCondemned


def doom_object(tx: Connection, object_id: bytes, *, delete_after_us: int) -> None:
    """Queue every blob of an object whose row goes in this transaction."""
    tx.execute(
        "UPDATE blobs SET delete_after_us = ? WHERE object_id = ? AND delete_after_us IS NULL",
        (delete_after_us, object_id),
    )


def doom(tx: Connection, blob_ids: Iterable[bytes], *, delete_after_us: int) -> None:
    """Queue these blobs, which no row names after this transaction."""
    for blob_id in blob_ids:
        tx.execute(
            "UPDATE blobs SET delete_after_us = ? WHERE blob_id = ? AND delete_after_us IS NULL",
            (delete_after_us, blob_id),
        )


def condemn(tx: Connection, blob_id: bytes, *, delete_after_us: int) -> bool:
    """Queue a blob that nobody claimed; False where somebody did."""
    tx.execute(
        "INSERT INTO blobs (blob_id, object_id, delete_after_us) VALUES (?, NULL, ?) ON CONFLICT (blob_id) DO NOTHING",
        (blob_id, delete_after_us),
    )
    return bool(tx.changed)


async def due(database: Database, *, now_us: int, limit: int) -> list[bytes]:
    """Blobs whose grace has passed and whose file may still be there."""
    rows = await database.read(
        "SELECT blob_id FROM blobs WHERE delete_after_us <= ? AND deleted_us IS NULL ORDER BY delete_after_us LIMIT ?",
        (now_us, limit),
    )
    return [cast("bytes", blob_id) for (blob_id,) in rows]


async def waiting(database: Database) -> int:
    """How many blobs are queued and not deleted yet."""
    rows = await database.read("SELECT count(*) FROM blobs WHERE delete_after_us IS NOT NULL AND deleted_us IS NULL")
    return cast("int", rows[0][0])


def bury(tx: Connection, blob_ids: Iterable[bytes], *, now_us: int) -> None:
    """The files are gone. What an object had claimed is claimed by nobody again; rows of orphans stay as tombstones
    until `TOMBSTONE_US` later.
    """
    for blob_id in blob_ids:
        tx.execute("DELETE FROM blobs WHERE blob_id = ? AND object_id IS NOT NULL", (blob_id,))
        tx.execute("UPDATE blobs SET deleted_us = ? WHERE blob_id = ?", (now_us, blob_id))
    # Nothing is deleted before its time, so the time says the same as `deleted_us`, and it has an index.
    end = now_us - TOMBSTONE_US
    tx.execute("DELETE FROM blobs WHERE delete_after_us <= ? AND deleted_us <= ?", (end, end))


async def known(database: Database, blob_ids: Iterable[bytes]) -> set[bytes]:
    """Those of `blob_ids` that have a row."""
    wanted = list(blob_ids)
    marks = ", ".join("?" * len(wanted))
    rows = await database.read(f"SELECT blob_id FROM blobs WHERE blob_id IN ({marks})", wanted)
    return {cast("bytes", blob_id) for (blob_id,) in rows}
