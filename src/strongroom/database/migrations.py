"""Numbered SQL files bring a database to this version's schema: `migrations/NAME/NNNN_*.sql`, one transaction each.

The table `schema` holds the number of the last one applied. There is no way back: a database of a newer version is
refused before anything is written to it. This file knows no table but its own.
"""

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from importlib import resources
from pathlib import Path
from typing import Literal

from strongroom.database.database import DatabaseFull
from strongroom.database.sqlite_connection import connect, translated
from strongroom.database.sqlite_files import WriterLock, create_private, give_up_reserve


class SchemaTooNew(Exception):
    """The database was written by a newer version. Nothing was changed."""


class SchemaTooOld(Exception):
    """The database was written by an older version, and only the start of a server migrates it. Nothing was changed."""


def migrations_of(database: Literal["index", "identity", "kms"]) -> Mapping[int, str]:
    """Number -> SQL of the files in this package."""
    folder = resources.files("strongroom.database") / "migrations" / database
    return {int(file.name[:4]): file.read_text("utf-8") for file in folder.iterdir() if file.name.endswith(".sql")}


def migrate(path: str | os.PathLike[str], migrations: Mapping[int, str], *, busy_timeout: float = 5.0) -> int:
    """Bring the database at `path` (made where there is none) to the newest schema and return its number.

    Safe while others do the same. Raises SchemaTooNew, and Unavailable.
    """
    path = os.fspath(path)
    try:
        return _migrate(path, migrations, busy_timeout)
    except DatabaseFull:  # merely to look into a database takes a little space, for its wal-index
        if not give_up_reserve(path, busy_timeout):
            raise
        return _migrate(path, migrations, busy_timeout)


def _migrate(path: str, migrations: Mapping[int, str], busy_timeout: float) -> int:
    newest = max(migrations)
    _refuse_newer(path, newest)
    create_private(path)
    lock = WriterLock(path)
    try:
        with lock.held(busy_timeout), closing(connect(path, timeout=busy_timeout)) as connection, translated():
            connection.execute("PRAGMA journal_mode = WAL")
            for number in range(1, newest + 1):
                _apply(connection, number, migrations[number])
    finally:
        lock.close()
    return newest


def schema_version(connection: sqlite3.Connection) -> int:
    """0 for a database without a schema."""
    if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'schema'").fetchall():
        return 0
    version: int = connection.execute("SELECT version FROM schema").fetchone()[0]
    return version


def require_newest(path: str | os.PathLike[str], migrations: Mapping[int, str]) -> None:
    """Refuse a database that this version does not work on as it stands. Raises SchemaTooNew, SchemaTooOld, Unavailable."""
    newest = max(migrations)
    if _refuse_newer(os.fspath(path), newest) < newest:
        raise SchemaTooOld(
            f"{os.fspath(path)} is of an older version: start the server once, which brings it up to date"
        )


def _refuse_newer(path: str, newest: int) -> int:
    """The version found, on a read-only connection, which does not even checkpoint."""
    if not os.path.exists(path):
        return 0
    with translated(), closing(sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True)) as connection:
        found = schema_version(connection)
    if found > newest:
        raise SchemaTooNew(
            f"{path} has schema {found}, and this version of Strongroom knows schemas up to {newest}: "
            "a downgrade is refused, start the newer version"
        )
    return found


def _apply(connection: sqlite3.Connection, number: int, script: str) -> None:
    connection.execute("BEGIN EXCLUSIVE")
    try:
        if schema_version(connection) < number:
            for statement in _statements(script):
                connection.execute(statement)
            if number == 1:
                connection.execute("CREATE TABLE schema (version BIGINT NOT NULL)")
                connection.execute("INSERT INTO schema (version) VALUES (0)")
            connection.execute("UPDATE schema SET version = ?", (number,))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _statements(script: str) -> Iterator[str]:
    """Its statements; `executescript` would commit behind our back."""
    statement = ""
    for piece in script.split(";"):
        statement += piece + ";"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip("; \n"):
        yield statement.removesuffix(";")
