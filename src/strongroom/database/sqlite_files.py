"""The files beside a SQLite database: its writers' lock and its reserve of disk space.

    index.db             0600, made here before SQLite sees it; SQLite gives -wal and -shm the mode of this file
    index.db.lock        held (flock) by the one process that writes or checkpoints
    index.db.reserve     space held back for transactions that free space; empty while it is given up

The database file itself is never opened here once it exists: POSIX locks belong to the process, and closing any
descriptor of the file drops all that SQLite holds on it (sqlite.org/howtocorrupt.html, 2.2).
"""

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from strongroom.database.database import Unavailable

_POLL_SECONDS = (
    0.0005  # about a commit's time: flock has no timeout, and a blocking one would hang behind a stopped process
)


def create_private(path: str, *, must_be_new: bool = False) -> None:
    """Make `path` a 0600 file whatever the umask. Raises FileExistsError for what is there and is no regular file (a
    symlink).
    """
    try:
        descriptor = _open_private(path, os.O_EXCL)
    except FileExistsError:
        status = os.lstat(path)
        if must_be_new or not stat.S_ISREG(status.st_mode):
            raise
        if stat.S_IMODE(status.st_mode) != 0o600:
            os.chmod(path, 0o600)
        return
    os.close(descriptor)
    fsync_directory(os.path.dirname(path) or ".")


def fsync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open_private(path: str, flags: int = 0) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | flags, 0o600)
    os.fchmod(descriptor, 0o600)
    return descriptor


class WriterLock:
    """One process at a time writes or checkpoints.

    SQLite's own lock would do for writing. It does not keep a checkpoint from running while another process resets the
    WAL, which loses commits in SQLite before 3.51.3 (sqlite.org/wal.html, "The WAL-Reset Bug"); Debian 12 has 3.40.
    """

    def __init__(self, database_path: str) -> None:
        self._descriptor = _open_private(database_path + ".lock")

    @contextmanager
    def held(self, timeout: float) -> Iterator[None]:
        """`timeout`: seconds. Raises Unavailable. The kernel lets go of it when the process dies."""
        deadline = time.monotonic() + timeout
        while not self._acquired():
            if time.monotonic() >= deadline:
                raise Unavailable("another process has been writing for too long")
            time.sleep(_POLL_SECONDS)
        try:
            yield
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _acquired(self) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        os.close(self._descriptor)


class Reserve:
    """`size` bytes of disk that only transactions which free space may use. Its methods are called under the writers'
    lock.

    Other writers see by the file whether it is whole, so "full" is one state of all processes.
    """

    def __init__(self, database_path: str, size: int) -> None:
        self._descriptor = _open_private(database_path + ".reserve")
        self._size = size

    def hold(self) -> bool:
        """Whether the reserve is whole; it is made again where there is space again."""
        if os.fstat(self._descriptor).st_size >= self._size:
            return True
        try:
            os.posix_fallocate(self._descriptor, 0, self._size)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._descriptor, 0)  # a part of it would be space that nobody can use
            # Anything but a full disk is no reason to refuse writing: the commit itself will tell.
            return error.errno not in {errno.ENOSPC, errno.EDQUOT}
        return True

    def give_up(self) -> bool:
        """Free the space. False: there was none."""
        held = os.fstat(self._descriptor).st_size > 0
        os.ftruncate(self._descriptor, 0)
        return held

    def close(self) -> None:
        os.close(self._descriptor)


def give_up_reserve(database_path: str, timeout: float) -> bool:
    """For a database that nobody can open without. False: there was none. Raises Unavailable."""
    lock, reserve = WriterLock(database_path), Reserve(database_path, 0)
    try:
        with lock.held(timeout):
            return reserve.give_up()
    finally:
        reserve.close()
        lock.close()
