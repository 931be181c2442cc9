"""Rotation of the store key and of bucket secrets, beside running servers, in steps that any next start can finish.

A store key is rotated in this order: the new key durable; made primary; every bucket's secrets sealed anew under it and
a fresh secret announced; that secret taken into use; the old key retired when nothing names it. So a leaked store key
opens nothing that is written later, and a process that dies anywhere leaves a store that opens. Each step of a bucket
is one transaction. What objects' rows name are versions of bucket secrets, so the work grows with the buckets and not
with the objects.

A secret is announced first and used after a pause, because a request opens its bucket and then reads rows: a row that
somebody sealed in between under a secret that the request has not seen would look like damage to it.
"""

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import cast

from strongroom.crypto.errors import IntegrityError
from strongroom.database.database import Connection, Database
from strongroom.keys.keyring import Keyring, primary_store_key
from strongroom.keys.store_keys import (
    GenerateSealed,
    LoadStoreKeys,
    StoreKeyError,
    StoreKeyId,
    key_file_ids,
    name_new_key,
    remove_key_file,
    remove_unfinished,
    write_new_key,
)
from strongroom.metadata.buckets import StaleBucket, check_unchanged, insert_secret, retire_secrets, update_bucket
from strongroom.metadata.records import OpenBucket

PAUSE = 2.0  # seconds; between opening its bucket and reading rows no request waits for anything but the processor
_GIVEN = "given_store_key_ids"
_REMOVABLE = "removable_store_key_ids"

Progress = Callable[[int, int], None]
"""Called with the number of buckets done and the number of all, in each of the two passes."""


