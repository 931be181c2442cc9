"""The one writer of the log's files: groups of records go out in one write and one fsync. Blocking, for one thread.

Rules
- A group is in the file as a whole or not at all. What failed is cut away again; until that has succeeded nothing else is
  written, and afterwards the log goes on in a new file: after a failed fsync Linux forgets which pages it has lost, and
  the next fsync of that file succeeds without them (lwn.net/Articles/752063).
- The file is only ever as long as this writer left it, and under its name. Somebody who cuts, writes or removes it while
  the service runs stops the service.
- The last bytes of a disk are this log's: a reserve is given up when the disk is full, and held again when there is room.
"""

import errno
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime

from strongroom.audit.chain import Head, chained
from strongroom.audit.files import CHECKPOINTS, LogFile
from strongroom.database.sqlite_files import Reserve
from strongroom.observe import log

MAX_FILE_BYTES = 64 << 20
RESERVE_BYTES = 16 << 20
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
_HOLD_AGAIN_SECONDS = 10.0
_APPEND = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class LogTouched(Exception):
    """Somebody else changed or removed the file that is being written. The text is meant for people."""


class LogWriter:
    """Goes on after `head`, in `file` where that is given and its `size` bytes are good; else it begins a new one."""

    def __init__(
        self,
        directory: int,
        head: Head,
        *,
        file: LogFile | None,
        size: int,
        reserve: Reserve,
        max_file_bytes: int = MAX_FILE_BYTES,
    ) -> None:
        self.head = head
        self._directory = directory
        self._reserve = reserve
        self._max_file_bytes = max_file_bytes
        self._file = file
        self._size = size
        self._descriptor = -1
        self._before = head
        self._undo: tuple[str, int] | None = None  # the file that a group went to, and its size before
        self._retracting = False
        self._touched: str | None = None
        self._held, self._held_at = reserve.hold(), time.monotonic()
        if file is not None:
            self._descriptor = os.open(file.name, _APPEND, dir_fd=directory)
            os.fchmod(self._descriptor, 0o600)

    def write(self, group: Sequence[tuple[bytes, int]], now_us: int) -> list[Head]:
        """Append (event, state revision) of each; the heads they make, once they are durable.

        Raises OSError and LogTouched: nothing of the group is in the file, or will be when something is written again.
        """
        if self._touched is not None:
            raise LogTouched(self._touched)
        self._mend()
        self._hold_reserve()
        self._before, self._undo = self.head, None
        head, heads, data = self.head, [], []
        for event, revision in group:
            line, head = chained(head, event, revision)
            heads.append(head)
            data.append(line)
        while True:
            try:
                self._put(b"".join(data), now_us)
            except OSError as error:
                self.retract()
                if error.errno not in _NO_SPACE or not self.give_up_reserve():
                    raise
            else:
                break
        self.head = head
        return heads

    def retract(self) -> None:
        """Take back the group that was written last, whole or in part. Raises OSError: the next write tries again."""
        self.head, self._retracting = self._before, True
        self._mend()

    def give_up_reserve(self) -> bool:
        """Whether there is room now that was held back."""
        self._held, self._held_at = False, time.monotonic()
        if not self._reserve.give_up():
            return False
        log.warning("the disk is full: the audit log lives on its reserve")
        return True

    def close(self) -> None:
        self._close_file()
        self._reserve.close()

    def _put(self, data: bytes, now_us: int) -> None:
        day = datetime.fromtimestamp(now_us // 1_000_000, UTC).strftime("%Y%m%d")
        if self._file is not None:
            self._check_untouched(self._file)
        file = self._file
        if file is None or day > file.day or self._size >= self._max_file_bytes:
            file = self._begin_file(day)
        self._undo = (file.name, self._size)
        _write_all(self._descriptor, data)
        os.fdatasync(self._descriptor)
        self._size += len(data)

    def _begin_file(self, day: str) -> LogFile:
        self._close_file()
        file = LogFile(day, self.head.sequence + 1)
        self._descriptor = os.open(file.name, _APPEND | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=self._directory)
        self._file, self._size, self._undo = file, 0, (file.name, 0)
        os.fchmod(self._descriptor, 0o600)
        os.fsync(self._directory)
        return file

    def _check_untouched(self, file: LogFile) -> None:
        ours = os.fstat(self._descriptor)
        try:
            named = os.stat(file.name, dir_fd=self._directory, follow_symlinks=False)
        except FileNotFoundError:
            self._touched = f"{file.name} was removed while it was in use"
        else:
            if (named.st_dev, named.st_ino) != (ours.st_dev, ours.st_ino):
                self._touched = f"{file.name} was replaced while it was in use"
            elif ours.st_size != self._size:
                self._touched = f"{file.name} was changed by somebody else while it was in use"
        if self._touched is not None:
            raise LogTouched(self._touched)

    def _mend(self) -> None:
        if not self._retracting:
            return
        self._close_file()
        if self._undo is not None:
            cut(self._directory, *self._undo)
        self._undo, self._retracting = None, False

    def _close_file(self) -> None:
        self._file = None
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)

    def _hold_reserve(self) -> None:
        if not self._held and time.monotonic() - self._held_at >= _HOLD_AGAIN_SECONDS:
            self._held, self._held_at = self._reserve.hold(), time.monotonic()
            if self._held:
                log.info("the audit log holds its reserve of disk space again")


def cut(directory: int, name: str, size: int) -> None:
    """Make `name` as long as `size`, durably; a file of nothing goes altogether. Raises OSError."""
    if size == 0:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=directory)
    else:
        descriptor = os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        try:
            os.ftruncate(descriptor, size)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    os.fsync(directory)


def append_note(directory: int, note: str) -> None:
    """Put a checkpoint behind the others, durably or not at all. Raises OSError."""
    descriptor = os.open(CHECKPOINTS, _APPEND | os.O_CREAT, 0o600, dir_fd=directory)
    try:
        os.fchmod(descriptor, 0o600)
        size = os.fstat(descriptor).st_size
        try:
            _write_all(descriptor, f"{note}\n".encode())
            os.fsync(descriptor)
        except OSError:
            with suppress(OSError):  # else it is cut at the next opening
                os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)
    os.fsync(directory)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
