"""A copy of the log as it stood when the database of the key service was copied, beside a running service.

The database is copied first, and its copy is of one revision. Whatever that copy knows is in the log by then; records of
later revisions, and checkpoints that name them, are left out, for a key service refuses a log with changes that its
database lacks. Lines are copied as they are. Nothing is judged here: `verify` judges the copy as it would the original.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from strongroom.audit.chain import BadRecord, parse
from strongroom.audit.files import CHECKPOINTS, PUBLIC_KEY, LogFile, lines, list_files, notes, opened, opened_directory
from strongroom.database.private_file import make_private_directory, write_private
from strongroom.database.sqlite_files import fsync_directory

_BLOCK = 1 << 20


def copy_log(source: Path, destination: Path, *, state_revision: int) -> int:
    """Copy the log in `source` up to that revision into a directory that is made; the sequence of the last record, 0
    without one. Raises OSError.
    """
    make_private_directory(destination)
    last = 0
    with opened_directory(source) as log, opened_directory(destination) as copy:
        files = list_files(log)
        for number, file in enumerate(files):
            is_whole = number + 1 < len(files) and _first_revision(log, files[number + 1]) <= state_revision
            if is_whole:
                _write(copy, file.name, _whole(log, file))
                last = files[number + 1].first - 1
                continue
            taken: list[int] = []
            _write(copy, file.name, _through(log, file, state_revision, taken))
            last = max((last, *taken))
            break
        _write(copy, CHECKPOINTS, _checkpoints(log, last))
        try:
            with opened(PUBLIC_KEY, log) as descriptor:
                write_private(destination / PUBLIC_KEY, os.pread(descriptor, 4096, 0))
        except FileNotFoundError:
            pass
    fsync_directory(os.fspath(destination))
    return last


def _first_revision(log: int, file: LogFile) -> float:
    """The state revision of a file's first record; infinity where there is none yet."""
    with opened(file.name, log) as descriptor:
        for _, line in lines(descriptor, 0, os.fstat(descriptor).st_size):
            try:
                return parse(line).state_revision
            except BadRecord:
                break
    return float("inf")


def _whole(log: int, file: LogFile) -> Iterator[bytes]:
    with opened(file.name, log) as descriptor:
        offset = 0
        while block := os.pread(descriptor, _BLOCK, offset):
            yield block
            offset += len(block)


def _through(log: int, file: LogFile, state_revision: int, taken: list[int]) -> Iterator[bytes]:
    """The lines up to that revision; the sequence of the last one is put into `taken`."""
    with opened(file.name, log) as descriptor:
        for _, line in lines(descriptor, 0, os.fstat(descriptor).st_size):
            try:
                record = parse(line)
            except BadRecord:
                if not line.endswith(b"\n"):  # is being written
                    return
                yield line  # somebody changed it: the copy shall tell, too
                continue
            if record.state_revision > state_revision:
                return
            yield line
            taken[:] = [record.sequence]


def _checkpoints(log: int, last: int) -> Iterator[bytes]:
    """Those that name no record after `last`."""
    try:
        with opened(CHECKPOINTS, log) as descriptor:
            for note in notes(descriptor, 0, os.fstat(descriptor).st_size):
                named = note.text.split("\n", 2)[1:2]
                if note.complete and named and named[0].isdecimal() and int(named[0]) <= last:
                    yield note.text.encode() + b"\n"
    except FileNotFoundError:
        return


def _write(directory: int, name: str, content: Iterator[bytes]) -> None:
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory)
    with os.fdopen(descriptor, "wb") as file:
        for part in content:
            file.write(part)
        file.flush()
        os.fsync(descriptor)