class RotationRunning(Exception):
    """Another process is rotating keys here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """What rotation works with. `directory`: where key files are made and retired; None where somebody else keeps the
    keys. `generate_sealed`: what makes new keys, where a key service is to seal them. `pause`: seconds between announcing
    secrets and using them; 0 where no server runs.
    """

    database: Database
    keyring: Keyring
    load: LoadStoreKeys
    directory: Path | None
    generate_sealed: GenerateSealed | None = None
    pause: float = PAUSE


@contextmanager
def rotation_lock(directory: Path) -> Iterator[None]:
    """One rotation at a time, also across processes that die. Raises RotationRunning."""
    descriptor = os.open(directory / "rotation.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            flock(descriptor, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            raise RotationRunning from None
        yield
    finally:
        os.close(descriptor)


async def rotate_store_key(rotation: Rotation, progress: Progress) -> StoreKeyId:
    """Bring a new store key into force and retire the old one; the new key's id.

    A rotation that was interrupted is finished first. Raises StoreKeyError, IntegrityError, Unavailable.
    """
    await finish_rotation(rotation, progress)
    old = await primary_store_key(rotation.database)
    new = await _new_key_file(rotation, rotation.directory) if rotation.directory else await _given_key(rotation, old)
    await _make_primary(rotation.database, old, new)
    await finish_rotation(rotation, progress)
    return new


async def rotate_bucket_secrets(rotation: Rotation, progress: Progress, *, only: str | None = None) -> int:
    """A fresh secret for every bucket, or for one; how many there were. Old ones go when no row names them.

    Raises StoreKeyError, IntegrityError, Unavailable.
    """
    await finish_rotation(rotation, progress)
    rows = await rotation.database.read(
        "SELECT name FROM buckets WHERE ? IS NULL OR name = ? ORDER BY name", (only, only)
    )
    damaged = await _announce(rotation, [cast("str", name) for (name,) in rows], progress)
    damaged |= await _use_announced(rotation, await _buckets_with_announced_secrets(rotation.database), progress)
    _tell(damaged)
    return len(rows)


async def finish_rotation(rotation: Rotation, progress: Progress) -> bool:
    """Do what is left of a rotation: nothing, mostly. True where there was something. Raises StoreKeyError,
    Unavailable, and IntegrityError where a bucket does not open, when everything else is done.
    """
    left = await _buckets_under_other_keys(rotation.database)
    damaged = await _announce(rotation, left, progress)
    announced = await _buckets_with_announced_secrets(rotation.database)
    damaged |= await _use_announced(rotation, announced, progress)
    retired = await _retire_key_files(rotation)
    _tell(damaged)
    return bool(left or announced or retired)


def _tell(damaged: set[str]) -> None:
    if damaged:
        names = ", ".join(sorted(damaged))
        raise IntegrityError(f"these buckets do not open, and their keys stay as they were: {names}")


async def _make_primary(database: Database, old: StoreKeyId, new: StoreKeyId) -> None:
    def write(tx: Connection) -> None:
        tx.execute("UPDATE store SET value = ? WHERE name = 'primary_store_key_id' AND value = ?", (new, old))
        if not tx.changed:
            raise RotationRunning
        _allow_removal(tx, old)

    await database.transact(write)


# --- the two passes


async def _announce(rotation: Rotation, names: Sequence[str], progress: Progress) -> set[str]:
    """The first pass: all of a bucket under the primary key, and a fresh secret beside what it has. The buckets that do
    not open.
    """
    primary = await primary_store_key(rotation.database)
    await rotation.keyring.hold(primary)

    def announce(tx: Connection, bucket: OpenBucket) -> None:
        rows = tx.execute(
            "SELECT version, store_key_id, sealed FROM bucket_secrets WHERE bucket_id = ? AND store_key_id <> ?",
            (bucket.bucket_id, primary),
        )
        for row in rows:
            tx.execute(
                "UPDATE bucket_secrets SET store_key_id = ?, sealed = ? WHERE bucket_id = ? AND version = ?",
                (primary, rotation.keyring.reseal_secret(row, bucket.bucket_id, primary), bucket.bucket_id, row[0]),
            )
        fresh = rotation.keyring.new_secret(bucket.bucket_id, max(bucket.keys) + 1, primary)
        insert_secret(tx, bucket.bucket_id, fresh.version, primary, fresh.sealed)

    return await _each(rotation, names, announce, progress)


async def _use_announced(rotation: Rotation, names: Sequence[str], progress: Progress) -> set[str]:
    """The second pass: from now on everything is sealed under the announced secrets; those that no row names go. The
    buckets that do not open.
    """
    if names:
        await asyncio.sleep(rotation.pause)

    def use(tx: Connection, bucket: OpenBucket) -> None:
        newest = max(bucket.keys)
        update_bucket(tx, bucket, config=bucket.config, secret=(newest, bucket.keys[newest]))
        retire_secrets(tx, bucket.bucket_id, current=newest)

    return await _each(rotation, names, use, progress)


async def _each(
    rotation: Rotation, names: Sequence[str], change: Callable[[Connection, OpenBucket], None], progress: Progress
) -> set[str]:
    damaged = set()
    for done, name in enumerate(names):
        progress(done, len(names))
        try:
            await _change_bucket(rotation, name, change)
        except IntegrityError:  # no reason to leave the others under a key that somebody may have got hold of
            damaged.add(name)
    progress(len(names), len(names))
    return damaged


async def _change_bucket(rotation: Rotation, name: str, change: Callable[[Connection, OpenBucket], None]) -> None:
    """One transaction that holds only while the bucket is as `change` sees it."""
    while bucket := await rotation.keyring.open_bucket(name):  # None: deleted meanwhile, and its secrets with it

        def guarded(tx: Connection, bucket: OpenBucket = bucket) -> None:
            check_unchanged(tx, bucket)
            change(tx, bucket)

        try:
            await rotation.database.transact(guarded)
        except StaleBucket:
            continue
        return


async def _buckets_under_other_keys(database: Database) -> list[str]:
    rows = await database.read(
        "SELECT DISTINCT b.name FROM bucket_secrets s JOIN buckets b ON b.bucket_id = s.bucket_id"
        " WHERE s.store_key_id <> ? ORDER BY b.name",
        (await primary_store_key(database),),
    )
    return [cast("str", name) for (name,) in rows]


async def _buckets_with_announced_secrets(database: Database) -> list[str]:
    rows = await database.read(
        "SELECT DISTINCT b.name FROM bucket_secrets s JOIN buckets b ON b.bucket_id = s.bucket_id"
        " WHERE s.version > b.secret_version ORDER BY b.name"
    )
    return [cast("str", name) for (name,) in rows]


# --- store keys


async def _new_key_file(rotation: Rotation, directory: Path) -> StoreKeyId:
    new = write_new_key(directory, rotation.generate_sealed)
    await rotation.database.transact(lambda tx: _allow_removal(tx, new))  # should it never come into force
    name_new_key(directory, new)
    return new


def _allow_removal(tx: Connection, identity: StoreKeyId) -> None:
    """Note a key that this index has rotated away from, or has made. Only such a key may ever be removed: one that the
    index merely does not know may be what a newer index, put aside for a look at an older one, lives on.
    """
    rows = tx.execute("SELECT value FROM store WHERE name = ?", (_REMOVABLE,))
    tx.execute(
        "INSERT INTO store (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (_REMOVABLE, (cast("bytes", rows[0][0]) if rows else b"") + identity),
    )


async def _retire_key_files(rotation: Rotation) -> bool:
    """Remove the files of keys that nothing names and that this index may remove: of rotated keys, and of a rotation
    that died before its key came into force.
    """
    if rotation.directory is None:
        return False
    remove_unfinished(rotation.directory)
    removable = await _key_ids(rotation.database, _REMOVABLE)
    rows = await rotation.database.read("SELECT DISTINCT store_key_id FROM bucket_secrets")
    named = {row[0] for row in rows} | {await primary_store_key(rotation.database)}
    unused = [identity for identity in key_file_ids(rotation.directory) if identity in removable - named]
    for identity in unused:
        remove_key_file(rotation.directory, identity)
    if removable - named:
        await rotation.database.transact(lambda tx: _forget_removed(tx, removable & named))
    return bool(unused)


def _forget_removed(tx: Connection, kept: set[StoreKeyId]) -> None:
    tx.execute("UPDATE store SET value = ? WHERE name = ?", (b"".join(sorted(kept)), _REMOVABLE))


async def _key_ids(database: Database, name: str) -> set[StoreKeyId]:
    """The ids in a row of `store`: 16 bytes each, one behind the other."""
    rows = await database.read("SELECT value FROM store WHERE name = ?", (name,))
    ids = cast("bytes", rows[0][0]) if rows else b""
    return {ids[start : start + 16] for start in range(0, len(ids), 16)}


async def record_given_keys(rotation: Rotation) -> None:
    """Note which keys a server was started with: a rotation must not bring one into force that its workers lack."""
    given = b"".join(rotation.load())
    if await rotation.database.read("SELECT 1 FROM store WHERE name = ? AND value = ?", (_GIVEN, given)):
        return

    def write(tx: Connection) -> None:
        tx.execute(
            "INSERT INTO store (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (_GIVEN, given),
        )

    await rotation.database.transact(write)


async def _given_key(rotation: Rotation, old: StoreKeyId) -> StoreKeyId:
    """The newest of the keys that somebody else keeps, which must be another one than the primary."""
    newest = next(iter(rotation.load()))
    if newest == old:
        raise StoreKeyError(
            f"the store key given is the one in force ({old.hex()}): give the server the new one, and this one as the previous one, and restart it"
        )
    if newest not in await _key_ids(rotation.database, _GIVEN):
        raise StoreKeyError(
            f"the server was not started with the new store key ({newest.hex()}) and could not read what comes under it:"
            " restart it with the new key, and the old one as the previous one, and rotate then"
        )
    return newest
