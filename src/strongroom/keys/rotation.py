"""Rotation of the store key and of bucket secrets, beside running servers, in steps that any next start can finish.

A store key is rotated in this order: the new key durable; made primary; every bucket's secrets sealed anew under it and
a fresh secret added, one transaction a bucket; the old key retired when nothing names it. So a leaked store key opens
nothing that is written later, and a process that dies anywhere leaves a store that opens. What objects' rows name are
versions of bucket secrets, so the work grows with the buckets and not with the objects.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import cast

from strongroom.database.database import Connection, Database
from strongroom.keys.keyring import Keyring
from strongroom.keys.store_keys import (
    LoadStoreKeys,
    StoreKeyError,
    StoreKeyId,
    create_key_file,
    load_key_files,
    remove_key_file,
)
from strongroom.metadata.buckets import StaleBucket, check_unchanged, insert_secret, retire_secrets, update_bucket
from strongroom.metadata.records import OpenBucket

Progress = Callable[[int, int], None]
"""Called with the number of buckets done and the number of all."""


class RotationRunning(Exception):
    """Another process is rotating keys here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """What rotation works with. `directory`: where key files are made and retired; None where somebody else keeps the
    keys.
    """

    database: Database
    keyring: Keyring
    load: LoadStoreKeys
    directory: Path | None


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

    A rotation that was interrupted is finished first. Raises StoreKeyError, Unavailable.
    """
    await finish_rotation(rotation, progress)
    old = await primary_store_key(rotation.database)
    new = create_key_file(rotation.directory) if rotation.directory else _given_key(rotation, old)
    await _make_primary(rotation.database, old, new)
    await finish_rotation(rotation, progress)
    return new


async def finish_rotation(rotation: Rotation, progress: Progress) -> bool:
    """Do what is left of a rotation: nothing, mostly. True where there was something. Raises StoreKeyError,
    Unavailable.
    """
    primary = await primary_store_key(rotation.database)
    names = await _buckets_under_other_keys(rotation.database, primary)
    for done, name in enumerate(names):
        progress(done, len(names))
        await _rotate_bucket(rotation, name, primary, reseal=True)
    progress(len(names), len(names))
    retired = await _retire_key_files(rotation, primary)
    return bool(names) or retired


async def rotate_bucket_secrets(rotation: Rotation, progress: Progress, *, only: str | None = None) -> int:
    """A fresh secret for every bucket, or for one; how many there were. Old ones go when no row names them. Raises
    StoreKeyError.
    """
    primary = await primary_store_key(rotation.database)
    rows = await rotation.database.read(
        "SELECT name FROM buckets WHERE ? IS NULL OR name = ? ORDER BY name", (only, only)
    )
    for done, (name,) in enumerate(rows):
        progress(done, len(rows))
        await _rotate_bucket(rotation, cast("str", name), primary, reseal=False)
    progress(len(rows), len(rows))
    return len(rows)


async def primary_store_key(database: Database) -> StoreKeyId:
    return cast("bytes", (await database.read("SELECT value FROM store WHERE name = 'primary_store_key_id'"))[0][0])


async def _make_primary(database: Database, old: StoreKeyId, new: StoreKeyId) -> None:
    def write(tx: Connection) -> None:
        tx.execute("UPDATE store SET value = ? WHERE name = 'primary_store_key_id' AND value = ?", (new, old))
        if not tx.changed:
            raise RotationRunning

    await database.transact(write)


async def _buckets_under_other_keys(database: Database, primary: StoreKeyId) -> list[str]:
    rows = await database.read(
        "SELECT DISTINCT b.name FROM bucket_secrets s JOIN buckets b ON b.bucket_id = s.bucket_id"
        " WHERE s.store_key_id <> ? ORDER BY b.name",
        (primary,),
    )
    return [cast("str", name) for (name,) in rows]


async def _rotate_bucket(rotation: Rotation, name: str, primary: StoreKeyId, *, reseal: bool) -> None:
    """One bucket, one transaction: old secrets under the primary key (`reseal`), a new secret, the row under that."""
    while True:
        bucket = await rotation.keyring.open_bucket(name)
        if bucket is None:
            return  # deleted meanwhile, and its secrets with it
        try:
            await rotation.database.transact(_change(rotation.keyring, bucket, primary, reseal=reseal))
        except StaleBucket:
            continue
        return


def _change(keyring: Keyring, bucket: OpenBucket, primary: StoreKeyId, *, reseal: bool) -> Callable[[Connection], None]:
    secret = keyring.new_secret(bucket.bucket_id, max(bucket.keys) + 1, primary)

    def change(tx: Connection) -> None:
        check_unchanged(tx, bucket)
        if reseal:
            rows = tx.execute(
                "SELECT version, store_key_id, sealed FROM bucket_secrets WHERE bucket_id = ? AND store_key_id <> ?",
                (bucket.bucket_id, primary),
            )
            for row in rows:
                tx.execute(
                    "UPDATE bucket_secrets SET store_key_id = ?, sealed = ? WHERE bucket_id = ? AND version = ?",
                    (primary, keyring.reseal_secret(row, bucket.bucket_id, primary), bucket.bucket_id, row[0]),
                )
        insert_secret(tx, bucket.bucket_id, secret.version, primary, secret.sealed)
        update_bucket(tx, bucket, config=bucket.config, secret=(secret.version, secret.keys))
        retire_secrets(tx, bucket.bucket_id, current=secret.version)

    return change


async def _retire_key_files(rotation: Rotation, primary: StoreKeyId) -> bool:
    """Remove key files that nothing names: of rotated keys, and of a rotation that died before its key came into force."""
    if rotation.directory is None:
        return False
    rows = await rotation.database.read("SELECT DISTINCT store_key_id FROM bucket_secrets")
    named = {row[0] for row in rows} | {primary}
    unused = [identity for identity in load_key_files(rotation.directory) if identity not in named]
    for identity in unused:
        remove_key_file(rotation.directory, identity)
    return bool(unused)


def _given_key(rotation: Rotation, old: StoreKeyId) -> StoreKeyId:
    """The newest of the keys that somebody else keeps, which must be another one than the primary."""
    newest = next(iter(rotation.load()))
    if newest == old:
        raise StoreKeyError(
            f"the store key given is the one in force ({old.hex()}): give the new one, and the old one as the previous one, and restart"
        )
    return newest
