"""A new key service: its root key, its first slot, its database, all there or not at all.

Everything is made under other names; the renaming of the database is the moment from which there is a key service, and
what a crash leaves before it is removed by the next try, since nobody has got a key from it.
"""

import base64
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from strongroom.crypto.secret_key import SecretKey
from strongroom.database.database import Connection, Unavailable
from strongroom.database.migrations import migrate, migrations_of
from strongroom.database.private_file import write_private
from strongroom.database.sqlite import SqliteDatabase
from strongroom.database.sqlite_files import fsync_directory
from strongroom.kms import slots
from strongroom.kms.audit_head import AuditState
from strongroom.kms.commits import Ledger, Write, head_place, prepare
from strongroom.kms.revisions import PAGES, Head, Name, Revisions
from strongroom.kms.root import OpenRoot, RootVersion
from strongroom.kms.slot_rows import insert_slot, slot_write
from strongroom.kms.slots import Given, KeyFile, Passphrase, Slot, Source

DATABASE_FILE = "kms.db"
_UNFINISHED = ".new"
# Of a try that was cut short, and of nobody else: key files of slots lie here too, under names that people chose.
_LEFT = (
    *(f"{DATABASE_FILE}{_UNFINISHED}{rest}" for rest in ("", "-*", ".*")),
    *(f"{slots.KEY_FILE}{_UNFINISHED}", f".{slots.KEY_FILE}{_UNFINISHED}.*"),
)
FIRST_SLOT = "default"
LASTING_SECRET: Name = ("secret", "lasting")
AUDIT_SECRET: Name = ("secret", "audit")


class KmsStoreError(Exception):
    """The key service can't be opened; the text is for the person who starts it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class First:
    """How a new key service is made. `source`: of its first slot; None: whatever key is given, else a key file."""

    account_id: str
    region: str
    source: Source | None = None


def absent(path: Path) -> bool:
    """Only "no such file" is absence. Raises OSError for all else."""
    try:
        path.lstat()
    except FileNotFoundError:
        return True
    return False


async def create(given: Given, first: First, *, may_create: bool, now_us: Callable[[], int]) -> None:
    """All under other names; the database's renaming is the moment from which there is a key service."""
    directory = given.directory
    path, key_file = directory / DATABASE_FILE, directory / slots.KEY_FILE
    if not may_create:
        raise KmsStoreError(f"{path} is missing, but there was a key service: restore it from a backup.")
    if not absent(key_file):
        raise KmsStoreError(
            f"{path} is missing, but its key file {key_file} is there: restore the database from a backup."
            " Nothing was changed. (To begin anew, without any key there was, move the key file away.)"
        )
    for pattern in _LEFT:
        for left in directory.glob(pattern):
            left.unlink()
    source = first.source or _given_source(given)
    unfinished = directory / (DATABASE_FILE + _UNFINISHED)
    with _first_key(source, given) as key:
        migrate(unfinished, migrations_of("kms"))
        database = SqliteDatabase.open(unfinished, reserve_bytes=0)
        try:
            await _fill(database, first, source, key, now_us)
        finally:
            await database.close()
    if not absent(unfinished.with_name(unfinished.name + "-wal")):
        raise Unavailable("the new database could not be completed")
    os.rename(unfinished, path)
    fsync_directory(str(directory))


def _given_source(given: Given) -> Source:
    """Whoever gives a key or a passphrase believes that no key lies on the disk. Raises SlotError."""
    if given.environ.get(slots.KEY_VARIABLE):
        return slots.Environment()
    if given.credential(slots.KEY_CREDENTIAL) is not None:
        return slots.Credential()
    if given.passphrase(FIRST_SLOT) is not None:
        return slots.new_passphrase_source()
    return KeyFile(slots.KEY_FILE)


def _first_key(source: Source, given: Given) -> SecretKey:
    """Raises SlotError, OSError."""
    if isinstance(source, KeyFile):
        key = secrets.token_bytes(32)
        write_private(given.directory / (slots.KEY_FILE + _UNFINISHED), base64.b64encode(key) + b"\n", replace=False)
        return SecretKey(key)
    if isinstance(source, Passphrase):
        slots.check_passphrase(given.passphrase(FIRST_SLOT) or "")
    return slots.read_key(source, given, FIRST_SLOT)


def finish(directory: Path) -> None:
    """What comes after the renaming of the database, there or where a crash cut it short."""
    unfinished, key_file = directory / (slots.KEY_FILE + _UNFINISHED), directory / slots.KEY_FILE
    if not absent(unfinished) and absent(key_file):
        os.rename(unfinished, key_file)
        fsync_directory(str(directory))
    for left in directory.glob(f"{DATABASE_FILE}{_UNFINISHED}.*"):  # its lock and reserve
        left.unlink()


async def _fill(
    database: SqliteDatabase, first: First, source: Source, key: SecretKey, now_us: Callable[[], int]
) -> None:
    store_id = secrets.token_bytes(16)
    version = RootVersion(1, SecretKey(secrets.token_bytes(32)))
    root = OpenRoot(
        store_id=store_id,
        account_id=first.account_id,
        region=first.region,
        current=version,
        previous=None,
        now_us=now_us,
    )
    unsealed = Slot(
        slot_id=secrets.token_bytes(16),
        name=FIRST_SLOT,
        source=source,
        created_us=now_us(),
        fingerprint=b"",
        root_version=1,
        sealed=b"",
    )
    slot = slots.sealed_slot(unsealed, key, version.key, 1, store_id=store_id)
    head = Head(account_id=first.account_id, region=first.region, pages=(0,) * PAGES, last_event=0)
    writes = [
        slot_write(slot),
        Write(name=LASTING_SECRET, plaintext=secrets.token_bytes(32)),
        Write(name=AUDIT_SECRET, plaintext=secrets.token_bytes(32)),
    ]
    commit = prepare(Ledger(0, head, Revisions()), root, writes)
    audit = root.seal_record(msgspec.msgpack.encode(AuditState()), head_place("audit", 1, 1))

    def insert(tx: Connection) -> None:
        facts = {"store_id": store_id, "account_id": first.account_id.encode(), "region": first.region.encode()}
        for name, value in facts.items():
            tx.execute("INSERT INTO kms (name, value) VALUES (?, ?)", (name, value))
        tx.execute("INSERT INTO roots (version, fingerprint, sealed) VALUES (1, ?, NULL)", (version.fingerprint,))
        insert_slot(tx, slot)
        for name, revision, sealed in (("state", 0, b""), ("audit", 1, audit)):
            tx.execute(
                "INSERT INTO heads (name, revision, root_version, sealed) VALUES (?, ?, 1, ?)", (name, revision, sealed)
            )
        commit.write(tx)

    try:
        await database.transact(insert)
    finally:
        root.close()
