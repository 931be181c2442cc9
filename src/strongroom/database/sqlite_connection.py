"""A SQLite connection as Strongroom uses it: its settings, and which of its errors mean "not now"."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from strongroom.database.database import DatabaseFull, Unavailable

BUSY = 5
_FULL = 13
_SHM_SIZE = 10 | 19 << 8  # SQLITE_IOERR_SHMSIZE: no space for the wal-index
_SHM_MAP = 10 | 21 << 8
# BUSY, LOCKED, NOMEM, READONLY, INTERRUPT, IOERR, FULL, CANTOPEN, PROTOCOL (sqlite.org/rescode.html). Not among them:
# CORRUPT and NOTADB, which no waiting mends, and errors of the SQL.
_NOT_NOW = frozenset({BUSY, 6, 7, 8, 9, 10, _FULL, 14, 15})
_HINTS = {8: "the disk or the file is read-only", 10: "the disk fails", 14: "a read-only disk, or missing permissions"}

_SETTINGS = (
    "PRAGMA synchronous = FULL",  # a commit is on disk when COMMIT returns
    "PRAGMA secure_delete = ON",  # sealed keys of deleted rows are overwritten
    "PRAGMA temp_store = MEMORY",
    "PRAGMA foreign_keys = OFF",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA wal_autocheckpoint = 0",  # only the writer checkpoints, under its lock
    "PRAGMA mmap_size = 0",  # a failing disk must be an error, not a SIGBUS
    "PRAGMA cache_size = -16384",  # KiB
)


def connect(path: str, *, timeout: float) -> sqlite3.Connection:
    """`timeout`: seconds that SQLite waits by itself for a lock. Raises Unavailable."""
    with translated():
        connection = sqlite3.connect(
            path, timeout=timeout, isolation_level=None, check_same_thread=False, cached_statements=512
        )
        try:
            for setting in _SETTINGS:
                connection.execute(setting)
        except BaseException:
            connection.close()
            raise
    return connection


@contextmanager
def translated() -> Iterator[None]:
    """Turn what the machine did (not what the SQL did) into Unavailable or DatabaseFull."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0)  # absent where the module itself complains
        if code & 0xFF == _FULL or code in {_SHM_SIZE, _SHM_MAP}:
            raise DatabaseFull("no space is left for the database") from error
        if code & 0xFF in _NOT_NOW:
            hint = f" ({_HINTS[code & 0xFF]})" if code & 0xFF in _HINTS else ""
            raise Unavailable(f"the database cannot be used now: {error.sqlite_errorname}{hint}") from error
        raise
