"""Where an identity store lies, and how one is made and opened.

The directory holds the database and the key. A key is made only for rows that don't exist yet, a missing key beside rows
is refused, and so is a missing database beside a key: neither loss may pass for a first start. Who the users are is none
of this module's business.
"""

import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from strongroom.crypto.errors import IntegrityError
from strongroom.database.database import Connection, Database, Row, Unavailable, Value
from strongroom.database.migrations import SchemaTooNew, SchemaTooOld, migrate, migrations_of, require_newest
from strongroom.database.private_file import make_private_directory
from strongroom.database.sqlite import SqliteDatabase, read_once
from strongroom.identity.keys import (
    FILE_NAME,
    IdentityKeyError,
    create_identity_key,
    identity_key_id,
    load_identity_key,
)
from strongroom.identity.records import IdentityError
from strongroom.identity.rows import HEAD, Sealing, seal_head
from strongroom.identity.users import READ_HEAD, READ_USERS, Survey, surveyed

DATABASE_FILE = "identity.db"
_NAMES = "SELECT name, value FROM store"


@dataclass(frozen=True, slots=True)
class IdentityFiles:
    """The directory of an identity store."""

    directory: Path

    @property
    def database(self) -> Path:
        return self.directory / DATABASE_FILE

    @property
    def key(self) -> Path:
        return self.directory / FILE_NAME

    def is_there(self) -> bool:
        return self.database.exists() and self.database.stat().st_size > 0


@dataclass(frozen=True, slots=True)
class OpenIdentityStore:
    """An identity store opened by one process."""

    database: SqliteDatabase
    sealing: Sealing


def require_key(files: IdentityFiles) -> bytes:
    """The identity key. Raises IdentityKeyError where there is none too."""
    key = load_identity_key(files.directory)
    if key is None:
        raise IdentityKeyError(
            f"{files.key} is missing. Without it no user can be read: put it back from a backup. If it is lost, remove"
            f" {files.database} to begin without users."
        )
    return key


async def initialise_identities(files: IdentityFiles) -> None:
    """Make the store where there is none, its key with it, and check that key and store belong together. Raises
    IdentityError, whatever is in the way.
    """
    with _told(files):
        await _initialise(files)


async def _initialise(files: IdentityFiles) -> None:
    make_private_directory(files.directory)
    if not files.is_there() and files.key.exists():
        raise IdentityKeyError(
            f"{files.database} is missing or empty, but {files.key} is there: restore it from a backup. If it is lost,"
            f" remove {files.key} to begin without users."
        )
    migrate(files.database, migrations_of("identity"))
    database = SqliteDatabase.open(files.database)
    try:
        if not await database.read("SELECT 1 FROM store WHERE name = 'store_id'"):
            await _make(files, database)
        await _sealing(files, database)
    finally:
        await database.close()


async def _make(files: IdentityFiles, database: Database) -> None:
    key = load_identity_key(files.directory)
    if key is None:
        try:
            key = create_identity_key(files.directory)
        except FileExistsError:  # another process's, which is at the same
            key = require_key(files)
    sealing = Sealing.of(key, secrets.token_bytes(16))

    def insert(tx: Connection) -> None:
        if tx.execute("SELECT 1 FROM store WHERE name = 'store_id'"):
            return
        for name, value in (
            ("store_id", sealing.store_id),
            ("identity_key_id", identity_key_id(key)),
            (HEAD, seal_head(sealing, {})),
        ):
            tx.execute("INSERT INTO store (name, value) VALUES (?, ?)", (name, value))

    await database.transact(insert)


async def open_identity_store(files: IdentityFiles) -> OpenIdentityStore:
    """Raises IdentityError, whatever is in the way."""
    with _told(files):
        return await _open(files)


async def _open(files: IdentityFiles) -> OpenIdentityStore:
    if not files.is_there():
        raise IdentityError(f"{files.database} is missing or empty: `strongroom serve` makes it at its first start")
    require_newest(files.database, migrations_of("identity"))
    database = SqliteDatabase.open(files.database)
    try:
        return OpenIdentityStore(database, await _sealing(files, database))
    except BaseException:
        await database.close()
        raise


@contextmanager
def _told(files: IdentityFiles) -> Iterator[None]:
    try:
        yield
    except (IntegrityError, SchemaTooNew, SchemaTooOld, Unavailable) as error:
        raise IdentityError(str(error)) from error
    except sqlite3.DatabaseError as error:  # what no waiting mends; the rest is Unavailable
        raise IdentityError(f"{files.database} is damaged ({error}): restore it from a backup") from error


def look_at_identities(files: IdentityFiles) -> Survey:
    """All users, beside running servers; nothing is changed. Raises IdentityError, whatever is in the way."""
    with _told(files):
        key = require_key(files)
        if not files.is_there():
            raise IdentityError(f"{files.database} is missing or empty: restore it from a backup")
        sealing = _sealing_of(files, key, read_once(files.database, _NAMES))
        return surveyed(sealing, read_once(files.database, READ_USERS), read_once(files.database, READ_HEAD))


async def _sealing(files: IdentityFiles, database: Database) -> Sealing:
    return _sealing_of(files, require_key(files), await database.read(_NAMES))


def _sealing_of(files: IdentityFiles, key: bytes, rows: list[Row]) -> Sealing:
    names = dict(cast("list[tuple[str, Value]]", rows))
    store_id, key_id = names.get("store_id"), names.get("identity_key_id")
    if not isinstance(store_id, bytes) or not isinstance(key_id, bytes):
        raise IntegrityError(f"{files.database} is damaged: its names cannot have been written")
    if key_id != identity_key_id(key):
        raise IdentityKeyError(f"{files.key} is another key than the one that {files.database} is sealed with")
    return Sealing.of(key, store_id)
