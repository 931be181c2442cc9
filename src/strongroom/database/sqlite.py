"""`SqliteDatabase`: the Database seam over one SQLite file in WAL mode, shared by several processes.

Reads run where they are called: on the event loop, in a few microseconds, on a connection of their own, which in WAL
mode waits for no writer. Transactions go to the one writer thread (sqlite_writer.py). Open it after the fork: SQLite's
connections do not survive one.
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar, cast

from strongroom.database.database import Connection, Row, Unavailable, Value
from strongroom.database.sqlite_connection import connect, translated
from strongroom.database.sqlite_files import Reserve, WriterLock, create_private, fsync_directory
from strongroom.database.sqlite_writer import Job, Writer

if TYPE_CHECKING:
    from strongroom.database.database import Database

T = TypeVar("T")

RESERVE_BYTES = 8 << 20
_BACKUP_PAGES = 2048  # between two reports of progress


class SqliteDatabase:
    def __init__(self, reader: sqlite3.Connection, writer: Writer, lock: WriterLock, reserve: Reserve) -> None:
        self._reader = reader
        self._writer = writer
        self._lock = lock
        self._reserve = reserve
        self._closed = False

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], *, reserve_bytes: int = RESERVE_BYTES, busy_timeout: float = 5.0
    ) -> Self:
        """The database at `path`, made where there is none; its tables are migrations.py's business.

        `reserve_bytes`: disk held back for transactions that free space. `busy_timeout`: seconds that a transaction
        waits for other processes. Raises Unavailable, or OSError where the directory is at fault.
        """
        path = os.fspath(path)
        create_private(path)
        with ExitStack() as undo:
            lock = WriterLock(path)
            undo.callback(lock.close)
            reserve = Reserve(path, reserve_bytes)
            undo.callback(reserve.close)
            with lock.held(busy_timeout):
                reserve.hold()
                try:
                    reader = _connect_reader(path, busy_timeout)
                except Unavailable:
                    if not reserve.give_up():  # on a full disk even the wal-index needs a little space
                        raise
                    reader = _connect_reader(path, busy_timeout)
                undo.callback(reader.close)
                fsync_directory(os.path.dirname(path) or ".")  # the WAL's name: SQLite ignores an error of its own try
            undo.pop_all()
        return cls(reader, Writer(path, lock=lock, reserve=reserve, busy_timeout=busy_timeout), lock, reserve)

    def read_sync(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        """`read` for callers without an event loop."""
        self._check_open()
        try:  # `translated` only where there is something to translate: requests read a few times each
            return self._reader.execute(sql, params).fetchall()
        except sqlite3.Error:
            with translated():
                raise

    async def read(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        return self.read_sync(sql, params)

    async def version(self) -> int:
        return self.version_sync()

    def version_sync(self) -> int:
        """`version` for callers without an event loop."""
        return cast("int", self.read_sync("PRAGMA data_version")[0][0])

    def damage(self) -> list[str]:
        """What is wrong with the file as a database, index entries included (PRAGMA integrity_check). Reads all of it."""
        found = [cast("str", row[0]) for row in self.read_sync("PRAGMA integrity_check")]
        return [] if found == ["ok"] else found

    async def transact(self, function: Callable[[Connection], T], *, frees_space: bool = False) -> T:
        self._check_open()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[object] = loop.create_future()

        def settle(result: object, error: BaseException | None) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(_settle, future, result, error)

        self._writer.submit(Job(function=function, frees_space=frees_space, settle=settle))
        return cast("T", await future)

    async def close(self) -> None:
        """Finish the transactions that wait, empty the WAL into the database, let go of the files."""
        if self._closed:
            return
        self._closed = True
        await asyncio.to_thread(self._writer.close)
        self._reader.close()
        self._reserve.close()
        self._lock.close()

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable("the database is closed")


def _settle(future: asyncio.Future[object], result: object, error: BaseException | None) -> None:
    if future.done():  # the caller was cancelled; the transaction took place all the same
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


def _connect_reader(path: str, timeout: float) -> sqlite3.Connection:
    connection = connect(path, timeout=timeout)
    try:
        with translated():
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("SELECT 1 FROM sqlite_schema").fetchall()  # recovers the WAL of a process that died
    except BaseException:
        connection.close()
        raise
    return connection


def backup(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Copy the database, beside a running server, to a new file (0600, fsynced): one moment of it, whole.

    `progress(pages_left, pages)`. Raises FileNotFoundError, FileExistsError, Unavailable.
    """
    source, destination = os.fspath(source), os.fspath(destination)
    os.stat(source)  # SQLite would make an empty one
    create_private(destination, must_be_new=True)

    def report(_status: int, remaining: int, total: int) -> None:
        if progress is not None:
            progress(remaining, total)

    with (
        closing(connect(source, timeout=5.0)) as reader,
        closing(connect(destination, timeout=5.0)) as copy,
        translated(),
    ):
        # One snapshot for the whole copy: without it every commit of another process would start the backup again.
        reader.execute("BEGIN")
        reader.execute("SELECT 1 FROM sqlite_schema").fetchall()
        reader.backup(copy, pages=_BACKUP_PAGES, progress=report)
        reader.execute("ROLLBACK")
    fsync_directory(os.path.dirname(destination) or ".")


@contextmanager
def read_copy(path: str | os.PathLike[str]) -> Iterator[Callable[[str, Sequence[Value]], list[Row]]]:
    """Read a finished copy, which nobody writes, and leave no files beside it. Raises Unavailable."""
    uri = f"{Path(path).absolute().as_uri()}?mode=ro&immutable=1"
    with translated(), closing(sqlite3.connect(uri, uri=True)) as connection:
        yield lambda sql, params: connection.execute(sql, params).fetchall()


def read_once(path: str | os.PathLike[str], sql: str) -> list[Row]:
    """Rows of a database that is only looked at, beside a running server or without one. Raises Unavailable."""
    # Nobody has it open where there is no WAL, and SQLite would leave one behind, though it only reads.
    alone = "" if os.path.exists(f"{os.fspath(path)}-wal") else "&immutable=1"
    uri = f"{Path(path).absolute().as_uri()}?mode=ro{alone}"
    with translated(), closing(sqlite3.connect(uri, uri=True)) as connection:
        return connection.execute(sql).fetchall()


if TYPE_CHECKING:

    def _is_database(database: SqliteDatabase) -> Database:
        return database
