"""The one writer thread of a process: what waits becomes one SQLite transaction, a savepoint for each member.

A commit costs an fsync, so the thread takes everything that queued up during the last one (group commit). Across
processes the writers' lock decides who is next. This file knows no event loop: a job's `settle` is called once, from
this thread, after the commit is on disk or the job has failed.
"""

import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from strongroom.database.database import Connection, DatabaseFull, Row, Unavailable, Value
from strongroom.database.sqlite_connection import BUSY, connect, translated
from strongroom.database.sqlite_files import Reserve, WriterLock

WAL_BOUND = 4 << 20  # bytes; the reserve must exceed it, for a checkpoint may grow the database by as much
IDLE_SECONDS = 1.0
_MAX_GROUP = 256
_STRANGER_PATIENCE = 0.1  # seconds that SQLite waits for a lock by itself: readers in a checkpoint, a sqlite3 shell


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """`settle(result, error)`: the first call counts, and of it `result` where `error` is None."""

    function: Callable[[Connection], object]
    frees_space: bool
    settle: Callable[[object, BaseException | None], None]


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a member of a group came to, held until the group's commit."""

    result: object
    error: BaseException | None


class SqliteConnection:
    """The Connection that a transaction's function gets."""

    __slots__ = ("_connection", "changed")

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.changed = 0

    def execute(self, sql: str, params: Sequence[Value] = ()) -> list[Row]:
        with translated():
            cursor = self._connection.execute(sql, params)
            rows: list[Row] = cursor.fetchall()
        if cursor.rowcount >= 0:  # -1: not a write
            self.changed = cursor.rowcount
        return rows


class Writer:
    def __init__(self, path: str, *, lock: WriterLock, reserve: Reserve, busy_timeout: float) -> None:
        self._path = path
        self._lock = lock
        self._reserve = reserve
        self._busy_timeout = busy_timeout
        self._connection: sqlite3.Connection | None = None
        self._checkpoint_at = WAL_BOUND
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(self, job: Job) -> None:
        if self._thread is None:  # not before the first job, since a fork would lose it
            self._thread = threading.Thread(target=self._run, name="sqlite-writer", daemon=True)
            self._thread.start()
        self._queue.put(job)

    def close(self) -> None:
        """Finish what is queued, checkpoint, close the connection. Blocks; nothing may be submitted any more."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()

    def _run(self) -> None:
        written = False
        while True:
            try:
                job = self._queue.get(timeout=IDLE_SECONDS if written else None)
            except queue.Empty:
                self._checkpoint_now()
                written = False
                continue
            group, last = self._waiting(job)
            if group:
                self._write(group)
                written = True
            if last:
                break
        self._checkpoint_now()
        self._disconnect()

    def _waiting(self, job: Job | None) -> tuple[list[Job], bool]:
        """`job` and all that queued up behind it, and whether that was the last there will be."""
        group: list[Job] = []
        while job is not None:
            group.append(job)
            if len(group) == _MAX_GROUP:
                return group, False
            try:
                job = self._queue.get_nowait()
            except queue.Empty:
                return group, False
        return group, True

    def _write(self, group: list[Job]) -> None:
        try:
            with self._lock.held(self._busy_timeout):
                self._commit(self._admitted(group))
                if self._wal_size() > self._checkpoint_at:
                    self._checkpoint()
        except BaseException as error:  # noqa: BLE001  a thread that ends here would leave every later caller waiting
            self._fail(group, error)

    def _admitted(self, group: list[Job]) -> list[Job]:
        """All of `group`, or without the reserve what frees space: else a full disk would stay full."""
        if self._reserve.hold():
            return group
        self._fail([job for job in group if not job.frees_space], DatabaseFull("the disk is full"))
        return [job for job in group if job.frees_space]

    def _commit(self, group: list[Job]) -> None:
        """Commit `group` as one, or where that takes too much space, each of its members as far as it fits."""
        if not group:
            return
        try:
            outcomes = self._transaction(group)
        except DatabaseFull as error:
            if len(group) > 1:
                for job in group:
                    self._commit([job])
            elif group[0].frees_space and self._reserve.give_up():
                self._checkpoint()  # the reserve exceeds the WAL, so this makes room in the WAL
                self._commit(group)
            else:
                self._fail(group, error)
        except Unavailable as error:
            self._fail(group, error)
        else:
            for job, outcome in zip(group, outcomes, strict=True):
                job.settle(outcome.result, outcome.error)

    def _fail(self, group: list[Job], error: BaseException) -> None:
        for job in group:
            job.settle(None, error)

    def _transaction(self, group: list[Job]) -> list[_Outcome]:
        """BEGIN to COMMIT. Raises Unavailable: nothing of the group was changed."""
        connection = self._connected()
        self._begin(connection)
        try:
            outcomes = [self._member(connection, job) for job in group]
            with translated():
                connection.execute("COMMIT")
        except BaseException as error:
            # After some errors SQLite has rolled back by itself (sqlite.org/lang_transaction.html).
            if connection.in_transaction:
                with translated():
                    connection.execute("ROLLBACK")
            if isinstance(error, Unavailable):
                self._recover()
            raise
        return outcomes

    def _member(self, connection: sqlite3.Connection, job: Job) -> _Outcome:
        """Run one function in a savepoint. Raises Unavailable where the whole transaction is spoilt."""
        connection.execute("SAVEPOINT member")
        try:
            outcome = _Outcome(job.function(SqliteConnection(connection)), None)
        except Unavailable:
            raise
        except BaseException as error:  # noqa: BLE001  whatever it is, it belongs to the caller
            outcome = _Outcome(None, error)
        with translated():
            if not connection.in_transaction:
                raise Unavailable("the transaction was rolled back under its function")
            if outcome.error is not None:
                connection.execute("ROLLBACK TO member")
            connection.execute("RELEASE member")
        return outcome

    def _begin(self, connection: sqlite3.Connection) -> None:
        """BEGIN IMMEDIATE. Our own processes are kept out by the writers' lock: who makes this wait is a stranger."""
        deadline = time.monotonic() + self._busy_timeout
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF == BUSY and time.monotonic() < deadline:
                    continue
                with translated():
                    raise
            else:
                return

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = connect(self._path, timeout=_STRANGER_PATIENCE)
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _recover(self) -> None:
        """After a transaction that the machine broke: a new connection, and an empty WAL.

        A commit that failed in its last steps may stand whole in the WAL file, unseen by the living and valid for the
        recovery after a crash. Truncating the file is what makes "nothing was changed" true.
        """
        self._disconnect()
        self._checkpoint()

    def _wal_size(self) -> int:
        try:
            return os.stat(self._path + "-wal").st_size
        except OSError:
            return 0

    def _checkpoint(self) -> None:
        """Copy the WAL into the database and empty it, under the writers' lock; what cannot be done now, later."""
        try:
            with translated():
                busy = self._connected().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()[0][0]
        except (Unavailable, sqlite3.Error):
            busy = 1
        # A long reader (a backup) keeps the WAL from being emptied: try again after as much as that once more, not at
        # every commit.
        self._checkpoint_at = self._wal_size() + WAL_BOUND if busy else WAL_BOUND

    def _checkpoint_now(self) -> None:
        # Unavailable: another process is writing, so it will be the one to find the WAL too long, or itself idle.
        with suppress(Unavailable, OSError), self._lock.held(0):
            self._checkpoint()
